"""How kernels have died: what they have left in their files (`async_kernel.runtime.recorder`), in words.

A file may hold anything, as it may have been written to half, or by something else: what can't be read is left out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from async_kernel.runtime.log_file import is_locked
from async_kernel.runtime.record_layout import (
    CELL,
    CELLS,
    EXIT,
    LOGGED,
    MAGIC,
    MEMORY,
    OOM,
    PAGE,
    SUFFIX,
    record_folder,
)

__all__ = ["Cell", "Death", "all_deaths", "deaths", "prune_deaths"]

KEEP: Final = 20
"So many files of dead kernels are kept."
MOST: Final = 256 * 1024
"Bytes of a file that are read."
CODE_LINES: Final = 3

SIGNALS: Final = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
"What faulthandler calls the signals (Modules/faulthandler.c)."
_FATAL: Final = re.compile(r"^Fatal Python error: ([\w -]+)$", re.MULTILINE)
_SECRET: Final = re.compile(
    r"""((?:pass|secret|token|credential|auth|key)\w*["']?\s*[=:,(]\s*[rbfu]*)(["'])(?:(?!\2).)*(?:\2|$)""",
    re.IGNORECASE | re.DOTALL,
)
"A text that is given to a name which sounds like a secret's."


class Cell(NamedTuple):
    """A cell that ran, or that had run last."""

    number: int
    "0: it had no number."
    msg_id: str
    began: float
    ended: float
    "0: it ran."
    code: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"cell [{self.number}]" if self.number else "a cell without a number"


class Death(NamedTuple):
    """How a kernel has died. Times are seconds since the epoch, sizes are bytes; 0 is unknown."""

    path: Path
    "The file that tells."
    facts: dict[str, Any]
    "Who it was: pid, started, connection_file, profile, runtime, stacks (here, or stderr)."
    cells: Sequence[Cell]
    "Those that ran, in the order in which they began; else the one that had ended last."
    exit: tuple[float, int]
    memory: tuple[float, int, int]
    "When measured, resident then, resident at most until then."
    oom_kills: int
    "How many processes of its control group the system has killed for memory since it began, until this was read."
    logged: bool
    "Whether it had begun its log."
    stack: str
    "What faulthandler has written."
    touched: float
    "When the stacks were written."

    @property
    def signal(self) -> str:
        """What ended it; empty where that is not known."""
        found = _FATAL.search(self.stack)
        return SIGNALS.get(found[1], found[1]) if found else ""

    @property
    def how(self) -> str:
        """What ended it, in words."""
        if self.signal:
            return self.signal
        if self.exit[0]:
            return f"os._exit({self.exit[1]})"
        if self.oom_kills:
            return "killed, probably by the system for its memory"
        return "killed" if self.facts["stacks"] == "here" else "killed, or crashed: then its stderr has the stacks"

    @property
    def running(self) -> list[Cell]:
        """The cells that ran."""
        return [cell for cell in self.cells if not cell.ended]

    @property
    def when(self) -> float:
        """When it died, where that is known."""
        return self.exit[0] or (self.touched if self.signal else 0.0)

    @property
    def seen(self) -> float:
        """When it died, or else when it was last known to live."""
        return self.when or max(self.facts["started"], self.memory[0], *(max(each[2:4]) for each in self.cells))

    def ran(self, cell: Cell) -> str:
        """For how long a cell that ran has run, in words; empty where that is not known."""
        seconds = max(0.0, self.seen - cell.began)
        text = f"after {seconds:.{3 if seconds < 1 else 1}f} s"
        return text if self.when else f"{text} or more" if seconds >= 0.1 else ""

    @property
    def summary(self) -> str:
        """It all in a line: `SIGSEGV, in cell [12], after 3.2 s; 1.9 GiB`."""
        if running := self.running:
            where = f"in {running[0].name}" + (f" and {len(running) - 1} more" if len(running) > 1 else "")
        else:
            where = f"after {self.cells[0].name} had ended" if self.cells else "before the first cell"
        ran = self.ran(running[0]) if running else ""
        parts = ", ".join(filter(None, (self.how, where, ran)))
        return f"{parts}; {_size(self.memory[1])}" if self.memory[0] else parts

    def records(self) -> list[dict[str, Any]]:
        """What its log should say: how it ended, and before that who it was, where it had no time to begin a log."""
        facts = {name: self.facts[name] for name in ("profile", "connection_file")}
        start = {**self._head("INFO", "started", self.facts["started"]), "event": "started", **facts}
        return [self._end()] if self.logged else [start, self._end()]

    def _end(self) -> dict[str, Any]:
        memory: dict[str, Any] = {}
        if self.memory[0]:
            memory = {"memory": self.memory[1], "memory_peak": self.memory[2], "memory_time": iso(self.memory[0])}
        return {
            **self._head("ERROR", f"died: {self.summary}", self.seen),
            "event": "died",
            "signal": self.signal or None,
            "exit_code": self.exit[1] if self.exit[0] else None,
            "oom_kills": self.oom_kills,
            **memory,
            "cells": [
                {
                    "count": cell.number or None,
                    "msg_id": cell.msg_id,
                    "began": iso(cell.began),
                    "ended": iso(cell.ended) if cell.ended else None,
                    "code": cell.code,
                }
                for cell in self.cells
            ],
            "stack": self.stack,
        }

    def _head(self, level: str, message: str, when: float) -> dict[str, Any]:
        return {"time": iso(when), "level": level, "pid": self.facts["pid"], "message": message}


def iso(seconds: float) -> str:
    """A time as the log writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def all_deaths() -> list[Death]:
    """Every kernel of this user that has died and whose file is still there, the one that died last first."""
    return deaths(record_folder().glob(f"*{SUFFIX}"))


def deaths(paths: Iterable[Path]) -> list[Death]:
    """What the files tell of kernels that have died, the last one first; those that live are left out."""
    found = [death for path in paths if not is_locked(path) and (death := read_death(path)) is not None]
    return sorted(found, key=lambda death: death.seen, reverse=True)


def prune_deaths(keep: int = KEEP) -> None:
    """Remove the files of all but the `keep` kernels that died last."""
    for death in all_deaths()[keep:]:
        death.path.unlink(missing_ok=True)


def read_death(path: Path) -> Death | None:
    """What a file tells; None where it is no such file, or gone."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with open(file, "rb") as stream:
        data, touched = stream.read(MOST), os.fstat(file).st_mtime
    line, _, stack = data[PAGE:].partition(b"\n")
    try:
        facts: Any = json.loads(line)
        if not data.startswith(MAGIC) or type(facts["pid"]) is not int:
            return None
        texts = ("connection_file", "profile", "runtime", "stacks")
        facts = {"pid": facts["pid"], "started": float(facts["started"]), **{name: str(facts[name]) for name in texts}}
        iso(facts["started"])
        return Death(
            path,
            facts,
            _cells(data),
            EXIT[0].unpack_from(data, EXIT[1]),
            MEMORY[0].unpack_from(data, MEMORY[1]),
            _oom_kills(*OOM[0].unpack_from(data, OOM[1])),
            bool(data[LOGGED[1]]),
            _crashed_first(stack.decode("utf-8", "replace")),
            touched,
        )
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return None


def _cells(data: bytes) -> list[Cell]:
    cells: list[Cell] = []
    for place in CELLS:
        began, ended, count, msg_id, code = CELL.unpack_from(data, place)
        if began:
            for each in (began, ended):
                iso(each)  # It is a time.
            cells.append(Cell(count, _text(msg_id), began, ended, _shown(_text(code))))
    running = sorted((cell for cell in cells if not cell.ended), key=lambda cell: cell.began)
    return running or sorted(cells, key=lambda cell: cell.ended)[-1:]


def _crashed_first(stack: str) -> str:
    """What faulthandler has written, with the thread that has crashed, which comes last, before the others."""
    parts = stack.split("\n\n")
    threads = [part for part in parts if part.startswith(("Thread ", "Current thread "))]
    rest = [part for part in parts if part not in threads]
    return "\n\n".join([*rest[:1], *sorted(threads, key=lambda each: each.startswith("Thread ")), *rest[1:]])


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace").rstrip("\ufffd")


def _shown(code: str) -> str:
    """The beginning of a cell without what looks like a secret: logs are shown to others."""
    lines = _SECRET.sub(r"\1<secret>", code).splitlines()
    return "\n".join(lines[:CODE_LINES])


def _oom_kills(before: int, name: bytes) -> int:
    """How many more there are now."""
    if not name.rstrip(b"\0"):
        return 0
    try:
        lines = Path(os.fsdecode(name.rstrip(b"\0"))).read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0
    counts = [int(line.split()[1]) for line in lines if re.fullmatch(r"oom_kill \d+", line)]
    return max(0, counts[0] - before) if counts else 0
