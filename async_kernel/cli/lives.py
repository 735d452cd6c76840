"""The lives of kernels, read from their logs."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from async_kernel.cli import processes
from async_kernel.errors import SetupError
from async_kernel.runtime.deaths import Death, all_deaths
from async_kernel.runtime.log_file import OLDER, SUFFIX, is_locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Life", "Record", "choose", "read_lives"]

Record = dict[str, Any]
"""One line of a log: time, level, pid, message, and what else there is to say."""


class Life(NamedTuple):
    """A kernel from its start to its end."""

    kernel: str
    "The stem of its connection file."
    path: Path
    "Its log."
    records: Sequence[Record]
    alive: bool

    @property
    def start(self) -> Record:
        """The record of its start; empty where that is lost."""
        return next((each for each in self.records if each.get("event") == "started"), {})

    @property
    def stop(self) -> Record:
        """The record of its end; empty where it has not said a last word."""
        return self.records[-1] if self.records[-1].get("event") == "stopped" else {}

    @property
    def pid(self) -> int:
        """Its process."""
        return self.records[0]["pid"]

    @property
    def last(self) -> str:
        """The time of its last record."""
        return self.records[-1]["time"]

    @property
    def state(self) -> str:
        """running, stopped, or died: without saying why."""
        return "stopped" if self.stop else "running" if self.alive else "died"

    @property
    def why(self) -> str:
        """How it has ended, in a sentence; empty while it runs."""
        if self.stop:
            return f"stopped after {self.stop.get('uptime', '?')} s: {self.stop.get('reason', '?')}"
        if self.alive:
            return ""
        if self.records[-1].get("event") == "died":
            return self.records[-1]["message"]
        return f"died without saying why (killed, or crashed); its last record is of {self.last}"

    def describe(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {
            "kernel": self.kernel,
            "pid": self.pid,
            "profile": self.start.get("profile", ""),
            "connection_file": self.start.get("connection_file", ""),
            "started": self.start.get("time"),
            "last": self.last,
            "state": self.state,
            "why": self.why,
            "log": str(self.path),
        }


def read_lives(folder: Path) -> list[Life]:
    """Every life that the logs in `folder` tell of, the one with the latest record first."""
    try:
        paths = [path for path in folder.iterdir() if path.name.endswith(SUFFIX)]
    except FileNotFoundError:
        paths = []  # No kernel has lived long enough yet.
    except OSError as error:
        raise SetupError(f"can't read the folder of the logs {folder}: {error.strerror}") from error
    lives = with_deaths([life for path in paths for life in _lives(path)], all_deaths(), folder)
    return sorted(lives, key=lambda life: life.last, reverse=True)


def with_deaths(lives: Sequence[Life], found: Sequence[Death], folder: Path) -> list[Life]:
    """The lives, each of a kernel that has died with what it has left besides its log, and those that have no log."""
    left = {(death.facts["connection_file"], death.facts["pid"]): death for death in found}
    result: list[Life] = []
    for life in lives:
        death = left.get((str(life.start.get("connection_file")), life.pid))
        if death is None or life.state != "died" or death.seen < _seconds(life.records[0]) - 1:
            result.append(life)
        else:
            result.append(life._replace(records=[*life.records, death.records()[-1]]))
    for death in found:
        file = Path(death.facts["connection_file"])
        here = death.facts["runtime"] == os.environ.get("JUPYTER_RUNTIME_DIR", "") or file.parent == folder.parent
        if not death.logged and here:
            result.append(Life(file.stem, folder / f"{file.stem}{SUFFIX}", death.records(), alive=False))
    return result


def _lives(path: Path) -> Iterator[Life]:
    """Kernels whose connection files have the same name share a log: one restarted, or two at a time."""
    lives: list[list[Record]] = []
    current: dict[int, list[Record]] = {}
    for record in _records(path):
        pid = record["pid"]
        begins = record.get("event") == "started" and record["message"] == "started"
        if begins or pid not in current:
            current[pid] = []
            lives.append(current[pid])
        current[pid].append(record)
    locked = is_locked(path)
    for records in lives:
        latest = current[records[0]["pid"]] is records
        alive = locked and latest and _lives_still(records[0])
        yield Life(path.name.removesuffix(SUFFIX), path, records, alive)


def _lives_still(first: Record) -> bool:
    """Whether the process that wrote `first` lives, and not only another of its number."""
    began = processes.began(first["pid"])
    written = _seconds(first)
    return processes.exists(first["pid"]) and (began is None or began <= written + 1)


def _seconds(record: Record) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


def _records(path: Path) -> Iterator[Record]:
    """The records in a log and in what was cut off it. A line that is none, written by a crash, belongs to the last."""
    last: Record | None = None
    for each in (path.with_suffix(OLDER), path):
        try:
            lines = each.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SetupError(f"can't read the log {each}: {error.strerror}") from error
        for line in lines:
            record = _record(line)
            if record is not None:
                last = record
                yield record
            elif last is not None:
                last["raw"] = f"{last.get('raw', '')}{line}\n"


def _record(line: str) -> Record | None:
    try:
        record = cast("Record", json.loads(line))
        datetime.fromisoformat(record["time"])
        return record if isinstance(record["pid"], int) and record["level"] and record["message"] else None
    except (ValueError, TypeError, KeyError):
        return None


def choose(lives: Iterable[Life], name: str) -> list[Life]:
    """The lives of the one kernel that `name` means.

    Args:
        lives: Those to choose from.
        name: Its connection file, the beginning of that file's name, or its pid.

    Raises:
        SetupError: There is none, or more than one.
    """
    lives = list(lives)
    stem = Path(name).stem if name.endswith(".json") or os.sep in name else name
    by_pid = [life for life in lives if name == str(life.pid)]
    exact = [life for life in lives if life.kernel in (stem, f"kernel-{stem}")]
    begins = [life for life in lives if stem and life.kernel.startswith((stem, f"kernel-{stem}"))]
    found = exact or by_pid or begins
    kernels = sorted({life.kernel for life in found})
    if not found:
        known = f"known: {', '.join(dict.fromkeys(life.kernel for life in lives)) or 'none'}"
        raise SetupError(f"no log of a kernel {name!r} (connection file, beginning of its name, or pid); {known}")
    if len(kernels) > 1:
        raise SetupError(f"{name!r} means more than one kernel: {', '.join(kernels)}")
    return found
