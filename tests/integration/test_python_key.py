"""`python:` and `kernel_factory:`: whose interpreter runs the kernel, and what makes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from async_kernel import kernelspec
from async_kernel.cli.interpreter import GUARD
from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]
WHO = "import os, sys; print(os.getpid(), sys.executable, sys.prefix)"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment beside ours, whose `bin/python` is a link to the same binary; ours' packages are seen."""
    folder = tmp_path_factory.mktemp("project") / ".venv"
    venv.create(folder, symlinks=True)
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    paths = [path for path in sys.path if path and Path(path).is_dir() and path not in sysconfig.get_paths().values()]
    paths.append(sysconfig.get_path("purelib"))
    (Path(site) / "ours.pth").write_text("\n".join(paths))
    return folder


def profile_in(folder: Path, text: str) -> str:
    path = folder / "p.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("options", [[], ["--set", "cell_timeout=3", "--history", "off"]])
def test_the_kernel_runs_in_the_interpreter_that_is_named(
    start_kernel: Start, environment: Path, options: list[str]
) -> None:
    """A project's packages are in its environment; pid, signals and what the command line said stay."""
    profile = profile_in(environment.parent, "python: .venv/bin/python\n")
    kernel = start_kernel("--profile", profile, *options)
    code = f"{WHO}\nprint({GUARD!r} in os.environ, get_ipython().timeout)"
    said = text_of(kernel.run(code)[1]).split()
    assert said == [
        str(kernel.process.pid),
        str(environment / "bin/python"),
        str(environment),
        "False",
        "3.0" if options else "0.0",
    ]
    kernel.process.terminate()
    assert kernel.process.wait(TIMEOUT) == 0
    assert not kernel.connection_file.exists()


def test_a_script_in_place_of_the_interpreter_is_started_once(start_kernel: Start, tmp_path: Path) -> None:
    """A shim (pyenv's, conda's) runs an interpreter of another name: without a guard, it would for ever."""
    shim, count = tmp_path / "python", tmp_path / "count"
    shim.write_text(f'#!/bin/sh\necho x >> "{count}"\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    kernel = start_kernel("--profile", profile_in(tmp_path, "python: python\n"))
    assert text_of(kernel.run("print(1)")[1]) == "1\n"
    assert count.read_text() == "x\n"


@pytest.mark.parametrize(("name", "fault"), [("nothing/python", "does not exist"), ("p.yaml", "can't be executed")])
def test_a_missing_interpreter_is_told_with_its_place(tmp_path: Path, name: str, fault: str) -> None:
    profile = profile_in(tmp_path, f"backend: asyncio\npython: {name}\n")
    process = spawn(tmp_path / "k.json", "--profile", profile)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith(f"{profile}:2:9: error: python: '{tmp_path / name}' {fault}")


FACTORY = '''
from dataclasses import dataclass

from async_kernel import Kernel


@dataclass
class Limits:
    most: "int"


class Mine(Kernel):
    """Says in every reply who made it."""

    @property
    def kernel_info(self):
        return {**super().kernel_info, "banner": "mine"}

    async def execute_request(self, job, /):
        return {**await super().execute_request(job), "made_by": self.kernel_name, "most": Limits(3).most}


def make(settings):
    return Mine({**settings, "shell.timeout": 7})


def fails(settings):
    return settings["nothing"]


def nothing(settings):
    return None
'''


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_factory_makes_the_kernel(start_kernel: Start, tmp_path: Path, backend: str) -> None:
    """With the profile's settings; what it overrides is used from the first request on."""
    (tmp_path / "factory.py").write_text(FACTORY)
    text = f"kernel_factory: factory.py:make\nbackend: {backend}\nhistory: 'off'\ncell_timeout: 1\n"
    kernel = start_kernel("--profile", profile_in(tmp_path, text))
    reply, published = kernel.run("k = get_ipython().kernel; print(k.history, k.shell.timeout, k.anyio_backend.name)")
    assert (reply["content"]["made_by"], reply["content"]["most"]) == ("async-p", 3)
    assert text_of(published) == f"off 7.0 {backend}\n"
    assert kernel.reply(kernel.client.kernel_info())["content"]["banner"] == "mine"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("factory.py:absent", "can't be loaded: AttributeError: "),
        ("nothing.py:make", "can't be loaded: FileNotFoundError: "),
        ("broken.py:make", "can't be loaded: SyntaxError: "),
        ("no_such_module:make", "can't be loaded: ModuleNotFoundError: "),
        ("factory.py:fails", "has failed: KeyError: 'nothing' ("),
        ("factory.py:nothing", "must return a Kernel, it returned None"),
    ],
)
def test_a_factory_that_makes_none_is_told_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    """One line that names the profile's line, and the line of the user's code; nothing is left behind."""
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "broken.py").write_text("def make(:")
    profile = profile_in(tmp_path, f"quiet: true\nkernel_factory: {text}\n")
    process = spawn(tmp_path / "k.json", "--profile", profile)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith(f"{profile}:2:17: error: kernel_factory '")
    assert fault in err
    assert ("factory.py:28)" in err) == ("fails" in text), err
    assert not (tmp_path / "k.json").exists()


def make_kernel(settings: dict[str, object]) -> object:
    """A factory of a test: imports what it needs, as only its source is stored."""
    from async_kernel import Kernel

    class Stored(Kernel):
        async def execute_request(self, job, /):  # pyright: ignore
            return {**await super().execute_request(job), "stored": True}  # pyright: ignore

    return Stored(settings)  # pyright: ignore[reportArgumentType]


def test_a_stored_factory_makes_the_kernel(tmp_path: Path) -> None:
    """`write_kernel_spec(kernel_factory=...)`: what Jupyter starts is the kernel that the function makes."""
    folder = kernelspec.write_kernel_spec(kernel_dir=tmp_path / "kernels", kernel_factory=make_kernel)
    file = tmp_path / "k.json"
    argv = [part.format(connection_file=file) for part in json.loads((folder / "kernel.json").read_text())["argv"]]
    process = subprocess.Popen(argv, env=dict(os.environ), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for_file(file, process)
    kernel = RunningKernel(process, file)
    try:
        assert kernel.run("1")[0]["content"]["stored"] is True
    finally:
        kernel.stop()
