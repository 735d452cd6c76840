"""`Pending`: a result that is not there yet, awaited from any thread and loop, or waited for synchronously.

No locks: a Pending may be set or cancelled by a signal handler or a finalizer that interrupts its own methods. What
decides is one operation that Python makes atomic: whoever pops the one item of `_open` sets the outcome, whoever pops
a subscriber calls it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

import anyio

from async_kernel.scheduling import context, event_loops

__all__ = ["Event", "InvalidStateError", "Pending", "PendingCancelled"]

T = TypeVar("T")

logger = logging.getLogger("async_kernel.scheduling")


class PendingCancelled(anyio.ClosedResourceError):
    """The Pending was cancelled: it has no result."""


class InvalidStateError(RuntimeError):
    """A Pending was asked for what it doesn't have yet, or was set twice."""


class _Wait:
    """One waiting task or thread; keeps the outcome it was woken with (a Pending may be reset at once)."""

    __slots__ = ("outcome", "wake")

    def __init__(self, wake: Callable[[], object] = bool) -> None:
        self.wake = wake
        self.outcome: tuple[Any, BaseException | None] | None = None

    def take(self) -> Any:
        # The traceback of what is raised keeps the frames that it passes, and these this object: no cycle through it.
        outcome, self.outcome = self.outcome, None
        value, exception = outcome or (None, None)
        del outcome
        if exception is None:
            return value
        try:
            raise exception
        finally:
            del exception


class Pending(Awaitable[T], Generic[T]):
    """A result that some thread will set.

    It is tracked by every `PendingGroup` and `PendingManager` of the context it is made in.

    Args:
        track: False: no group or manager is told of it.
        **metadata: Kept as `metadata`; `name` shows in the repr.
    """

    __slots__ = (
        "__weakref__",
        "_canceller",
        "_cancelling",
        "_done",
        "_open",
        "_outcome",
        "_seen",
        "_subscribers",
        "metadata",
    )

    def __init__(self, track: bool = True, /, **metadata: Any) -> None:
        self.metadata: dict[str, Any] = metadata
        self._open = [True]
        self._done = False
        self._seen = False
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._subscribers: list[_Wait | Callable[[Any], object]] = []
        self._cancelling: str | None = None
        self._canceller: Callable[[str | None], object] | None = None
        if track:
            for tracker in context.trackers.get():
                tracker.add(self)

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self._done else "pending"
        name = self.metadata.get("name") or getattr(self.metadata.get("func"), "__qualname__", "")
        return f"<{type(self).__name__}{f' {name}' if name else ''}: {state} at {id(self):#x}>"

    def __await__(self) -> Generator[Any, None, T]:
        return self.wait().__await__()

    # Waiting

    async def wait(self, *, timeout: float | None = None, protect: bool = False, result: bool = True) -> T:
        """Wait in any event loop until this is done, and return its result.

        Args:
            timeout: Seconds; None: no limit.
            protect: Leave the Pending alone when the wait times out or is cancelled; otherwise it is cancelled.
            result: False: return None, and raise nothing of the Pending's own.

        Raises:
            TimeoutError: It is not done after `timeout` seconds.
            PendingCancelled: It was cancelled.
            RuntimeError: No event loop runs in this thread (use `wait_sync`).
        """
        wait = _Wait()
        if self._done:
            wait.outcome = self._outcome
        else:
            waiter = event_loops.this_driver().Waiter()
            wait.wake = waiter.wake
            self._subscribe(wait)
            try:
                await waiter.wait(timeout)
            except BaseException as exc:
                self._unsubscribe(wait)
                if not protect:
                    self.cancel(f"the wait for it was cancelled ({type(exc).__name__})")
                raise
            self._check_in_time(wait, timeout, cancel=not protect)
        if not result:
            return None  # pyright: ignore[reportReturnType]
        self._seen = True
        del self
        return wait.take()

    def wait_sync(self, *, timeout: float | None = None, result: bool = True) -> T:
        """Block this thread until the Pending is done, and return its result. It is never cancelled by that.

        Args:
            timeout: Seconds; None: no limit.
            result: False: return None, and raise nothing of the Pending's own.

        Raises:
            RuntimeError: This thread is the one that would have to set the result: it would block for ever.
            TimeoutError: It is not done after `timeout` seconds.
            PendingCancelled: It was cancelled.
        """
        wait = _Wait()
        if self._done:
            wait.outcome = self._outcome
        else:
            if self._set_by() == threading.get_ident():
                raise RuntimeError(f"wait_sync blocks the thread that has to finish {self!r}: await it instead")
            lock = threading.Lock()
            lock.acquire()
            wait.wake = lock.release
            self._subscribe(wait)
            try:
                lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))
            finally:
                self._unsubscribe(wait)
            self._check_in_time(wait, timeout, cancel=False)
        if not result:
            return None  # pyright: ignore[reportReturnType]
        self._seen = True
        del self
        return wait.take()

    def _check_in_time(self, wait: _Wait, timeout: float | None, *, cancel: bool) -> None:
        if wait.outcome is None:
            self._unsubscribe(wait)
            if cancel:
                self.cancel(f"timed out after {timeout} s")
            raise TimeoutError(f"{self!r} is not done after {timeout} s")

    # Setting

    def set_result(self, value: T, *, reset: bool = False) -> None:
        """Set the result and wake all that wait, from any thread.

        Args:
            value: The result.
            reset: Wake those that wait now with `value`, and be not done again.

        Raises:
            InvalidStateError: It is done already.
        """
        if not self._finish(value):
            raise InvalidStateError(f"set_result: {self!r} is done already")
        if reset and self._cancelling is None:
            self._done = False
            self._open.append(True)

    def set_exception(self, exception: BaseException) -> None:
        """Set the exception that `result` and `await` raise, and wake all that wait, from any thread.

        Raises:
            InvalidStateError: It is done already.
        """
        if not isinstance(exception, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"set_exception: expected an exception, got {exception!r}")
        if not self._finish(None, exception):
            raise InvalidStateError(f"set_exception: {self!r} is done already")

    def cancel(self, msg: str | None = None) -> bool:
        """Cancel it, from any thread; it can't be undone. True when it is (or was) marked as cancelled.

        Where something runs for it (`set_canceller`) that is cancelled, and the Pending is done when it has ended;
        otherwise the Pending is done at once.
        """
        if self._done:
            return self._cancelling is not None
        if self._cancelling is None:
            self._cancelling = msg or ""
            # `_cancelling` is set before `_canceller` is read, and `_begin` does it the other way round: of a cancel
            # and a start at the same moment at least one sees the other.
            if self._canceller is None:
                self._finish(None)
            else:
                self._canceller(msg)
        return True

    def set_canceller(self, canceller: Callable[[str | None], object], /) -> None:
        """Let `canceller(msg)` do the cancelling: it must see to it that the Pending gets a result or an exception.

        Called in the thread that cancels; at once when it is cancelled already and not done.
        """
        self._canceller = canceller
        if self._cancelling is not None and not self._done:
            canceller(self._cancelling)

    # Asking

    def done(self) -> bool:
        """Whether there is a result or an exception, or the cancellation is through."""
        return self._done

    def cancelled(self) -> bool:
        """Whether it was cancelled; what runs for it may still be about to end (`done`)."""
        return self._cancelling is not None

    def result(self) -> T:
        """The result.

        Raises:
            InvalidStateError: It is not done.
            PendingCancelled: It was cancelled.
        """
        if not self._done:
            raise InvalidStateError(f"result: {self!r} is not done")
        self._seen = True
        wait = _Wait()
        wait.outcome = self._outcome
        del self
        return wait.take()

    def exception(self) -> BaseException | None:
        """The exception, None where there is a result.

        Raises:
            InvalidStateError: It is not done.
            PendingCancelled: It was cancelled.
        """
        if not self._done:
            raise InvalidStateError(f"exception: {self!r} is not done")
        self._seen = True
        if isinstance(self._outcome[1], PendingCancelled) and self._cancelling is not None:
            raise self._outcome[1]
        return self._outcome[1]

    @property
    def unseen_failure(self) -> bool:
        """Whether it has failed, and nobody has asked for its outcome."""
        exception = self._outcome[1]
        return exception is not None and not self._seen and not isinstance(exception, PendingCancelled)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for it, or is yet to be told that it is done."""
        return bool(self._subscribers)

    def add_done_callback(self, fn: Callable[[Pending[T]], object], /) -> None:
        """Call `fn(pending)` when it is done, in the thread that sets it; at once when it is done already."""
        self._subscribe(fn)

    def remove_done_callback(self, fn: Callable[[Pending[T]], object], /) -> int:
        """Forget `fn`; returns how many times it was registered."""
        count = 0
        while self._unsubscribe(fn):
            count += 1
        return count

    # Inner workings

    def _set_by(self) -> int | None:
        # `threading.get_ident` of the one thread that can set it, None where any can.
        return None

    def _begin(self, canceller: Callable[[str | None], object]) -> bool:
        # What runs for it is about to start; False: don't, it is cancelled.
        self._canceller = canceller
        if self._cancelling is None and not self._done:
            return True
        self._finish(None)
        return False

    def _finish(self, value: Any, exception: BaseException | None = None) -> bool:
        try:
            self._open.pop()
        except IndexError:
            return False
        if self._cancelling is not None:
            value, exception = None, PendingCancelled(self._cancelling or "cancelled")
        self._outcome = (value, exception)
        self._canceller = None
        self._done = True
        self._notify()
        return True

    def _subscribe(self, subscriber: _Wait | Callable[[Any], object]) -> None:
        self._subscribers.append(subscriber)
        if self._done:
            self._notify()

    def _unsubscribe(self, subscriber: _Wait | Callable[[Any], object]) -> bool:
        try:
            self._subscribers.remove(subscriber)
        except ValueError:
            return False
        return True

    def _notify(self) -> None:
        while self._subscribers:
            try:
                subscriber = self._subscribers.pop(0)
            except IndexError:  # Another thread took it.
                return
            if isinstance(subscriber, _Wait):
                subscriber.outcome = self._outcome
                subscriber.wake()
                continue
            try:
                subscriber(self)
            except Exception:  # A callback's fault is not the Pending's, nor the other callbacks'.
                logger.exception("a done callback of %r failed", self)


class _Flag(Pending[None]):
    __slots__ = ("_ident",)

    def __init__(self, ident: Callable[[], int | None]) -> None:
        super().__init__(False)
        self._ident = ident

    def _set_by(self) -> int | None:
        return self._ident()


class Event:
    """A flag that is set once, from any thread; `wait` blocks a thread, `await` waits in any event loop.

    Args:
        ident: Returns `threading.get_ident` of the one thread that sets it, where only one does: `wait` refuses there.
    """

    __slots__ = ("_pending",)

    def __init__(self, ident: Callable[[], int | None] = lambda: None) -> None:
        self._pending = _Flag(ident)

    def __bool__(self) -> bool:
        return self._pending.done()

    def __repr__(self) -> str:
        return f"<Event: {'set' if self else 'not set'}>"

    def __await__(self) -> Generator[Any, None, None]:
        return self._pending.wait(protect=True).__await__()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._pending.done()

    def set(self) -> None:
        """Set it, and wake all that wait. Idempotent."""
        with contextlib.suppress(InvalidStateError):
            self._pending.set_result(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it is set, for at most `timeout` seconds; returns whether it is set."""
        with contextlib.suppress(TimeoutError):
            self._pending.wait_sync(timeout=timeout)
        return self._pending.done()

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Wait in any event loop until it is set, for at most `timeout` seconds; returns whether it is set."""
        with contextlib.suppress(TimeoutError):
            await self._pending.wait(timeout=timeout, protect=True)
        return self._pending.done()
