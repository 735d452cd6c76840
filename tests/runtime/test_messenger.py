"""What leaves the kernel leaves it even where memory is short for a moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from async_kernel.protocol.wire import Wire
from async_kernel.runtime import messenger
from async_kernel.runtime.messenger import Messenger, patiently


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


@pytest.mark.parametrize("name", ["content", "metadata"])
def test_bytes_are_not_taken_for_json(name: str) -> None:
    """A library that publishes bytes would send what no client can read."""
    sent: list[Any] = []
    transport: Any = SimpleNamespace(send=lambda *args, **_options: sent.append(args))
    given: dict[str, Any] = {"content": {}, name: b"not JSON"}
    with pytest.raises(TypeError, match=f"display_data: {name}: expected a dict, got bytes"):
        Messenger(Wire(b"key"), transport).publish("display_data", **given)
    assert sent == []
