"""The garbage collector at the wrong moment, where it runs what other code has left to be done."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

MOMENTS = range(16)
"""How many objects are made before the collector runs: enough to find any step of a short function."""


class Garbage:
    """A cycle; at its end it calls a function, as other threads may run while the collector does."""

    def __init__(self, ended: Callable[[], Any]) -> None:
        self.me = self
        self.ended = ended

    def __del__(self) -> None:
        self.ended()


@contextmanager
def collecting(moment: int, change: Callable[[], Any]) -> Generator[None]:
    """Let the collector run in the middle of what is done inside, and call `change` there."""
    before = gc.get_threshold()
    gc.collect(0)
    Garbage(change)
    gc.set_threshold(gc.get_count()[0] + moment, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
