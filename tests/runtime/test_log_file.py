"""The kernel's log file: what is in it, what is not, and that it never harms the kernel."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from async_kernel.runtime import log_file
from async_kernel.runtime.log_file import LogFile, is_locked, prune

log = logging.getLogger("async_kernel")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LogFile]]:
    made: list[LogFile] = []

    def make(name: str = "k", *secrets: str) -> LogFile:
        made.append(LogFile(tmp_path / "logs" / f"{name}.log", secrets))
        made[-1].begin(profile="p", connection_file=f"/x/{name}.json")
        log.addHandler(made[-1])
        return made[-1]

    yield make
    for each in made:
        log.removeHandler(each)
        each.close()


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", text)
    return text


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_life(make: Callable[..., LogFile], stderr: io.StringIO) -> None:
    """Who it was, what went wrong, and why it ended; only its owner may read that."""
    file = make()
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        log.exception("failed: %s", "x")
    file.end(1.5, "signal SIGTERM")
    log.error("after the end")
    first, failed, last = records(file.path)
    assert (first["event"], first["profile"], first["pid"]) == ("started", "p", os.getpid())
    assert (failed["level"], failed["message"]) == ("ERROR", "failed: x")
    assert "ValueError: no\nsuch thing" in failed["traceback"]
    assert (last["event"], last["uptime"], last["reason"]) == ("stopped", 1.5, "signal SIGTERM")
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.end(2, "again")
    assert len(records(file.path)) == 3
    assert stderr.getvalue() == ""


def test_no_keys_in_it(make: Callable[..., LogFile]) -> None:
    """A log is shown to others when they are asked for help; the key of a kernel lets them in."""
    file = make("k", "a1b2c3d4-secret", "")
    log.error("it said %r", {"key": "a1b2c3d4-secret"})
    try:
        raise ValueError("a1b2c3d4-secret")
    except ValueError:
        log.exception("failed")
    file.end(1, "ValueError: a1b2c3d4-secret")
    assert "a1b2c3d4" not in file.path.read_text()
    assert file.path.read_text().count("<secret>") >= 3


def test_a_record_cannot_pass_for_another(make: Callable[..., LogFile]) -> None:
    """What clients send ends up in messages: a line break in it must not forge the end of the kernel."""
    file = make()
    log.error('x\n{"event": "stopped"}')
    assert [each.get("event") for each in records(file.path)] == ["started", None]


def test_it_does_not_grow_for_ever(make: Callable[..., LogFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel may run for months. The last words are what is asked for, so these are kept."""
    monkeypatch.setattr(log_file, "MAX_BYTES", 2000)
    file = make()
    for number in range(200):
        log.error("record %d", number)
    log.error("%s", "x" * 50_000)
    older = file.path.with_name("k.log.1")
    assert older.stat().st_size < 3000
    assert [each["message"] for each in records(older)][-1] in [f"record {number}" for number in range(190, 200)]
    kept = records(file.path)
    assert (kept[0]["event"], kept[0]["profile"]) == ("started", "p")
    assert len(kept[-1]["message"]) < 21_000
    assert is_locked(file.path)


def test_a_full_disk_is_told_once(
    make: Callable[..., LogFile], stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel with hours of work in it must not end because of its log."""
    file = make()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.error("one")
    log.error("two")
    file.end(1, "x")
    assert stderr.getvalue() == (
        f"async-kernel: warning: can't write the kernel's log {file.path}: No space left on device; "
        "it goes on without one\n"
    )


def test_half_a_record_is_a_full_disk(
    make: Callable[..., LogFile], stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setattr(os, "write", lambda *_: 3)
    log.error("one")
    assert "No space left on device" in stderr.getvalue()


@pytest.mark.parametrize("what", ["file", "link", "folder of a log"])
def test_a_folder_that_cannot_be_used(tmp_path: Path, stderr: io.StringIO, what: str) -> None:
    """Somebody else's folder or link is not written to."""
    folder = tmp_path / "logs"
    if what == "file":
        folder.write_text("")
    elif what == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "k.log").mkdir(parents=True)
    file = LogFile(folder / "k.log")
    file.begin(profile="p")
    file.end(1, "x")
    assert stderr.getvalue().count("\n") == 1
    assert "can't write the kernel's log" in stderr.getvalue()
    if what == "link":
        assert not list((tmp_path / "elsewhere").iterdir())


def test_an_open_folder_is_closed(tmp_path: Path, make: Callable[..., LogFile]) -> None:
    (tmp_path / "logs").mkdir(mode=0o777)
    make()
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_pruning_keeps_the_newest_and_the_living(make: Callable[..., LogFile]) -> None:
    """A folder that only grows is a fault; so is losing the log of a kernel that has run for a year."""
    living = make("living")
    os.utime(living.path, (0, 0))
    folder = living.path.parent
    for number in range(30):
        path = folder / f"dead{number:02}.log"
        path.write_text("{}\n")
        os.utime(path, (number + 1, number + 1))
    (folder / "dead00.log.1").write_text("{}\n")
    (folder / "other.txt").write_text("not a log")
    removed: list[list[Path]] = []
    threads = [threading.Thread(target=lambda: removed.append(prune(folder))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    left = sorted(path.name for path in folder.iterdir())
    assert left == [*(f"dead{number:02}.log" for number in range(10, 30)), "living.log", "other.txt"]
    # A thread that lists while others remove may find less to do, never more.
    assert sorted(path.name for each in removed for path in each) == [f"dead{number:02}.log" for number in range(10)]


def test_a_log_that_is_pruned_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would write into a file that nobody can find any more."""
    path = tmp_path / "logs" / "k.log"
    share: Any = getattr(log_file, "_share")  # noqa: B009 - private, and patched
    calls: list[int] = []

    def pruned_first(file: int) -> None:
        if not calls:
            path.unlink()
        calls.append(file)
        share(file)

    monkeypatch.setattr(log_file, "_share", pruned_first)
    file = LogFile(path)
    file.begin()
    assert records(path)[0]["event"] == "started"
    assert len(calls) == 2
    file.close()


def test_the_lock_ends_with_the_kernel(make: Callable[..., LogFile], tmp_path: Path) -> None:
    file = make()
    assert is_locked(file.path)
    file.close()
    assert not is_locked(file.path)
    assert not is_locked(tmp_path / "none.log")


def test_a_fork_is_not_the_kernel(make: Callable[..., LogFile], monkeypatch: pytest.MonkeyPatch) -> None:
    file = make()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    log.error("from a child process")
    assert len(records(file.path)) == 1


def test_the_stacks_of_what_would_not_stop(make: Callable[..., LogFile]) -> None:
    """A server's stderr is out of a user's reach; the log is not."""
    file = make()
    log.error("the kernel did not end", extra={"stack": "Thread 1\n  in stuck"})
    assert records(file.path)[-1]["stack"] == "Thread 1\n  in stuck"
