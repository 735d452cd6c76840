"""Uncaught exceptions: they reach the kernel's real stderr and its log, not the notebook's last cell."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

__all__ = ["excepthook", "thread_excepthook", "unraisablehook"]

log = logging.getLogger("async_kernel")


def excepthook(kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    """Report an exception that nothing caught."""
    _report("an exception was not caught", kind, value, trace)


def thread_excepthook(args: threading.ExceptHookArgs) -> None:
    """Report an exception that ended a thread."""
    name = args.thread.name if args.thread is not None else "unknown"
    if not issubclass(args.exc_type, SystemExit):
        _report(f"an exception ended the thread {name!r}", args.exc_type, args.exc_value, args.exc_traceback)


def unraisablehook(args: sys.UnraisableHookArgs) -> None:
    """Report an exception that can't be raised where it happened (in `__del__`, say)."""
    where = f" in {args.object!r}" if args.object is not None else ""
    _report(f"{args.err_msg or 'an exception was ignored'}{where}", args.exc_type, args.exc_value, args.exc_traceback)


def _report(what: str, kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    log.error("%s: %s", what, value if value is not None else kind.__name__, extra={"on_stderr": True})
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        traceback.print_exception(kind, value, trace, file=sys.__stderr__)
