"""Wait for many Pendings: `as_completed` and `wait`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextvars import copy_context
from typing import Any, TypeVar

from async_kernel.scheduling import event_loops
from async_kernel.scheduling.pending import Pending

__all__ = ["as_completed", "wait"]

T = TypeVar("T")
_WHEN = ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")


class _Bell:
    """Wakes the one task that waits for it; rung from any thread, and never in vain."""

    def __init__(self) -> None:
        self._driver = event_loops.this_driver()
        self._waiter = self._driver.Waiter()
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        self._waiter.wake()

    async def wait(self, timeout: float | None = None) -> None:
        """Return when it was rung since the last return, or after `timeout` seconds."""
        self._waiter = self._driver.Waiter()
        if not self._rung:  # Rung before that line it woke the waiter before; from now on it wakes this one.
            await self._waiter.wait(timeout)
        self._rung = False


class _Feed:
    """Takes items from an iterable, in a task of its own, at most `limit` ahead of those that are done."""

    def __init__(self, as_pending: Callable[[Awaitable[Any]], Pending[Any]], limit: int | None) -> None:
        self.done: deque[Pending[Any]] = deque()
        self.running: set[Pending[Any]] = set()
        self.exhausted = False
        self.error: BaseException | None = None
        self.bell = _Bell()
        self._slot = _Bell()
        self._as_pending = as_pending
        self._limit = limit

    def arrived(self, pending: Pending[Any]) -> None:
        self.done.append(pending)
        self.bell.ring()

    def take(self) -> Pending[Any]:
        pending = self.done.popleft()
        self.running.discard(pending)
        self._slot.ring()
        return pending

    async def run(self, items: Iterable[Awaitable[Any]] | AsyncIterable[Awaitable[Any]]) -> None:
        if isinstance(items, AsyncIterable):
            async for item in items:
                await self._add(item)
        else:
            for item in items:
                await self._add(item)

    async def _add(self, item: Awaitable[Any]) -> None:
        pending = self._as_pending(item)
        if pending not in self.running:
            self.running.add(pending)
            pending.add_done_callback(self.arrived)
        while self._limit is not None and len(self.running) >= self._limit:
            await self._slot.wait()

    def ended(self, _: object, error: BaseException | None, __: bool) -> None:
        self.exhausted, self.error = True, error
        self.bell.ring()


async def as_completed(
    items: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]],
    as_pending: Callable[[Awaitable[T]], Pending[T]],
    limit: int | None,
    cancel_unfinished: bool,
) -> AsyncGenerator[Pending[T]]:
    """See `Caller.as_completed`."""
    if limit is not None and limit < 1:
        raise ValueError(f"as_completed: max_concurrent: expected 1 or more, got {limit}")
    feed = _Feed(as_pending, limit)
    stop_feeding = event_loops.this_driver().Loop().spawn(feed.run(items), copy_context(), feed.ended)
    try:
        while feed.running or not feed.exhausted:
            await feed.bell.wait()
            while feed.done:
                yield feed.take()
        if feed.error is not None:
            raise feed.error
    finally:
        stop_feeding()
        for pending in feed.running:
            pending.remove_done_callback(feed.arrived)
            if cancel_unfinished:
                pending.cancel("as_completed ended early")


async def wait(
    pendings: list[Pending[T]], timeout: float | None, return_when: str
) -> tuple[set[Pending[T]], set[Pending[T]]]:
    """See `Caller.wait`."""
    if return_when not in _WHEN:
        raise ValueError(f"wait: return_when: expected one of {', '.join(_WHEN)}, got {return_when!r}")
    bell = _Bell()
    done: set[Pending[T]] = set()

    def arrived(pending: Pending[T]) -> None:
        done.add(pending)
        failed = not pending.cancelled() and pending.exception() is not None
        if len(done) == count or return_when == _WHEN[0] or (return_when == _WHEN[1] and failed):
            bell.ring()

    waiting = set(pendings)
    count = len(waiting)
    if waiting:
        for pending in waiting:
            pending.add_done_callback(arrived)
        try:
            await bell.wait(timeout)
        finally:
            for pending in waiting:
                pending.remove_done_callback(arrived)
    return set(done), waiting - done
