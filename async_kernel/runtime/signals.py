"""Signals that the main thread does not notice, because it is in C code that no signal ends.

Python runs its handlers in the main thread, between two instructions. A signal that comes while that thread is about to
sleep, or in C code that goes on, waits as long as that lasts: for ever, it may be. But Python writes a byte for each
signal at once (`signal.set_wakeup_fd`), and that another thread can read.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TypeAlias

from async_kernel.threads import KernelThread

__all__ = ["SignalHandler", "signals_handled", "signals_watched"]

SignalHandler: TypeAlias = Callable[[int, Any], Any]

HEARD_SECONDS: Final = 0.05
"A main thread that runs Python code has noticed a signal after this time."
_HEARD: Final = 0x80
"""Added to a signal's number: its handler is being called."""


@contextmanager
def signals_handled(handlers: Mapping[signal.Signals, SignalHandler]) -> Generator[None]:
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


@contextmanager
def signals_watched(
    handlers: Mapping[signal.Signals, SignalHandler], unheard: Callable[[signal.Signals], object]
) -> Generator[Mapping[signal.Signals, SignalHandler]]:
    """As `signals_handled`, and what the main thread does not notice is told to another; on POSIX.

    To be entered when the event loop runs: what the loop has asked to be told of signals, it is still told. It gives
    the handlers that are set in place of `handlers`.

    Args:
        handlers: As in `signals_handled`. One that code has replaced meanwhile is not watched.
        unheard: Called in another thread with a signal whose handler has not been called in `HEARD_SECONDS`.
    """
    watch = _Watch(handlers, unheard)
    with signals_handled(watch.handlers):
        if os.name != "posix" or threading.current_thread() is not threading.main_thread():
            yield watch.handlers
            return
        with watch:
            yield watch.handlers


class _Watch:
    """Reads what Python writes for each signal."""

    def __init__(
        self, handlers: Mapping[signal.Signals, SignalHandler], unheard: Callable[[signal.Signals], object]
    ) -> None:
        self.handlers: dict[signal.Signals, SignalHandler] = {
            number: self._heard_by(handler) for number, handler in handlers.items()
        }
        self._unheard = unheard

    def __enter__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        # A loop that is woken by signals has set one before us.
        self._next = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        _watched.append(self._writer)
        self._thread = KernelThread(target=self._read, name="Signals")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        if (current := signal.set_wakeup_fd(self._next)) != self._writer.fileno():
            signal.set_wakeup_fd(current)  # Somebody else's by now.
        _watched.remove(self._writer)
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def _heard_by(self, handler: SignalHandler) -> SignalHandler:
        def handle(signum: int, frame: Any) -> Any:
            __tracebackhide__ = True
            with suppress(OSError):  # Full, or closed: then nobody waits for it.
                self._writer.send(bytes([signum | _HEARD]))
            return handler(signum, frame)

        return handle

    def _read(self) -> None:
        waiting: dict[int, float] = {}
        while True:
            self._reader.settimeout(max(0.001, min(waiting.values()) - time.monotonic()) if waiting else None)
            with suppress(TimeoutError):
                if not (said := self._reader.recv(256)):
                    return
                self._sort(said, waiting)
            now = time.monotonic()
            for number in [number for number, until in waiting.items() if now >= until]:
                del waiting[number]
                known = signal.Signals(number)
                if signal.getsignal(number) is self.handlers[known]:
                    self._unheard(known)

    def _sort(self, said: bytes, waiting: dict[int, float]) -> None:
        """Who calls a handler says so behind the signal's own byte: what is in between has not been heard."""
        for each in said:
            if each & _HEARD:
                waiting.pop(each & ~_HEARD, None)
            elif each in self.handlers:
                waiting.setdefault(each, time.monotonic() + HEARD_SECONDS)
        self._pass_on(bytes(each for each in said if not each & _HEARD))

    def _pass_on(self, numbers: bytes) -> None:
        if self._next < 0 or not numbers:
            return
        try:
            os.write(self._next, numbers)
        except OSError as error:
            # Full: the loop will wake. Any other: it has ended, and its descriptor is no longer its own.
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                self._next = -1


_watched: list[socket.socket] = []


def _forget_in_child() -> None:
    """The signals of a forked child, `multiprocessing.Process.terminate` above all, are not the kernel's."""
    if _watched:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
