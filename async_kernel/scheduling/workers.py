"""The idle workers of a Caller: threads with a loop of their own, kept for the next `to_thread`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Pool", "Worker"]


class Worker(Protocol):
    """What the pool needs of a worker."""

    idle_since: float

    @property
    def running(self) -> bool: ...
    def stop(self, *, force: bool = False) -> Any: ...
    def run_later(self, delay: float, func: Callable[[], object], /) -> object: ...


W = TypeVar("W", bound=Worker)


class Pool(Generic[W]):
    """Workers that wait for work, the one used last on top.

    Args:
        make: Makes a worker.
        max_idle: How many may wait; the one that waited longest is stopped when there is one more.
        idle_time: Seconds after which a worker that had nothing to do is stopped.
    """

    def __init__(self, make: Callable[[], W], max_idle: int, idle_time: float) -> None:
        self._make = make
        self._max_idle = max_idle
        self._idle_time = idle_time
        self._idle: deque[W] = deque()

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> W:
        """An idle worker, or a new one; from any thread."""
        try:
            return self._idle.pop()
        except IndexError:
            worker = self._make()
        worker.idle_since = time.monotonic()
        worker.run_later(self._idle_time, lambda: self._check(worker))
        return worker

    def give(self, worker: W) -> None:
        """`worker` has nothing to do; called in its thread. One that does not run any more is not kept."""
        if not worker.running:
            return
        worker.idle_since = time.monotonic()
        self._idle.append(worker)
        if len(self._idle) > self._max_idle:
            self._idle.popleft().stop(force=True)

    def _check(self, worker: W) -> None:
        # In the worker's thread. One timer a worker instead of one a call.
        rest = self._idle_time
        if worker in self._idle:
            rest -= time.monotonic() - worker.idle_since
            if rest <= 0:
                try:
                    self._idle.remove(worker)
                except ValueError:  # Somebody has just taken it.
                    rest = self._idle_time
                else:
                    worker.stop(force=True)
                    return
        worker.run_later(rest, lambda: self._check(worker))
