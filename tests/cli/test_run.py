"""`run`, and every way to say it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from async_kernel.cli import start
from async_kernel.config.problems import Mark
from async_kernel.config.profile import Origin, load_profile
from async_kernel.config.schema import SCHEMA
from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("argv", "profile", "file"),
    [
        ("run -f c.json --profile trio", "trio", "c.json"),
        ("run -f c.json", "default", "c.json"),
        ("-f c.json", "default", "c.json"),
        ("--connection_file c.json --profile fast", "fast", "c.json"),
        ("-fc.json", "default", "c.json"),
        ("run --profile fast -f c.json", "fast", "c.json"),
        ("run --connection-file=c.json", "default", "c.json"),
        ("run", "default", None),
        ("run --profile=trio", "trio", None),
    ],
)
def test_the_ways_to_run(run: Run, launched: Any, argv: str, profile: str, file: str | None) -> None:
    """Old kernelspecs, new ones and people say it differently."""
    assert run(*argv.split()) == (0, "", "")
    assert launched.profile.name == profile
    assert launched.file == (Path(file) if file else None)


def test_set_and_options(run: Run, launched: Any) -> None:
    """An option of its own is the more deliberate word and wins over --set."""
    argv = [
        "run",
        "--set",
        "stdin=deny",
        "--set",
        "history=off",
        "--history",
        "memory",
        "--no-quiet",
        "--cell-timeout",
        "3",
    ]
    assert run(*argv)[0] == 0
    values = launched.values
    assert (values["stdin"], values["history"], values["quiet"], values["cell_timeout"]) == (
        "deny",
        "memory",
        False,
        3.0,
    )
    assert str(launched.profile.origin("history")) == "command line (--history memory)"
    assert str(launched.profile.origin("quiet")) == "command line (--no-quiet)"


def test_every_option_of_the_table_is_there(run: Run) -> None:
    """The table is the one source of the options."""
    text = run("run", "--help")[1]
    for setting in SCHEMA.values():
        assert (f"--{setting.key.replace('_', '-')} " in text) == setting.option, setting.key


@pytest.mark.parametrize("argv", [["run", "-f", "c.json", "--profile", "nope"], ["run", "--profile=nope"]])
def test_an_unknown_profile_is_one_line(run: Run, launched: Any, argv: list[str]) -> None:
    code, out, err = run(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("--profile: error: no profile 'nope' (looked in ")
    assert launched.profile is None


def test_all_the_faults_of_all_layers_are_told(run: Run, launched: Any, home: Path) -> None:
    (home / "profiles/p.yaml").write_text("quiet: maybe\nhistori: off\n")
    assert run("run", "--profile", "p", "--backend", "tri", "--set", "stdin=x", "--set", "nonsense")[0] == 2
    code, _, err = run("run", "--profile", "p", "--backend", "tri", "--set", "stdin=x")
    assert code == 2
    assert err.splitlines() == [
        f"{home}/profiles/p.yaml:1:8: error: quiet: expected true or false, got 'maybe'",
        f"{home}/profiles/p.yaml:2:1: error: unknown key 'histori' (did you mean 'history'?)",
        "--set stdin=x: error: stdin: 'x' is not one of allow, deny",
        "--backend tri: error: backend: 'tri' is not one of asyncio, trio",
    ]
    assert launched.profile is None


def test_trio_that_is_not_installed(run: Run, launched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason and the remedy in one line, not a traceback out of an event loop."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trio" else found(name))
    code, _, err = run("run", "-f", "c.json", "--profile", "trio")
    assert (code, launched.profile) == (2, None)
    assert err == (
        f"async-kernel: error: backend 'trio' ({load_profile('trio').origin('backend').mark}) needs the package "
        f"'trio', which {sys.executable} does not have: {sys.executable} -m pip install trio\n"
    )


def test_what_launch_refuses_is_told_without_a_traceback(run: Run, launched: Any) -> None:
    """A taken port, a read-only folder: a line each, exit code 2."""
    launched.error = SetupError("port 5555 is taken\nanother line")
    assert run("run", "-f", "c.json") == (
        2,
        "",
        "async-kernel: error: port 5555 is taken\nasync-kernel: error: another line\n",
    )
    launched.error = KeyboardInterrupt()
    assert run("run", "-f", "c.json")[0] == 130
    assert run("run")[0] == 130


def test_a_setting_that_the_kernel_refuses_is_told_with_its_place(run: Run, launched: Any, home: Path) -> None:
    """Only the kernel knows its attributes, only the profile where one was written."""
    (home / "profiles/p.yaml").write_text("settings:\n  shell.timout: 3\n  kernel_nam: x\n")
    launched.error = SetupError("the shell has no setting 'timout'")
    launched.error.key = "shell.timout"
    lines = (
        "2:17: error: setting 'shell.timout': AsyncInteractiveShell has no setting 'timout' "
        "(did you mean 'shell.timeout'?)",
        "3:15: error: setting 'kernel_nam': Kernel has no setting 'kernel_nam' (did you mean 'kernel_name'?)",
    )
    expected = "".join(f"{home}/profiles/p.yaml:{line}\n" for line in lines)
    assert run("run", "--profile", "p") == (2, "", expected)


def test_a_setting_of_a_kernel_that_somebody_else_makes(run: Run, launched: Any, home: Path) -> None:
    """Which settings it has only itself knows."""
    (home / "profiles/f.py").write_text("")
    (home / "profiles/p.yaml").write_text("settings:\n  mine: 3\nkernel_factory: f.py:make\n")
    launched.error = SetupError("MyKernel has no setting 'mine'")
    launched.error.key = "mine"
    code, _, err = run("run", "--profile", "p")
    assert (code, err.splitlines()[-1]) == (2, f"{home}/profiles/p.yaml:2:9: error: MyKernel has no setting 'mine'")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("startup: [{file: a.py}]", "1:18: error: startup[0].file: there is no file '{folder}/a.py'"),
        (
            "kernel_factory: a.py:make",
            "1:17: error: kernel_factory '{folder}/a.py:make' can't be loaded: "
            "FileNotFoundError: no file '{folder}/a.py'",
        ),
        (
            "python: bin/py",
            "1:9: error: python: '{folder}/bin/py' does not exist: name an interpreter that has async_kernel installed",
        ),
    ],
)
def test_a_file_that_is_not_there(run: Run, launched: Any, home: Path, text: str, line: str) -> None:
    """A kernel that starts without the code it was given is a surprise in the first cell."""
    (home / "profiles/p.yaml").write_text(text)
    folder = f"{home}/profiles"
    assert run("run", "--profile", "p") == (2, "", f"{folder}/p.yaml:{line}\n".replace("{folder}", folder))
    assert launched.profile is None


def test_a_fault_of_ours_is_not_hidden(run: Run, launched: Any) -> None:
    """The border is for what the user can mend; a bug keeps its traceback."""
    launched.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run("run", "-f", "c.json")


def test_warnings_are_told(run: Run, launched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNC_KERNEL_BAKEND", "trio")
    assert "ASYNC_KERNEL_BAKEND: warning: the variable sets nothing" in run("run", "-f", "c.json")[2]


def test_who_is_told_of_the_kernels_life(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a terminal is; the log of a Jupyter server is not, unless the profile says so."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert start.is_watched(load_profile("default"))
    assert not start.is_watched(load_profile("fast"))
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not start.is_watched(load_profile("default"))
    (home / "profiles/p.yaml").write_text("print_kernel_messages: true")
    assert start.is_watched(load_profile("p"))


def test_what_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever watches a kernel sees what happens to it; a flood of refused messages is a number."""
    (home / "profiles/p.yaml").write_text("extends: default")
    report = start.reporter(load_profile("p"))
    info = ConnectionInfo(hb_port=1, shell_port=2, stdin_port=3, control_port=4, iopub_port=5, key=b"secret")
    report("started", {"connection_file": Path("/x/c.json"), "info": info})
    report("interrupted", {"count": 2})
    report("interrupted", {"count": 0})
    report("failed", {"what": "task 'Task-1'", "error": "ValueError: \x1b[2Jno"})
    for _ in range(1000):
        report("refused", {"reason": "signature"})
    report("stopped", {"uptime": 3725.25, "reason": ""})
    assert capsys.readouterr().err.splitlines() == [
        "async-kernel: started (profile p, asyncio, tcp): /x/c.json",
        "async-kernel: listens at 127.0.0.1: heartbeat 1, shell 2, stdin 3, control 4, iopub 5",
        "async-kernel: connect with: jupyter console --existing /x/c.json    stop with Ctrl-C",
        "async-kernel: interrupt: 2 running requests",
        "async-kernel: interrupt: nothing was running",
        "async-kernel: failed in the background: task 'Task-1': ValueError: \\x1b[2Jno",
        "async-kernel: refused 1 message: signature 1",
        "async-kernel: refused 999 messages: signature 999",
        "async-kernel: stopped after 1 h 2 min: asked to",
    ]


def test_an_origin_reads_well() -> None:
    assert str(Origin("default", Mark("default"))) == "default"
    assert str(Origin("profile", Mark("f.yaml", 1, 2))) == "profile (f.yaml:1:2)"
