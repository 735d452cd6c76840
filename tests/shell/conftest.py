"""A fresh shell for each test, in an IPython folder of its own."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.shell.bench import Bench


@pytest.fixture(autouse=True)
def ipython_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty IPython folder."""
    folder = tmp_path / "ipython"
    folder.mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    monkeypatch.delenv("PYTHONSTARTUP", raising=False)
    return folder


@pytest.fixture
def bench(ipython_dir: Path, anyio_backend: str) -> Generator[Bench]:
    """A fresh shell."""
    bench = Bench(backend=anyio_backend)
    yield bench
    bench.close()
