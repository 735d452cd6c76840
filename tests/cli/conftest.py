"""The command line against a home of its own, with a launch that only remembers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_core import paths

from async_kernel.__main__ import main
from async_kernel.config.profile import Profile


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiles in `<home>/profiles`, kernelspecs in `<home>/share/jupyter/kernels`; nothing of this machine is seen."""
    for name, folder in (
        ("HOME", "."),
        ("ASYNC_KERNEL_PROFILES", "profiles"),
        ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTER_DATA_DIR", "data"),
        ("JUPYTER_PATH", "share/jupyter"),
    ):
        monkeypatch.setenv(name, str(tmp_path / folder))
    # Kernels may be installed beside this interpreter: `make run` does that.
    monkeypatch.setattr(paths, "ENV_JUPYTER_PATH", [])
    monkeypatch.setattr(paths, "SYSTEM_JUPYTER_PATH", [])
    (tmp_path / "profiles").mkdir()
    return tmp_path


class Launched:
    """What `launch` was called with."""

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.file: Path | None = None
        self.error: BaseException | None = None

    def __call__(self, profile: Profile, connection_file: Path | None, report: Any = None) -> int:
        self.profile, self.file = profile, connection_file
        if self.error:
            raise self.error
        return 0

    @property
    def values(self) -> Any:
        assert self.profile is not None
        return self.profile.values


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Launched:
    """Takes the place of `async_kernel.launch.launch`."""
    launch = Launched()
    monkeypatch.setitem(sys.modules, "async_kernel.launch", SimpleNamespace(launch=launch))
    return launch


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of a command line."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        out, err = capsys.readouterr()
        return code, out, err

    return run
