"""What the system tells of other processes: whether they live, since when, how much memory, and which are kernels."""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Process", "began", "exists", "holders", "memory"]

PROC = Path("/proc")


class Process(NamedTuple):
    """A process that runs, or holds, a connection file."""

    pid: int
    file: str
    "The connection file, absolute."
    ours: bool
    "Whether it is `async_kernel run`."


def exists(pid: int) -> bool:
    """Whether there is a process `pid`, as far as can be told without harm; True where it can't."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return not _is_zombie(pid)


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` after the name (which may hold anything), the state first; empty without one."""
    try:
        return (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[:1] == ["Z"]


@cache
def _boot() -> float:
    """When the system was started (seconds since the epoch)."""
    up = float((PROC / "uptime").read_text("ascii").split()[0])
    return time.time() - up


def began(pid: int) -> float | None:
    """When the process `pid` began (seconds since the epoch); None where that can't be told."""
    fields = _stat(pid)
    return _boot() + int(fields[19]) / os.sysconf("SC_CLK_TCK") if len(fields) > 19 else None


def memory(pid: int) -> int | None:
    """The resident memory of the process `pid` in bytes; None where that can't be told."""
    try:
        return int((PROC / str(pid) / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None


def holders() -> Iterator[Process]:
    """The processes of this machine that were given a connection file (`-f FILE`), ours and others. Linux only."""
    if sys.platform != "linux":
        return
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            argv = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            words = _own_words(argv)
            if file := _connection_file(argv if words is None else words):
                there = os.path.normpath(os.path.join(os.readlink(folder / "cwd"), file))
                yield Process(int(folder.name), there, words is not None)
        except OSError:
            continue  # It has ended, or is somebody else's.


def _connection_file(argv: list[str]) -> str:
    """What follows `-f`, in the ways in which kernels are started."""
    for at, word in enumerate(argv):
        name, _, value = word.partition("=")
        if name in ("-f", "--connection-file", "--connection_file"):
            return value or (argv[at + 1] if at + 1 < len(argv) else "")
        if word.startswith("-f") and word.endswith(".json"):
            return word[2:]
    return ""


def _own_words(argv: list[str]) -> list[str] | None:
    """What follows the program in `async-kernel run …` or `python -m async_kernel run …`; None where it is another."""
    for at, word in enumerate(argv):
        program = (word == "async_kernel" and argv[at - 1] == "-m") or os.path.basename(word) == "async-kernel"
        if program and (words := argv[at + 1 :]) and words[0].startswith(("run", "-f", "--connection")):
            return words
    return None
