"""Every change that a running kernel makes to the process, as one context manager that restores it exactly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

__all__ = ["Patch", "patched", "signals_handled"]

Patch: TypeAlias = tuple[Any, str, Any]
"""The object, the name of its attribute, and the value that it has while the kernel runs."""

SignalHandler: TypeAlias = Callable[[int, Any], Any]


@contextmanager
def patched(patches: Iterable[Patch]) -> Generator[None]:
    """Apply `patches` in order; on leaving, put back what was there, in reverse."""
    with ExitStack() as stack:
        for owner, name, value in patches:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


@contextmanager
def signals_handled(handlers: dict[signal.Signals, SignalHandler]) -> Generator[None]:
    """Handle signals while inside; only the main thread may set handlers, so elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as stack:
        for number, handler in handlers.items():
            previous = signal.signal(number, handler)
            # None: a handler that was not set from Python, which Python can't put back.
            stack.callback(signal.signal, number, signal.SIG_DFL if previous is None else previous)
        yield
