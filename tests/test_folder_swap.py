"""A kernelspec is there whole or not at all, whatever happens while it is written, replaced or removed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from async_kernel import folder_swap

STAGE = ".async-kernel-async-abcd1234"


def no_check(_: Path) -> None:
    """Whatever was there may go."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "install old swap kill",
        "install old no-swap kill",
        "install none swap kill",
        "install old swap ENOSPC",
        "install old no-swap EIO",
        "uninstall old swap kill",
        "uninstall old swap EACCES",
    ],
)
def test_a_fault_at_each_system_call(tmp_path: Path, case: str) -> None:
    """A full disk or a kill, at whatever moment, leaves the old kernelspec or the new one, and nothing for long."""
    command = [sys.executable, str(Path(__file__).with_name("faults.py")), str(tmp_path), *case.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    verb, before, swap, kind = case.split()
    after = "new" if verb == "install" else "none"
    killed = [row for row in rows if row["code"] == -signal.SIGKILL]
    refused = [row for row in rows if row["code"] == 2]
    assert rows[-1]["code"] == 0
    assert rows[-1]["left"] == after
    assert len(rows) > 50
    assert len(killed) == len(rows) - 1 if kind == "kill" else len(refused) > 20
    assert {row["code"] for row in rows} <= ({-signal.SIGKILL, 0} if kind == "kill" else {0, 2})
    for row in rows:
        moment = swap == "no-swap" and row["left"] == "none"  # Two renames: the next install puts the old one back.
        assert row["left"] in (before, after) or (moment and row["swept"] == before), row
        assert row["swept"] in (before, after), row
        assert row["code"] or row["left"] == after, row
        assert (row["litter"], row["next"]) == ([], "new"), row


@pytest.mark.parametrize("limit", [0, 100, 5000])
def test_a_write_that_ends_in_the_middle(tmp_path: Path, limit: int) -> None:
    """What a full disk does: the system takes a part of a file, and then no more."""
    folder_swap.publish(tmp_path / "async", {"kernel.json": b"old"}, no_check)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder_swap.publish(tmp_path / "async", {"kernel.json": b"new" * 10, "logo": b"x" * 9999}, no_check)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["async"]
    assert (tmp_path / "async/kernel.json").read_bytes() == b"old"


def stages(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders that look like what a killed install leaves, each with the reason why it is not that."""
    for name, inside, reason in (
        (".async-kernel-notes", "new", "its name is another"),
        (".async-kernel-async-ABCD1234", "new", "its name is another"),
        (".async-kernel-async-aaaa1111", "thesis.txt", "there is something else in it"),
    ):
        path = folder / name
        (path / inside).mkdir(parents=True)
        yield path, reason
    target = folder / "elsewhere"
    (target / "new").mkdir(parents=True)
    link = folder / ".async-kernel-async-bbbb2222"
    link.symlink_to(target)
    yield link, "it is a symbolic link"
    yield target / "new", "it is behind a symbolic link"
    file = folder / ".async-kernel-async-cccc3333"
    file.write_text("")
    yield file, "it is a file"


def test_only_what_a_killed_install_left_is_swept(tmp_path: Path) -> None:
    """What is somebody's stays, however it is named."""
    others = list(stages(tmp_path))
    (tmp_path / STAGE / "new").mkdir(parents=True)
    folder_swap.sweep(tmp_path)
    assert not (tmp_path / STAGE).exists()
    for path, reason in others:
        assert os.path.lexists(path), reason


def test_another_users_staging_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / STAGE).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    folder_swap.sweep(tmp_path)
    assert (tmp_path / STAGE).exists()


def test_an_install_that_is_running_is_not_swept(tmp_path: Path) -> None:
    """Two installs at the same time, into the same folder."""
    found: list[list[str]] = []

    def sweep_meanwhile(_: Path) -> None:
        folder_swap.sweep(tmp_path)
        found.append(os.listdir(tmp_path))

    folder_swap.publish(tmp_path / "async", {"kernel.json": b"1"}, no_check)
    folder_swap.publish(tmp_path / "async", {"kernel.json": b"2"}, sweep_meanwhile)
    assert len(found[0]) == 2
    assert os.listdir(tmp_path) == ["async"]


def test_a_staging_folder_that_was_swept_too_early_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making a folder and locking it there is a moment."""
    lock, swept = folder_swap._lock, []

    def sweep_first(stage: Path, *, exclusive: bool) -> int | None:
        if not exclusive and not swept:
            swept.append(stage)
            folder_swap.sweep(tmp_path)
        return lock(stage, exclusive=exclusive)

    monkeypatch.setattr(folder_swap, "_lock", sweep_first)
    folder_swap.publish(tmp_path / "async", {"kernel.json": b"1"}, no_check)
    assert swept
    assert os.listdir(tmp_path) == ["async"]


@pytest.mark.parametrize(("hours", "left"), [(1, [STAGE]), (25, [])])
def test_where_nothing_can_be_locked_only_age_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, left: list[str]
) -> None:
    """Some network file systems can't; an install takes seconds."""
    monkeypatch.setattr(folder_swap, "_lock", lambda stage, exclusive: None)
    (tmp_path / STAGE).mkdir()
    now = (tmp_path / STAGE).stat().st_mtime
    os.utime(tmp_path / STAGE, (now - hours * 3600, now - hours * 3600))
    folder_swap.sweep(tmp_path)
    assert os.listdir(tmp_path) == left


@pytest.mark.parametrize("swaps", [True, False])
def test_what_the_check_refuses_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool) -> None:
    """Somebody put another folder there after the first look: that one must not be lost."""
    if not swaps:
        monkeypatch.setattr(folder_swap, "_exchange", lambda one, two: False)
    (tmp_path / "async").mkdir()
    (tmp_path / "async/mine").write_text("mine")

    def refuse(folder: Path) -> None:
        assert os.listdir(folder) == ["mine"]
        raise ValueError("no")

    for call in (lambda: folder_swap.publish(tmp_path / "async", {"a": b""}, refuse),
                 lambda: folder_swap.withdraw(tmp_path / "async", refuse)):  # fmt: skip
        with pytest.raises(ValueError, match="no"):
            call()
        assert os.listdir(tmp_path) == ["async"]
        assert os.listdir(tmp_path / "async") == ["mine"]


def test_what_can_not_be_put_back_is_kept(tmp_path: Path) -> None:
    """The place is taken meanwhile: neither of the two is lost, and nothing removes the other later."""
    (tmp_path / "async").mkdir()
    (tmp_path / "async/mine").write_text("mine")

    def take_the_place(_: Path) -> None:
        (tmp_path / "async").write_text("taken")
        raise ValueError("no")

    with pytest.raises(OSError, match=r"what was there is in .*kept"):
        folder_swap.withdraw(tmp_path / "async", take_the_place)
    folder_swap.sweep(tmp_path)
    assert [path.read_text() for path in tmp_path.glob(".async-kernel-*/kept/mine")] == ["mine"]


def test_two_folders_change_places_in_one_step(tmp_path: Path) -> None:
    """On Linux nobody ever sees the kernelspec missing."""
    new, target = tmp_path / "new", tmp_path / "target"
    for path in (new, target):
        path.mkdir()
        (path / path.name).write_text("")
    folder_swap.put(new, target, old=tmp_path / "old")
    assert os.listdir(target) == ["new"]
    if sys.platform == "linux":
        assert os.listdir(new) == ["target"]


def test_a_failing_exchange_is_told(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="No such file"):
        folder_swap.put(tmp_path / "none", tmp_path / "target", old=tmp_path / "old")
    assert (tmp_path / "target").is_dir()
