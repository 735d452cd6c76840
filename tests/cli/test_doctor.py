"""`async-kernel doctor`: what is wrong is found, and each fault comes with what to do."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from async_kernel.cli import installation, render
from async_kernel.cli.installation import Requirement, refused

Run = Callable[..., tuple[int, str, str]]
Doctor = Callable[[], tuple[int, dict[str, dict[str, str]]]]


@pytest.fixture
def doctor(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """Exit code, and what is not ok, by the names of the checks; `all` has every name."""
    # Short enough for a Unix socket, which the folders of tests are not.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", folder)
        yield look(run)


def look(run: Run) -> Doctor:
    def doctor() -> tuple[int, dict[str, dict[str, str]]]:
        code, out, err = run("doctor", "--json")
        assert err == ""
        found = json.loads(out)
        return code, {each["name"]: each for each in found if each["state"] != "ok"} | {
            "all": {each["name"]: each["found"] for each in found}
        }

    return doctor


def test_all_is_well(doctor: Doctor, run: Run, home: Path) -> None:
    run("install", "--prefix", str(home), "--profile", "default", "--profile", "fast")
    code, found = doctor()
    everything = found.pop("all")
    assert (code, found) == (0, {})
    assert {"python", "ipython", "pyzmq", "trio", "runtime folder", "kernelspec async-fast", "tcp", "ipc"} <= {
        *everything
    }
    assert "jupyter_kernel_test" not in everything
    code, out, _ = run("doctor")
    assert code == 0
    assert out.startswith("ok      python")


def test_no_kernelspec_is_a_warning(doctor: Doctor) -> None:
    code, found = doctor()
    assert (code, found["kernelspecs"]["remedy"]) == (0, "async-kernel install")


def test_what_frontends_would_refuse(doctor: Doctor, run: Run, home: Path) -> None:
    """A hand-edited kernel.json makes a kernel that does not start, and the frontend does not say why."""
    (home / "profiles/gone.yaml").write_text("display_name: Same")
    (home / "profiles/changed.yaml").write_text("display_name: Same")
    run("install", "--prefix", str(home), "--profile", "default", "--profile", "gone", "--profile", "changed")
    kernels = home / "share/jupyter/kernels"
    spec = json.loads((kernels / "async/kernel.json").read_text())
    spec["argv"] = [spec["argv"][0], "-m", "async_kernel", "run", "-f={connection_file}"]
    (kernels / "async/kernel.json").write_text(json.dumps(spec))
    for logo in (kernels / "async").glob("logo-*"):
        logo.unlink()
    (home / "profiles/gone.yaml").unlink()
    (home / "profiles/changed.yaml").write_text("display_name: Same\nquiet: false\n")
    code, out, _ = run("doctor")
    assert code == 1
    assert "argv does not have {connection_file} as an argument of its own" in out
    assert "it has no logo" in out
    assert "profile missing" in out
    assert "→ async-kernel install --profile changed --name async-changed" in out
    assert out.count("is called 'Same' too") == 2
    assert doctor()[0] == 1


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        ([sys.executable, "-m", "async_kernel", "run", "-f", "{connection_file}"], ""),
        ("python", "no list of words"),
        ([], "no list of words"),
        (["async-kernel", "run", "-f", "{connection_file}"], "python -m async_kernel"),
        (["no-such-python", "-m", "async_kernel", "run", "-f", "{connection_file}"], "no interpreter no-such-python"),
    ],
)
def test_an_argv(argv: Any, fault: str) -> None:
    assert fault in refused(argv)
    assert bool(refused(argv)) is bool(fault)


def test_packages(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an ImportError in a terminal that nobody sees."""
    lines = ["click>=99", "nonsense-that-is-not-there", 'trio>=99; extra == "trio"', 'other; extra == "docs"']
    lines += ['uvloop>=0.1; sys_platform == "plan9" and extra == "uvloop"', "odd~=1"]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    code, found = doctor()
    everything = found.pop("all")
    assert code == 1
    assert found["click"]["state"] == found["nonsense-that-is-not-there"]["state"] == "failed"
    assert "pip install 'click>=99'" in found["click"]["remedy"]
    assert found["trio"]["state"] == "warning"
    assert not {"other", "uvloop", "odd"} & {*everything}


def test_every_requirement_of_ours_is_understood() -> None:
    """A line that is not would not be checked."""
    lines = metadata.requires("async_kernel") or []
    assert [line for line in lines if Requirement.parse(line) is None and "extra" not in line] == []


def test_an_optional_package_that_is_not_there_is_no_fault(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ['trio-not-there; extra == "trio"'])
    monkeypatch.setattr(installation, "OPTIONAL", ("trio", "trio-not-there"))
    code, found = doctor()
    assert (code, "optional" in found["all"]["trio-not-there"]) == (0, True)


def test_what_could_not_be_checked(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2: neither fine nor at fault."""

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    monkeypatch.setattr(metadata, "requires", missing)
    code, found = doctor()
    assert (code, found["python"]["state"]) == (2, "unknown")


def test_folders(doctor: Doctor, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "runtime").mkdir()
    (home / "runtime").chmod(0o777)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(home / "runtime"))
    (home / "file").write_text("")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "file" / "data"))
    code, found = doctor()
    assert code == 1
    assert found["runtime folder"]["remedy"] == f"chmod go-w {home}/runtime"
    assert found["data folder"]["found"] == f"{home}/file/data: {home}/file is no folder"


def test_ports(doctor: Doctor, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox without a loopback, and a home with a long path."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(home / ("long" * 20)))
    code, found = doctor()
    assert (code, found["tcp"]["remedy"]) == (1, "use the transport ipc")
    assert "set JUPYTER_RUNTIME_DIR" in found["ipc"]["remedy"]


def test_the_checklist_on_a_terminal(doctor: Doctor, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "in_colour", lambda: True)
    monkeypatch.setenv("COLUMNS", str(os.get_terminal_size().columns if sys.stdout.isatty() else 200))
    out = run("doctor")[1]
    assert "✔ python" in out
    assert "▲ kernelspecs" in out
