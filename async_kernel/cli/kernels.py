"""The kernels of this user: found by their connection files and processes, and asked how they are."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_core.paths import jupyter_runtime_dir

from async_kernel.cli import processes
from async_kernel.cli.asking import ask
from async_kernel.cli.lives import Life, read_lives
from async_kernel.cli.processes import Process
from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.runtime.log_file import log_folder
from async_kernel.transport import connection_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Found", "find_kernels"]

STARTING_SECONDS: Final = 10.0
"A process that is younger than this and does not answer is taken to be starting."
LOCAL: Final = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "*", "")


class Found(NamedTuple):
    """A kernel, or what one has left."""

    file: Path
    "Its connection file."
    state: str
    "starting, busy, idle, not answering, or stale: nobody answers and there is no process."
    pid: int | None
    profile: str
    began: float | None
    "Seconds since the epoch."
    memory: int | None
    "Bytes."
    running: int | None
    "How many requests run."
    writer: tuple[int, str] | None
    "The process and the host that its file, or else its log, names."

    def describe(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {
            "pid": self.pid,
            "profile": self.profile,
            "state": self.state,
            "running": self.running,
            "uptime": None if self.began is None else round(time.time() - self.began, 1),
            "memory": self.memory,
            "connection_file": str(self.file),
        }


class Known(NamedTuple):
    """What is known of a connection file before anybody is asked."""

    file: Path
    info: ConnectionInfo | None
    "None where there is no file (yet), or it can't be read."
    process: Process | None
    life: Life | None

    @property
    def writer(self) -> tuple[int, str] | None:
        """The process and the host that the file, or else the log, names."""
        if (writer := connection_file.writer_of(self.file)) is not None or self.life is None:
            return writer
        return self.life.pid, str(self.life.start.get("host", ""))

    @property
    def ours(self) -> bool:
        """Whether it is known to be a kernel of this package, without asking it."""
        if self.process is not None:
            return self.process.ours
        return self.writer is not None or (self.info is not None and self.info.kernel_name.startswith("async"))


def find_kernels(seconds: float = 1.0) -> list[Found]:
    """The kernels of this package, in the order of their start; those of others are left out.

    Args:
        seconds: For so long kernels may take to answer.
    """
    known = _known()
    answers = ask({each.file: each.info for each in known if each.info is not None}, seconds)
    found = [found for each in known if (found := _found(each, answers.get(each.file))) is not None]
    return sorted(found, key=lambda each: (each.state == "stale", each.began or 0.0, each.file))


def _known() -> list[Known]:
    """Every connection file in Jupyter's runtime folder, and those elsewhere that a process of ours was given."""
    at_work = {os.path.realpath(each.file): each for each in processes.holders()}
    lives: dict[str, Life] = {}
    for life in read_lives(log_folder()):
        lives.setdefault(str(life.start.get("connection_file", "")), life)
    files = [path for path in _json_files(Path(jupyter_runtime_dir())) if not path.name.startswith(".")]
    there = {os.path.realpath(path) for path in files}
    files += [Path(file) for file, each in at_work.items() if each.ours and file not in there]
    result: list[Known] = []
    for path in files:
        try:
            info = connection_file.read(path)
        except SetupError:
            info = None
        process = at_work.get(os.path.realpath(path))
        if info is not None or process is not None:
            result.append(Known(path, info, process, lives.get(str(path))))
    return result


def _json_files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else ()


def _found(known: Known, answer: Mapping[str, Any] | None) -> Found | None:
    """What is told of a kernel; None for somebody else's."""
    if answer is None:
        return _silent(known) if known.ours else None
    if answer.get("implementation") != "async_kernel":
        return None
    said = answer.get("async_kernel")
    told: Mapping[str, Any] = said if isinstance(said, dict) else {}
    pid = told.get("pid") if isinstance(told.get("pid"), int) else None
    return Found(
        file=known.file,
        state=str(told.get("state", "running")),
        pid=pid,
        profile=str(told.get("profile", "")),
        began=_began(told),
        memory=processes.memory(pid) if pid and _is_local(known.info) else None,
        running=told.get("running"),
        writer=known.writer,
    )


def _began(told: Mapping[str, Any]) -> float | None:
    """When a kernel has begun, by the clock as it is now: it may have been set since."""
    uptime, started = told.get("uptime"), told.get("started")
    if isinstance(uptime, int | float):
        return time.time() - uptime
    return datetime.fromisoformat(started).timestamp() if isinstance(started, str) else None


def _silent(known: Known) -> Found:
    """One that has not answered."""
    writer = known.writer
    pid = known.process.pid if known.process is not None else writer[0] if writer is not None else None
    began = memory = None
    if known.process is None and (pid is None or not _lives(known)):
        state = "stale"
    else:
        began, memory = (processes.began(pid), processes.memory(pid)) if pid is not None else (None, None)
        young = began is not None and time.time() - began < STARTING_SECONDS
        state = "starting" if young and (known.life is None or known.life.pid != pid) else "not answering"
    profile = str(known.life.start.get("profile", "")) if known.life is not None else ""
    return Found(known.file, state, pid, profile, began, memory, None, writer)


def _lives(known: Known) -> bool:
    """Whether something, though it does not answer, shows that a kernel without a process that we can see may live."""
    return connection_file.why_kept(known.file, known.writer) != ""


def _is_local(info: ConnectionInfo | None) -> bool:
    return info is not None and (info.transport == "ipc" or info.ip in LOCAL)
