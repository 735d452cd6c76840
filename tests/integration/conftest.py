"""Real kernels in processes of their own, and real clients for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernels import RunningKernel, running, spawn, wait_for_file

PROFILES = ["default", "trio", "fast"]


@pytest.fixture(scope="session", autouse=True)
def jupyter_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the test's own: nothing of the user's is read or written, and nothing of theirs changes a result."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            folder = home / name.lower()
            folder.mkdir(mode=0o700)
            patch.setenv(name, str(folder))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        patch.delenv("JPY_PARENT_PID", raising=False)
        yield home


@pytest.fixture(scope="session")
def kernelspecs(jupyter_home: Path) -> list[str]:
    """The kernelspecs of the built-in profiles, installed as a user would; their names."""
    command = [sys.executable, "-m", "async_kernel", "install", "--user"]
    for profile in PROFILES:
        command += ["--profile", profile]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return ["async", "async-trio", "async-fast"]


@pytest.fixture
def start_kernel(tmp_path: Path) -> Iterator[Callable[..., RunningKernel]]:
    """Start `async-kernel run` with a new connection file and the options given."""
    kernels: list[RunningKernel] = []

    def start(*options: str, **environment: str) -> RunningKernel:
        path = tmp_path / f"k{len(kernels)}.json"
        process = spawn(path, *options, **environment)
        wait_for_file(path, process)
        kernels.append(RunningKernel(process, path))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.stop()


@pytest.fixture(scope="module", params=PROFILES)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A running kernel of each built-in profile, shared by the tests of a module."""
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--profile", request.param) as kernel:
        yield kernel
