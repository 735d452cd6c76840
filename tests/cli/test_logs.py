"""`async-kernel logs`: which kernel is meant, and why it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from async_kernel.runtime.log_file import LogFile

Run = Callable[..., tuple[int, str, str]]
DEAD = 2**22 + 1  # more than a pid may be


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(home / "runtime"))
    path = home / "runtime" / "async-kernel"
    path.mkdir(parents=True, mode=0o700)
    return path


def record(second: int, message: str, *, pid: int = DEAD, **facts: Any) -> str:
    return json.dumps(
        {"time": f"2026-01-01T00:00:{second:02}.000Z", "level": "INFO", "pid": pid, "message": message, **facts}
    )


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / f"{name}.log").write_text("".join(f"{line}\n" for line in lines))


def started(second: int, **options: Any) -> str:
    return record(second, "started", event="started", profile="default", **options)


def stopped(second: int, reason: str, **options: Any) -> str:
    return record(second, "stopped", event="stopped", uptime=3.5, reason=reason, **options)


def test_the_last_that_ended(run: Run, folder: Path) -> None:
    """The question after "the kernel appears to have died"."""
    assert run("logs", "--last") == (1, "", "no kernel has ended yet that left a log\n")
    write(folder, "kernel-a", started(1), stopped(9, "signal SIGTERM"))
    write(folder, "kernel-b", started(2), stopped(3, "a client asked for it"))
    code, out, err = run("logs", "--last")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2026-01-01T00:00:01.000Z INFO started: profile default",
        "2026-01-01T00:00:09.000Z INFO stopped: uptime 3.5, reason signal SIGTERM",
        f"kernel-a (pid {DEAD}) stopped after 3.5 s: signal SIGTERM",
    ]


def test_one_that_said_nothing(run: Run, folder: Path) -> None:
    """Killed with -9, by the system for its memory, or crashed: it can't say so itself."""
    write(folder, "kernel-a", started(1), record(5, "dropped a message"))
    (life,) = json.loads(run("logs", "--last", "--json")[1])
    assert (life["state"], life["kernel"], len(life["records"])) == ("died", "kernel-a", 2)
    assert life["why"] == (
        "died without saying why (killed, or crashed); its last record is of 2026-01-01T00:00:05.000Z"
    )


def test_a_running_kernel_has_not_ended(run: Run, folder: Path) -> None:
    file = LogFile(folder / "kernel-a.log")
    file.begin(profile="p")
    try:
        assert run("logs", "--last")[0] == 1
        assert run("logs", "a")[1].endswith(f"kernel-a (pid {os.getpid()}) is running\n")
    finally:
        file.close()
    # It has let go of its log: it is dead, whoever has its number now.
    assert run("logs", "--last")[0] == 0


def test_a_pid_that_another_process_has_now(run: Run, folder: Path) -> None:
    """A log that another kernel of the same name keeps locked tells of an older one too."""
    write(folder, "kernel-a", started(1, pid=os.getpid()))
    file = LogFile(folder / "kernel-a.log")
    file.begin(profile="p")
    try:
        states = [each["state"] for each in json.loads(run("logs", "--json")[1])]
    finally:
        file.close()
    assert states == ["running", "died"]


def test_a_restart_is_another_life(run: Run, folder: Path) -> None:
    """Jupyter restarts a kernel with the same connection file, and so with the same log."""
    write(folder, "kernel-a", started(1), record(2, "one"), started(3, pid=DEAD + 1), stopped(4, "x", pid=DEAD + 1))
    lives = json.loads(run("logs", "--json")[1])
    assert [(each["pid"], each["state"]) for each in lives] == [(DEAD + 1, "stopped"), (DEAD, "died")]
    assert "one" not in run("logs", "--last")[1]
    assert "one" in run("logs", "kernel-a")[1]


@pytest.mark.parametrize("name", ["kernel-abc", "kernel-a", "abc", "a", "/x/kernel-abc.json", str(DEAD)])
def test_the_ways_to_name_a_kernel(run: Run, folder: Path, name: str) -> None:
    write(folder, "kernel-abc", started(1))
    write(folder, "kernel-def", started(1, pid=DEAD + 1))
    assert f"kernel-abc (pid {DEAD}) died" in run("logs", name)[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x", "no log of a kernel 'x' (connection file, beginning of its name, or pid); known: kernel-ab, kernel-ac"),
        ("kernel-", "'kernel-' means more than one kernel: kernel-ab, kernel-ac"),
    ],
)
def test_a_name_that_fits_none_or_more(run: Run, folder: Path, name: str, said: str) -> None:
    write(folder, "kernel-ab", started(2))
    write(folder, "kernel-ac", started(1))
    assert run("logs", name) == (2, "", f"async-kernel: error: {said}\n")


def test_what_a_crash_leaves(run: Run, folder: Path) -> None:
    """Half a record, the dump of a crash, and what a terminal would obey are shown as text."""
    (folder / "kernel-a.log.1").write_text(started(1) + "\n")
    write(
        folder, "kernel-a", record(2, "\x1b[2J\x07", traceback="one\ntwo"), "Fatal Python error: Aborted", '{"time": "'
    )
    out = run("logs", "a")[1]
    assert "started" in out
    assert "\\x1b[2J\\x07\n    one\n    two\n    Fatal Python error: Aborted" in out
    assert "\x1b" not in out


def test_the_list(run: Run, folder: Path) -> None:
    write(folder, "kernel-a", started(1))
    write(folder, "kernel-b", started(2), stopped(3, "x"))
    lines = run("logs")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["KERNEL", "kernel-b", "kernel-a"]
    assert [line.split()[-1] for line in lines] == ["STATE", "stopped", "died"]
