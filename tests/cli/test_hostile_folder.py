"""A kernel that is started in a stranger's folder: nothing that lies there is run before a cell asks for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from async_kernel import launch
from async_kernel.config.profile import load_profile
from async_kernel.kernelspec import spec_content
from tests.kernels import RunningKernel, text_of, wait_for_file

OURS = ("zmq", "IPython", "traitlets", "anyio", "msgspec", "comm", "yaml", "jupyter_core", "tornado", "uvloop", "trio")
"Packages that the kernel itself imports, with some that it might."


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every module of the standard library and of ours, and profiles in all the likely places; each leaves a trace."""
    folder = tmp_path_factory.mktemp("hostile")
    trap = f"open({str(folder / 'trace')!r}, 'a').write(__name__ + ' ')\n"
    names = {name for name in sys.stdlib_module_names if not name.startswith("_")} | {*OURS, "__future__"}
    for name in (*names, "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(trap)
    (folder / "async_kernel").mkdir()
    for name in ("__init__", "__main__", "launch"):
        (folder / f"async_kernel/{name}.py").write_text(trap)
    text = f"startup: [{json.dumps(trap)}]\ndescription: evil\n"
    for place in (".", "profiles", ".async-kernel", ".async-kernel/profiles", ".jupyter/async-kernel/profiles"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in ("default", "default.local", "trio.local"):
            (folder / place / f"{name}.yaml").write_text(text)
    (folder / "helper_of_mine.py").write_text("answer = 42\n")
    return folder


@pytest.fixture(scope="module")
def kernel(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """Started as Jupyter does from our kernelspec, in that folder."""
    home = tmp_path_factory.mktemp("home")
    spec = spec_content(load_profile("default"))
    file = home / "kernel.json"
    environ = {**os.environ, "JUPYTER_CONFIG_DIR": str(home / "config"), **spec["env"]}
    argv = [str(file) if part == "{connection_file}" else part for part in spec["argv"]]
    process = subprocess.Popen(
        argv, cwd=hostile, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_file(file, process)
    kernel = RunningKernel(process, file)
    try:
        yield kernel
    finally:
        kernel.stop()


@pytest.mark.slow
def test_nothing_of_it_is_run(kernel: RunningKernel, hostile: Path) -> None:
    """A notebook opened in a downloaded folder must not run what lies there."""
    reply, published = kernel.run("import async_kernel; print(async_kernel.__file__)")
    assert reply["content"]["status"] == "ok"
    assert not text_of(published).startswith(str(hostile))
    assert not (hostile / "trace").exists(), (hostile / "trace").read_text()


@pytest.mark.slow
def test_what_a_cell_asks_for_is_found(kernel: RunningKernel) -> None:
    """The folder is guarded against the start only: cells import the modules beside the notebook, as everywhere."""
    assert text_of(kernel.run("import helper_of_mine; print(helper_of_mine.answer)")[1]) == "42\n"


@pytest.mark.slow
def test_programs_that_a_cell_starts_are_not_guarded(kernel: RunningKernel) -> None:
    """`python script.py` in a cell finds the modules beside the script."""
    assert text_of(kernel.run("import os; print(os.environ.get('PYTHONSAFEPATH'))")[1]) == "None\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("async_kernel:${PYTHONSAFEPATH}", None),
        ("async_kernel:", None),
        ("async_kernel:1", "1"),
        ("async_kernel:async_kernel:${PYTHONSAFEPATH}", None),
        ("1", "1"),
        (None, None),
    ],
)
def test_the_users_own_word_stays(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str | None) -> None:
    """Who guards all programs with PYTHONSAFEPATH has them guarded in the cells too."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if value is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", value)
    launch.restore_safe_path()
    assert os.environ.get("PYTHONSAFEPATH") == expected


@pytest.mark.slow
def test_started_by_hand(hostile: Path, tmp_path: Path) -> None:
    """`python -P -m async_kernel` looks at nothing there; without `-P`, Python does before this package is loaded."""
    command = [sys.executable, "-P", "-m", "async_kernel", "profile", "list", "--json"]
    environ = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=hostile, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert "evil" not in done.stdout
    assert not (hostile / "trace").exists(), (hostile / "trace").read_text()
