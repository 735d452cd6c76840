"""The kernel's own log: its level, and where it goes when the program has said nothing of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["KERNEL_LOG", "Relay", "kernel_log"]

KERNEL_LOG: Final = logging.getLogger("async_kernel")
FORMAT: Final = "async-kernel: %(levelname)s: %(asctime)s: %(message)s"


class Relay(logging.Handler):
    """Hands records on to another handler, and keeps those that come before it is there."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[logging.LogRecord] = []
        self._target: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record, or keep it."""
        if self._target is None:
            self._waiting.append(record)
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
