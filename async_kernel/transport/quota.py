"""How much each thread may have waiting on iopub: what slows a flood down instead of losing it."""

from __future__ import annotations

import sys
import threading
from typing import TypeAlias

from async_kernel.interfaces import Frames

__all__ = ["Quota", "Taken"]

Taken: TypeAlias = tuple[int, int]
"""A thread and the bytes that it has taken of its quota."""


class Quota:
    """How many bytes each thread may have waiting. A thread waits for its own flood only, never for another's.

    Args:
        limit: Bytes; a thread that has this many waiting waits until it has less.
        overhead: Bytes that a message counts on top of its frames.
    """

    def __init__(self, limit: int = 16 << 20, overhead: int = 1 << 10) -> None:
        self._limit = limit
        self._overhead = overhead
        # Of each thread, the bytes taken, written by itself, and given back, written by the owner of the socket:
        # one writer each, so that no lock is needed on the way of every message.
        self._taken: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._room = threading.Condition()
        self._waiters = 0

    def take(self, frames: Frames, patience: float) -> Taken:
        """Wait at most `patience` seconds for room and take it; returns what `give` wants back.

        Raises:
            KeyboardInterrupt: The wait was interrupted (or what else the signal's handler raises).
        """
        thread = threading.get_ident()
        size = self._overhead + sum(map(len, frames))
        if not self._has_room(thread):
            self._wait(thread, patience)
        self._taken[thread] = self._taken.get(thread, 0) + size
        return thread, size

    def give(self, taken: Taken) -> None:
        """Give back what was taken (the owner of the socket)."""
        thread, size = taken
        self._given[thread] = self._given.get(thread, 0) + size
        if self._waiters:
            with self._room:
                self._room.notify_all()

    def lift(self) -> None:
        """Let everybody go who waits, now and from now on."""
        with self._room:
            self._limit = sys.maxsize
            self._room.notify_all()

    def _has_room(self, thread: int) -> bool:
        return self._taken.get(thread, 0) - self._given.get(thread, 0) < self._limit

    def _wait(self, thread: int, patience: float) -> None:
        with self._room:
            self._waiters += 1
            try:
                self._room.wait_for(lambda: self._has_room(thread), patience)
            finally:
                self._waiters -= 1
