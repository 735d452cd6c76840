"""This room runs on three loops: asyncio's own, uvloop, and trio."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from async_kernel.caller import Caller


@pytest.fixture(
    params=["asyncio", pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"), "trio"],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Each test marked `anyio`, and each that asks for this fixture, runs on asyncio, uvloop and trio."""
    return request.param


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test of this room may leave a thread or a Caller behind."""
    before = set(threading.enumerate())
    yield
    assert Caller.all_callers(running_only=False) == []
    # Those of `anyio.to_thread` and `trio.to_thread` are kept for a while; this room has no part in them.
    left = [t for t in threading.enumerate() if t not in before and not t.name.startswith(("Trio", "AnyIO"))]
    for thread in left:
        thread.join(1)  # Its loop is closed: what is left of it takes microseconds.
    assert [t for t in left if t.is_alive()] == []
