"""Interrupts that escalate: wake `input()`, cancel the cells that await, raise in the cell that blocks the main thread.

One request does all three, since each acts only where it applies: a question wakes, the callback in the event loop
finds the cells that are awaiting (it could not run otherwise), and the signal handler finds the code of a cell on the
stack.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable
from types import CodeType, FrameType
from typing import Any, Final, Protocol

from async_kernel.errors import KernelInterruptError

__all__ = ["Interruptible", "Interrupts"]

log = logging.getLogger("async_kernel")

OWN_SIGNAL_SECONDS: Final = 1.0
"An interrupt signal that comes this soon after one of ours is ours, not the terminal's."
RETRY_SECONDS: Final = 0.01
RETRIES: Final = 500
MACHINERY: Final = "async_kernel."
INFRASTRUCTURE: Final = frozenset({"contextlib", "logging", "queue", "threading"})
"Modules that work for whoever called them: the caller decides."


class Interruptible(Protocol):
    """A cell that runs."""

    @property
    def done(self) -> bool: ...
    @property
    def interrupted(self) -> bool: ...
    def interrupt(self) -> None:
        """Cancel what it awaits (in its event loop's thread); its reply will be an error."""
        ...

    def mark_interrupted(self) -> None:
        """Note that the error was raised in its code."""
        ...


class Interrupts:
    """Interrupts the cells of the main thread's shell.

    Args:
        running: The cells that run now.
        call_in_loop: Runs a function in the thread of the cells' event loop, soon.
        wake_inputs: Wakes what waits for the frontend's answer.
        user_code: The code objects whose frame is on the stack exactly while a cell's code is.
        when_idle: Called (main thread) for an interrupt signal from outside while nothing runs.
    """

    def __init__(
        self,
        *,
        running: Callable[[], Collection[Interruptible]],
        call_in_loop: Callable[[Callable[[], None]], Any],
        wake_inputs: Callable[[], Any],
        user_code: Collection[CodeType],
        when_idle: Callable[[], None],
    ) -> None:
        self._running = running
        self._call_in_loop = call_in_loop
        self._wake_inputs = wake_inputs
        self._user_code = frozenset(user_code)
        self._when_idle = when_idle
        self._main = threading.main_thread().ident
        self._handles_signals = threading.current_thread() is threading.main_thread()
        self._targets: tuple[Interruptible, ...] = ()
        self._signalled = float("-inf")

    def request(self) -> None:
        """Interrupt everything that runs now, from any thread; returns at once."""
        targets = tuple(each for each in self._running() if not each.done)
        if not targets:
            return
        self._begin(targets)
        if self._handles_signals:
            if threading.get_ident() != self._main:
                self._signal()
            self._start_insisting(targets)

    def request_until(self, ended: Callable[[], bool]) -> None:
        """Interrupt what runs, and what still begins to run, until `ended()`."""
        self.request()

        def insist() -> None:
            while not ended():
                time.sleep(RETRY_SECONDS)
                self.request()

        threading.Thread(target=insist, name="InterruptAll", daemon=True).start()

    def on_signal(self, _signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT; raises `KernelInterruptError` where the code of a cell is on the stack.

        Raises:
            KernelInterruptError: In the code of the cell that blocks the main thread.
        """
        __tracebackhide__ = True  # The user's traceback ends where the user's code was.
        ours = time.monotonic() - self._signalled < OWN_SIGNAL_SECONDS
        targets = _open(self._targets)
        if not targets and not ours:
            targets = _open(self._running())
            if not targets:
                self._when_idle()
                return
            self._begin(tuple(targets))
        if not targets:
            return
        if self._may_raise(frame):
            for each in targets:
                each.mark_interrupted()
            raise KernelInterruptError("interrupted")
        if not ours:
            self._start_insisting(tuple(targets))

    def _begin(self, targets: tuple[Interruptible, ...]) -> None:
        self._targets = targets
        self._wake_inputs()
        self._call_in_loop(lambda: _cancel(targets))

    def _signal(self) -> None:
        self._signalled = time.monotonic()
        if hasattr(signal, "pthread_kill") and self._main is not None:
            signal.pthread_kill(self._main, signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)

    def _start_insisting(self, targets: tuple[Interruptible, ...]) -> None:
        threading.Thread(target=self._insist, args=(targets,), name="Interrupt", daemon=True).start()

    def _insist(self, targets: tuple[Interruptible, ...]) -> None:
        """Signal again while the cell blocks: the handler lets a signal pass that hits the kernel's own machinery."""
        for _ in range(RETRIES):
            time.sleep(RETRY_SECONDS)
            if not _open(targets):
                return
            self._signal()
        log.warning("an interrupt was not taken within %g s: the cell's code blocks in C", RETRIES * RETRY_SECONDS)

    def _may_raise(self, frame: FrameType | None) -> bool:
        """Whether the code of a cell is on the stack, and what runs for it now is not the kernel's own machinery."""
        innermost = None
        while frame is not None:
            if frame.f_code in self._user_code:
                return innermost is not None and not innermost.startswith(MACHINERY)
            if innermost is None:
                name: str = frame.f_globals.get("__name__", "")
                innermost = None if name in INFRASTRUCTURE else name
            frame = frame.f_back
        return False


def _open(targets: Iterable[Interruptible]) -> list[Interruptible]:
    return [each for each in targets if not (each.done or each.interrupted)]


def _cancel(targets: Iterable[Interruptible]) -> None:
    for each in _open(targets):
        each.interrupt()
