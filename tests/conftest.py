"""What every room's tests share: both backends, by the name that anyio's own pytest plugin uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What kernels leave in Jupyter's runtime folder, their logs above all, is not left to the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each test marked `anyio`, and each that asks for this fixture, runs on asyncio and on trio."""
    return request.param
