"""Uncaught exceptions: they reach the kernel's real stderr and its log, not the notebook's last cell."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from async_kernel.runtime.publishing import NOBODY
from async_kernel.scheduling.context import addressee
from async_kernel.scheduling.sections import uninterrupted

__all__ = ["excepthook", "report", "thread_excepthook", "unraisablehook"]

log = logging.getLogger("async_kernel")


def excepthook(kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    """Report an exception that nothing caught."""
    report("an exception was not caught", kind, value, trace)


def thread_excepthook(args: threading.ExceptHookArgs) -> None:
    """Report an exception that ended a thread."""
    name = args.thread.name if args.thread is not None else "unknown"
    if not issubclass(args.exc_type, SystemExit):
        report(f"an exception ended the thread {name!r}", args.exc_type, args.exc_value, args.exc_traceback)


def unraisablehook(args: sys.UnraisableHookArgs) -> None:
    """Report an exception that can't be raised where it happened (in `__del__`, say)."""
    where = f" in {args.object!r}" if args.object is not None else ""
    report(f"{args.err_msg or 'an exception was ignored'}{where}", args.exc_type, args.exc_value, args.exc_traceback)


@uninterrupted  # It may be called in the middle of a cell, by a finalizer: an interrupt would be swallowed there.
def report(what: str, kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    """Write an exception that belongs to no cell to the real stderr, and to the log."""
    token = addressee.set(NOBODY)  # A log handler that a cell has set writes to the cells' stderr.
    try:
        log.error("%s: %s", what, value if value is not None else kind.__name__, extra={"on_stderr": True})
    finally:
        addressee.reset(token)
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        traceback.print_exception(kind, value, trace, file=sys.__stderr__)
