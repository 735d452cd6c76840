"""What a dead kernel has left: it says which cell it was, and gives away no secret."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from async_kernel.runtime import record_layout
from async_kernel.runtime.deaths import Death, all_deaths, prune_deaths, read_death
from async_kernel.runtime.record_layout import record_folder
from async_kernel.runtime.recorder import Recorder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record_layout, "SHARED_MEMORY", tmp_path)
    return record_folder()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder(Path("/x/kernel-a.json"), "p")
    with recorder.recording():
        yield recorder


def died(folder: Path, stack: str = "") -> Death:
    """What would be left if the kernel died now."""
    (path,) = folder.glob(f"*-{os.getpid()}.kernel")
    copy = Path(shutil.copy(path, path.with_name(path.name.replace(str(os.getpid()), "1"))))
    with copy.open("a") as file:
        file.write(stack)
    death = read_death(copy)
    assert death is not None
    return death


def test_the_cells_that_ran(recorder: Recorder, folder: Path) -> None:
    """Several run at once; one that has ended is not blamed."""
    places = [recorder.begin(f"id{count}", count, f"cell {count}") for count in range(1, 12)]
    assert places[8:] == [0, 0, 0]
    recorder.end(places[0])
    assert [cell.number for cell in died(folder).running] == list(range(2, 9))
    for place in places:
        recorder.end(place)
    death = died(folder)
    assert (death.running, death.cells[0].ended > 0) == ([], True)
    assert death.summary.startswith("killed, or crashed: then its stderr has the stacks, after cell [")


def test_the_signal_and_the_thread_that_crashed(recorder: Recorder, folder: Path) -> None:
    recorder.begin("id", 12, "x = 1")
    threads = "Thread 0x1 (most recent call first):\n  b\n\nCurrent thread 0x2 (most recent call first):\n  a\n"
    death = died(folder, f"Fatal Python error: Bus error\n\n{threads}")
    assert death.signal == "SIGBUS"
    assert death.stack.index("Current thread") < death.stack.index("Thread 0x1")
    assert death.summary.startswith("SIGBUS, in cell [12], after 0.")
    record = death.records()[-1]
    assert (record["event"], record["signal"], record["cells"][0]["msg_id"]) == ("died", "SIGBUS", "id")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("login(password='hunter2')", "login(password=<secret>)"),
        ('d = {"api_key": "hunter2"}', 'd = {"api_key": <secret>}'),
        ("token = 'hunter2" + "x" * 300, "token = <secret>"),
        ("a\nb\nc\nd", "a\nb\nc"),
        ("print('hello')", "print('hello')"),
    ],
)
def test_what_is_kept_of_a_cell(recorder: Recorder, folder: Path, code: str, shown: str) -> None:
    """A log is shown to others when they are asked for help."""
    recorder.begin("id", 1, code)
    assert died(folder).cells[0].code == shown


def test_nothing_of_a_cell_where_no_history_is_kept(recorder: Recorder, folder: Path) -> None:
    recorder.keeps_code = False
    recorder.begin("id", 1, "secret")
    assert died(folder).cells[0].code == ""


def test_an_end_leaves_nothing(folder: Path) -> None:
    recorder = Recorder(Path("/x/kernel-a.json"))
    before = os._exit
    with recorder.recording():
        assert os._exit is not before
        (path,) = folder.iterdir()
        assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        assert all_deaths() == [], "it lives"
    assert (list(folder.iterdir()), os._exit) == ([], before)
    assert recorder.begin("id", 1, "x") == 0


def test_a_folder_that_others_can_open_is_not_used(folder: Path) -> None:
    """/dev/shm is everybody's: what a stranger has made there is not written to, and the kernel runs without."""
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    recorder = Recorder(Path("/x/kernel-a.json"))
    with recorder.recording():
        assert recorder.begin("id", 1, "x") == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"x" * 5000, record_layout.MAGIC.ljust(4096, b"\0") + b'{"pid": "x"}\n'])
def test_a_file_may_hold_anything(folder: Path, data: bytes) -> None:
    folder.mkdir(mode=0o700)
    (folder / "x-1.kernel").write_bytes(data)
    assert all_deaths() == []


def test_a_process_that_was_killed_for_memory(recorder: Recorder, folder: Path, tmp_path: Path) -> None:
    """The system writes no last word for whom it kills; its counter tells."""
    counter = tmp_path / "memory.events"
    counter.write_text("oom 3\noom_kill 0\n")
    page = getattr(recorder, "_map")  # noqa: B009 - private
    record_layout.OOM[0].pack_into(page, record_layout.OOM[1], 0, os.fsencode(counter))
    assert died(folder).oom_kills == 0
    counter.write_text("oom 4\noom_kill 1\n")
    assert died(folder).summary == "killed, probably by the system for its memory, before the first cell"


def test_only_so_many_are_kept(recorder: Recorder, folder: Path) -> None:
    death = died(folder)
    for number in range(4):
        shutil.copy(death.path, folder / f"b-{number}.kernel")
    prune_deaths(keep=2)
    assert len(all_deaths()) == 2
    assert len(list(folder.iterdir())) == 3, "and that of the kernel that lives"
