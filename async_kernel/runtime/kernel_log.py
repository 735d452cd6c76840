"""The kernel's own log: its level, and where it goes when the program has said nothing of it."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["KERNEL_LOG", "Relay", "kernel_log", "text_of", "trace_of"]

KERNEL_LOG: Final = logging.getLogger("async_kernel")
FORMAT: Final = "async-kernel: %(levelname)s: %(asctime)s: %(message)s"


def text_of(record: logging.LogRecord) -> str:
    """The message of a record, as it is written where its arguments don't fit."""
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def trace_of(record: logging.LogRecord) -> str:
    """The traceback of a record; empty where it has none."""
    if record.exc_info and not record.exc_text:
        return logging.Formatter().formatException(record.exc_info)
    return record.exc_text or ""


class Relay(logging.Handler):
    """Hands records on to another handler, and keeps those that come before it is there."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[logging.LogRecord] = []
        self._target: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record, or keep it."""
        if self._target is None:
            # Only its text: an exception among the arguments keeps every frame of its traceback alive, and what is
            # in those. A subshell that was deleted would not go.
            kept = copy.copy(record)
            kept.msg, kept.args = text_of(record), None
            kept.exc_text, kept.exc_info = trace_of(record), None
            self._waiting.append(kept)
        else:
            self._target.handle(record)

    def detach(self) -> None:
        """The kernel's log has no use for it any more."""
        KERNEL_LOG.removeHandler(self)

    def to(self, target: logging.Handler) -> None:
        """From now on `target` gets each record, those first that wait for it."""
        self.acquire()
        try:
            for record in self._waiting:
                target.handle(record)
            self._waiting.clear()
            self._target = target
        finally:
            self.release()


@contextmanager
def kernel_log(level: str, log: logging.Logger = KERNEL_LOG) -> Generator[None]:
    """Log from `level` on while inside.

    A program that has set logging up gets the records as it wants them. Where there is no handler they go to the
    process's own stderr: without this, Python would write them to `sys.stderr`, which is the notebook's last cell.
    """
    before = log.level
    log.setLevel(level.upper())
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(logging.Formatter(FORMAT))
    own = sys.__stderr__ is not None and not log.hasHandlers()
    if own:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(before)
        if own:
            log.removeHandler(handler)
