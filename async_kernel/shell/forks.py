"""What a cell forks (`os.fork`) is not the kernel: it ends where the cell does."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn

__all__ = ["by_whole_lines", "end_child"]


def end_child(error: BaseException | None) -> NoReturn:
    """End this process, which a cell has forked, as Python ends a program that has come to its end or to `error`.

    Functions of `atexit` are not called, and nothing of the kernel's is closed or removed: they are the kernel's.
    """
    status: object = 0
    try:
        if isinstance(error, SystemExit):
            status = 0 if error.code is None else error.code
        elif error is not None:
            traceback.print_exception(error)
            status = 1
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # It waits for what Python would wait for.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status & 0xFF if isinstance(status, int) else 1)


def by_whole_lines(write: Callable[[str], object]) -> tuple[Callable[[str], int], Callable[[], None]]:
    """A `write` and a `flush`; the beginning of a line waits for its end, or for a flush: other processes write too."""
    beginning = ""

    def write_lines(text: str, /) -> int:
        nonlocal beginning
        lines, end, rest = (beginning + text).rpartition("\n")
        beginning = rest
        if end:
            write(lines + end)
        return len(text)

    def flush() -> None:
        nonlocal beginning
        text, beginning = beginning, ""
        if text:
            write(text)

    return write_lines, flush
