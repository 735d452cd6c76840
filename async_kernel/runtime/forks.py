"""What a cell forks must not go on as the kernel: it has the kernel's loop, signal handlers and hooks, but no client.

A child of `multiprocessing` never comes back to the cell; one of `os.fork` does, and `shell.forks` ends it there. Here
is what concerns both, and a child that would come back to the event loop: it shares that with the kernel.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

from async_kernel.runtime.patches import Patch
from async_kernel.runtime.signals import SignalHandler
from async_kernel.scheduling import event_loops
from async_kernel.shell.forks import end_child

__all__ = ["own_forks"]

KEPT: Final = ((sys, "stdout"), (sys, "stderr"))
"They write to the descriptors in a child."

SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)})

_guards: list[Callable[[], None]] = []
"What makes a child of the kernel that runs a process of its own."
_forking = threading.local()


@contextmanager
def own_forks(handlers: Mapping[signal.Signals, SignalHandler], patches: Sequence[Patch]) -> Generator[None]:
    """Inside, a process that is forked handles signals and errors as Python does, and never reaches the event loop.

    Args:
        handlers: The kernel's signal handlers.
        patches: What is about to be patched.
    """
    before = [(owner, name, value, getattr(owner, name)) for owner, name, value in patches if (owner, name) not in KEPT]

    def restore() -> None:
        for owner, name, value, original in before:
            if getattr(owner, name, None) is value:
                setattr(owner, name, original)
        for number, handler in handlers.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    _guards.append(restore)
    try:
        yield
    finally:
        _guards.remove(restore)


def _end_in_loop() -> NoReturn:
    text = (
        "a forked process has come to an await, or to the end of its task: it ends, as its event loop is the kernel's"
    )
    print(text, file=sys.stderr)
    end_child(SystemExit(1))


def _before() -> None:
    _forking.arm = _forking.mask = None
    if _guards:
        _forking.arm = event_loops.instead_of_next_step(_end_in_loop)
        # One that comes before the child has handlers of its own would be lost.
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_in_parent() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_in_child() -> None:
    if _forking.mask is None:
        return
    if _forking.arm is not None:
        _forking.arm()
    for restore in _guards:
        restore()
    _guards.clear()
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
