"""What leaves the kernel leaves it even where memory is short for a moment."""

from __future__ import annotations

import pytest

from async_kernel.runtime import messenger
from async_kernel.runtime.messenger import patiently


def test_a_reply_waits_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose reply is lost shows a cell that spins for ever."""
    monkeypatch.setattr(messenger, "TRY_SECONDS", 0)
    outcomes = iter([MemoryError(), MemoryError(), None])

    def make() -> str:
        if (outcome := next(outcomes)) is not None:
            raise outcome
        return "made"

    assert patiently(make) == "made"


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger, "TRY_SECONDS", 0)

    def make() -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        patiently(make)
