"""The database of the history when it is locked, full, gone or broken: no cell waits, and no input is lost."""

# ruff: noqa: ASYNC240 - nothing else runs while a test changes a file

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from IPython.core.history import HistoryManager, HistoryOutput

from async_kernel.shell import history as module
from async_kernel.shell.history import KernelHistory
from tests.shell.bench import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

Opened = Callable[[], tuple[Bench, KernelHistory]]


@pytest.fixture
def database(ipython_dir: Path) -> Path:
    return ipython_dir / "profile_default" / "history.sqlite"


@pytest.fixture
def opened(anyio_backend: str, ipython_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Ends the shell, if there is one, and makes another, whose history is written when the test says so."""
    monkeypatch.setattr(module, "SAVE_AFTER", 1000)
    benches: list[Bench] = []

    def opened() -> tuple[Bench, KernelHistory]:
        for each in benches:
            each.close()
        benches.append(Bench(backend=anyio_backend, history="file"))
        history = benches[-1].shell.history_manager
        assert isinstance(history, KernelHistory)
        return benches[-1], history

    yield opened
    for each in benches:
        each.close()


def saved(database: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT line, source FROM history ORDER BY session, line").fetchall()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_no_cell_waits_for_a_locked_database(
    opened: Opened, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel, a backup or a slow disk would make every cell take seconds."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 1000.0)  # Whoever waits for the lock, waits longer than this test may.
    monkeypatch.setattr(module, "SAVE_AFTER", 0.0)
    bench, history = opened()
    await bench.run("first = 1")
    history.writeout_cache()
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await bench.run("second = 2")
        while history.db_input_cache:  # until the writer has taken it, and waits
            os.sched_yield()
        reply = await bench.run("%history")
        assert (reply["status"], bench.published.text()) == ("ok", "first = 1\nsecond = 2\n%history\n")
    history.writeout_cache()
    assert [text for _, text in saved(database)][:2] == ["first = 1", "second = 2"]


async def test_a_locked_database_is_not_a_broken_one(
    opened: Opened,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """IPython puts the user's whole history aside where another process has it locked for five seconds."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.0)
    bench, history = opened()
    await bench.run("old = 1")
    bench, history = opened()
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for code in ("new = 1", "new = 2"):
            await bench.run(code)
            history.writeout_cache()
            assert (await bench.shell.history_request("tail", n=5))["history"] == []
        assert [path.name for path in database.parent.glob("history*")] == ["history.sqlite"]
        (said,) = warnings(caplog)
        assert str(database) in said
        assert "database is locked" in said
    history.writeout_cache()
    assert saved(database) == [(1, "old = 1"), (1, "new = 1"), (2, "new = 2")]


@pytest.mark.parametrize("fault", ["random bytes", "truncated", "truncated while it is open"])
async def test_a_broken_database_is_kept_and_a_new_one_begun(
    opened: Opened, database: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be saved from it would be gone, or nothing would be saved any more."""
    bench, history = opened()
    await bench.run(f"old = {'x' * 50_000!r}")
    bench.close()
    if fault == "random bytes":
        database.write_bytes(b"no database " * 2000)
    elif fault == "truncated":
        os.truncate(database, 9000)
    before = database.read_bytes()
    bench, history = opened()
    await bench.run("new = 1")
    if "open" in fault:
        history.writeout_cache()
        await bench.run("new = 2")
        os.truncate(database, 9000)
        before = database.read_bytes()
    history.writeout_cache()
    assert saved(database) == ([(2, "new = 2")] if "open" in fault else [(1, "new = 1")])
    (kept,) = database.parent.glob("history-corrupt-*.sqlite")
    assert kept.read_bytes() == before
    (said,) = warnings(caplog)
    assert kept.name in said


def _nothing(_: Path) -> None: ...


def _other_tables(database: Path) -> None:
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE sessions (a)")


def _away(database: Path) -> None:
    database.parent.rename(database.parent.with_name("away"))


def _back(database: Path) -> None:
    database.parent.with_name("away").rename(database.parent)


BEFORE = {"a folder": Path.mkdir, "another program's": _other_tables, "no folder": _away}
AFTER = {"a folder": Path.rmdir, "another program's": Path.unlink, "no folder": _back}


@pytest.mark.parametrize("fault", ["removed", "a folder", "another program's", "full", "no folder"])
async def test_what_can_be_written_later_is_written_later(
    opened: Opened, database: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full for a minute would cost what was typed in it; or the kernel would end with a traceback."""
    bench, history = opened()
    BEFORE.get(fault, _nothing)(database)
    if fault in ("removed", "full"):
        await bench.run("early = 1")
        history.writeout_cache()
    if fault == "removed":
        database.unlink()
    elif fault == "full":
        history.db.execute("PRAGMA max_page_count = 1")
    large = "large = '" + "x" * 20_000 + "'"
    for code in (large, "late = 1"):
        await bench.run(code)
        history.writeout_cache()
    AFTER.get(fault, _nothing)(database)
    if fault == "full":
        history.db.execute("PRAGMA max_page_count = 10000")
    history.end_session()
    assert [text for _, text in saved(database)][-2:] == [large, "late = 1"]
    (said,) = warnings(caplog)
    assert str(database) in said


async def test_what_is_not_written_in_the_end_is_told(
    opened: Opened, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench, history = opened()
    database.mkdir()
    await bench.run("1")
    await bench.run("2")
    history.end_session()
    assert [each.partition("history.sqlite")[0] for each in warnings(caplog)] == [
        f"the history {database.parent}/",
        f"the last inputs (2) are not in the history {database.parent}/",
    ]


async def test_a_count_that_begins_anew(opened: Opened, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`%reset` while the database is locked: two lines of one number."""
    bench, history = opened()
    await bench.run("before = 1")
    await bench.run("%reset -f")
    bench.shell.execution_count = 1
    await bench.run("after = 1")
    history.end_session()
    assert [text for _, text in saved(database) if "=" in text] == ["before = 1", "after = 1"]


async def test_inputs_are_stored_as_ipython_stores_them(opened: Opened) -> None:
    """`In`, `_i`, `_i3` and the database would say something else than in IPython."""
    seen: list[Any] = []
    for own in (True, False):
        bench, history = opened()
        store = history.store_inputs if own else partial(HistoryManager.store_inputs, history)
        for number, texts in enumerate(
            [("a = 1\n",), ("b\n\n", "%b\n"), ("exit",), ("quit()", "quit()"), ("c", "c")], 1
        ):
            store(number, *texts)
        names = ["_i", "_ii", "_iii", "_i1", "_i2", "_i3", "_i5"]
        shell = bench.shell
        seen.append(
            (
                shell.user_ns["In"],
                history.input_hist_raw,
                history.db_input_cache,
                [shell.user_ns.get(name) for name in names],
                [shell.user_ns_hidden.get(name) for name in names],
                [getattr(history, name) for name in ("_i00", "_i", "_ii", "_iii")],
            )
        )
    assert seen[0] == seen[1]
    assert seen[0][3] == ["%b", "a = 1", "", "a = 1", "%b", None, "c"]


async def test_what_cells_have_shown(opened: Opened) -> None:
    """`%notebook`, and who reads `outputs`, would miss values, or see them in another form than IPython's."""
    bench, history = opened()
    await bench.run("1 + 1")
    await bench.run("from IPython.display import HTML\nHTML('<b>')")
    await bench.run("%config InteractiveShell.ast_node_interactivity = 'all'")
    await bench.run("'a'\n'b'")
    outputs = history.outputs
    assert [number in outputs for number in range(1, 6)] == [True, True, False, True, False]
    assert outputs[1] == [HistoryOutput("execute_result", {"text/plain": "2"})]
    assert outputs[1] is outputs[1]
    assert outputs[2][0].bundle["text/html"] == "<b>"
    assert [each.bundle["text/plain"] for each in outputs[4]] == ["'a'", "'b'"]
    outputs[7].append(HistoryOutput("out_stream", {"stream": ["x"]}))
    assert [len(each) for each in outputs.values()] == [1, 1, 2, 1]
    assert outputs[8] == []
    await bench.run("%reset -f")
    assert not outputs


async def test_the_session_as_a_notebook(opened: Opened, tmp_path: Path) -> None:
    """`%notebook` would write a notebook without the values."""
    bench, _ = opened()
    await bench.run("1 + 1")
    await bench.run("x = 3")
    reply = await bench.run(f"%notebook {tmp_path / 'session.ipynb'}")
    assert reply["status"] == "ok", reply
    cells = json.loads((tmp_path / "session.ipynb").read_text())["cells"]
    assert [cell["source"] for cell in cells] == [["1 + 1"], ["x = 3"]]
    assert [[each["data"] for each in cell["outputs"]] for cell in cells] == [[{"text/plain": ["2"]}], []]
