"""Completion, inspection, history and `is_complete`."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from async_kernel.scheduling.context import current_job
from async_kernel.typing import Content
from tests.shell.bench import Bench, make_job

pytestmark = pytest.mark.anyio
EXPERIMENTAL = "_jupyter_types_experimental"


def at_once(request: Callable[[], Awaitable[Content]]) -> Content:
    """The content of a reply, in a thread that has no event loop: none of these requests waits for anything."""
    coroutine: Any = request()
    try:
        coroutine.send(None)
    except StopIteration as exc:
        return exc.value
    raise AssertionError("it waits")


@pytest.mark.slow
async def test_completion(bench: Bench) -> None:
    """Tab would not complete."""
    await bench.run("import os\nclass Thing:\n    name = 1\nthing = Thing()")
    reply = await bench.shell.do_complete_request("x = thing.na", 12)
    assert (reply["status"], reply["matches"]) == ("ok", ["name"])
    assert (reply["cursor_start"], reply["cursor_end"]) == (10, 12)
    assert reply["metadata"][EXPERIMENTAL][0] == {
        "start": 10,
        "end": 12,
        "text": "name",
        "type": "instance",
        "signature": "",
    }
    assert "%timeit" in (await bench.shell.do_complete_request("%time", 5))["matches"]
    middle = await bench.shell.do_complete_request("os.getc()\n1", 7)
    assert (middle["matches"], middle["cursor_start"], middle["cursor_end"]) == (["getcwd", "getcwdb"], 3, 7)
    assert (await bench.shell.do_complete_request("nothing_like_this", 17))["matches"] == []


async def test_completer_off(bench: Bench) -> None:
    """A profile could not switch completion off."""
    bench.shell.completer = "off"
    reply = await bench.shell.do_complete_request("pri", 3)
    assert reply == {"status": "ok", "matches": [], "cursor_start": 3, "cursor_end": 3, "metadata": {EXPERIMENTAL: []}}


async def test_completer_without_jedi(bench: Bench) -> None:
    """A profile could not choose the completer that runs no analysis."""
    bench.shell.completer = "ipython"
    assert "print" in (await bench.shell.do_complete_request("pri", 3))["matches"]
    assert bench.shell.Completer.use_jedi is False


async def test_inspection(bench: Bench) -> None:
    """Shift-Tab would show nothing."""
    await bench.run("%colors nocolor")
    await bench.run("def f(x):\n    'What f does.'\n    return x")
    reply = await bench.shell.inspect_request("f(1)", 1)
    assert (reply["status"], reply["found"]) == ("ok", True)
    assert "What f does." in reply["data"]["text/plain"]
    assert "text/html" not in reply["data"]
    assert "return x" in (await bench.shell.inspect_request("f", 1, 1))["data"]["text/plain"]
    without = await bench.shell.inspect_request("f", 1, 0, omit_sections=["docstring"])
    assert "What f does." not in without["data"]["text/plain"]
    assert await bench.shell.inspect_request("nowhere", 3) == {
        "status": "ok",
        "found": False,
        "data": {},
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 + 1", {"status": "complete"}),
        ("for i in x:", {"status": "incomplete", "indent": "    "}),
        ("def f(x):\n  x*2", {"status": "incomplete", "indent": "  "}),
        ("import = 7q", {"status": "invalid"}),
        ("await x", {"status": "complete"}),
        ("%%time", {"status": "incomplete", "indent": ""}),
    ],
)
async def test_is_complete(bench: Bench, code: str, expected: Content) -> None:
    """Enter in a console would run half a cell, or never run one."""
    assert await bench.shell.is_complete_request(code) == expected


@pytest.mark.parametrize("mode", ["file", "memory", "off"])
async def test_history(anyio_backend: str, mode: str) -> None:
    """The arrow keys of a console would find nothing; or a profile without history would have one."""
    inputs = ["x = 1", "%pwd", "x = 2", "y"]
    bench = Bench(history=mode)
    try:
        for code in inputs[:-1]:
            await bench.run(code)
        await bench.run("y = 5\ny")
        tail = await bench.shell.history_request("tail", n=2)
        search = await bench.shell.history_request("search", pattern="x*", unique=True)
        ranged = await bench.shell.history_request("range", output=True, raw=False, session=0, start=2, stop=4)
        assert tail["status"] == "ok"
        stored = mode != "off"
        assert [each[2] for each in tail["history"]] == (["x = 2", "y = 5\ny"] if stored else [])
        assert [each[2] for each in search["history"]] == (["x = 1", "x = 2"] if stored else [])
        assert [each[2][0] for each in ranged["history"]] == ["get_ipython().run_line_magic('pwd', '')", "x = 2"]
        with pytest.raises(ValueError, match="hist_access_type: expected one of tail, range, search, got 'no'"):
            await bench.shell.history_request("no")
    finally:
        bench.close()


async def test_answers_while_a_cell_blocks(bench: Bench) -> None:
    """Tab would wait for the cell, print into it, or fail because of the database's thread."""
    begun, answered = threading.Event(), threading.Event()
    bench.shell.user_ns.update(begun=begun, answered=answered)
    await bench.run("value = 1\nclass Loud:\n    @property\n    def talk(self): print('psst')\nloud = Loud()")
    replies: dict[str, Content] = {}
    job = make_job("lookup")

    def ask() -> None:
        current_job.set(job)
        shell = bench.shell
        assert begun.wait(5)
        replies["complete"] = at_once(lambda: shell.do_complete_request("valu", 4))
        replies["inspect"] = at_once(lambda: shell.inspect_request("loud.talk", 9, 1))
        replies["history"] = at_once(lambda: shell.history_request("tail", n=1))
        replies["is_complete"] = at_once(lambda: shell.is_complete_request("for i in x:"))
        answered.set()

    bench.shell.completer = "ipython"
    asker = threading.Thread(target=ask)
    asker.start()
    reply = await bench.run("begun.set()\nassert answered.wait(5)\nprint('mine')")
    asker.join()
    assert reply["status"] == "ok", reply
    assert [reply["status"] for reply in replies.values()] == ["ok", "ok", "ok", "incomplete"]
    assert replies["complete"]["matches"] == ["value"]
    assert replies["history"]["history"][0][2].startswith("begun.set()")
    assert bench.published.text(parent=job) in {"", "psst\n"}
    assert "mine\n" in bench.published.text()


async def test_many_at_once(bench: Bench) -> None:
    """Requests of several clients would disturb each other."""
    await bench.run("first_thing = second_thing = 1")
    bench.shell.completer = "ipython"
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(5):
                assert at_once(lambda: bench.shell.do_complete_request("first_", 6))["matches"] == ["first_thing"]
                assert at_once(lambda: bench.shell.inspect_request("second_thing", 3))["found"]
                assert len(at_once(lambda: bench.shell.history_request("tail", n=5))["history"]) == 1
        except AssertionError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_the_warning_filters_of_a_cell_stay(bench: Bench) -> None:
    """A cell that sets warning filters while somebody presses Tab would lose them."""
    bench.shell.completer = "ipython"
    await bench.shell.do_complete_request("pri", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        before = list(warnings.filters)
        await bench.shell.do_complete_request("pri", 3)
        assert warnings.filters[-len(before) :] == before
