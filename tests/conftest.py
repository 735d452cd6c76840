"""What every room's tests share: both backends, by the name that anyio's own pytest plugin uses."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each test marked `anyio`, and each that asks for this fixture, runs on asyncio and on trio."""
    return request.param
