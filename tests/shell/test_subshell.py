"""Subshells over a shell without a kernel: what is their own, what is the main shell's, how they end."""

from __future__ import annotations

import builtins
import gc
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from IPython.core.interactiveshell import InteractiveShell

from async_kernel.asyncshell import AsyncInteractiveSubshell, SubshellManager
from async_kernel.caller import Caller
from async_kernel.errors import ClientError
from async_kernel.scheduling.context import chosen_subshell, current_job
from async_kernel.typing import Content, Job
from tests.shell.bench import Bench, make_job

pytestmark = pytest.mark.anyio

TIMEOUT = 20


class Shells:
    """A main shell and its subshells."""

    def __init__(self, bench: Bench, caller: Caller) -> None:
        self.bench = bench
        self.ended: list[str] = []
        self.manager = SubshellManager(bench.shell, caller, when_ended=self.ended.append)

    def isolated(self, **options: Any) -> AsyncInteractiveSubshell:
        self.manager.namespace = "isolated"
        return self.manager.create_subshell(**options)

    async def run(self, shell: AsyncInteractiveSubshell, code: str, job: Job[Any] | None = None) -> Content:
        """Run a cell in a subshell, as the kernel does; what was published before is forgotten."""
        self.bench.published.messages.clear()
        job = job or make_job()
        job["msg"]["header"]["subshell_id"] = shell.subshell_id  # pyright: ignore[reportGeneralTypeIssues]

        async def cell() -> Content:
            current_job.set(job)
            return await shell.execute_request(code)

        stdout, sys.stdout = sys.stdout, self.bench.output.stdout
        try:
            return await shell.caller.queue_call(cell, key="cells")
        finally:
            sys.stdout = stdout

    def values(self) -> list[str]:
        return [each["data"]["text/plain"] for each in self.bench.published.of("execute_result")]

    async def ended_all(self) -> None:
        """Wait until the thread of every subshell has ended."""
        for child in self.manager.caller.children:
            with anyio.fail_after(TIMEOUT):
                await child.stopped
            assert child.thread is not None
            child.thread.join(TIMEOUT)


@pytest.fixture
async def shells(bench: Bench) -> AsyncGenerator[Shells]:
    async with Caller("manual", name="Shell", protected=True) as caller:
        shells = Shells(bench, caller)
        yield shells
        shells.manager.stop_all_subshells(force=True)


async def test_counts_and_history_are_its_own(shells: Shells) -> None:
    """The numbers beside the cells of a notebook would jump when another notebook's subshell runs something."""
    first, second = shells.manager.create_subshell(), shells.manager.create_subshell()
    for count in (1, 2):
        reply = await shells.run(first, f"x = {count}\nx * 10")
        assert reply["execution_count"] == count
        (shown,) = shells.bench.published.of("execute_result")
        assert (shown["execution_count"], shown["data"]) == (count, {"text/plain": str(count * 10)})
        assert shells.bench.published.of("execute_input")[0]["execution_count"] == count
    assert (await shells.run(second, "'other'"))["execution_count"] == 1
    assert (await shells.bench.run("'main'"))["execution_count"] == 1
    assert first.history_manager.input_hist_raw == ["", "x = 1\nx * 10", "x = 2\nx * 10"]  # pyright: ignore
    assert first.history_manager.output_hist == {1: 10, 2: 20}  # pyright: ignore
    history = await first.history_request("tail", n=5)
    assert [entry[1:] for entry in history["history"]] == [(1, "x = 1\nx * 10"), (2, "x = 2\nx * 10")]
    assert [entry[1:] for entry in (await shells.bench.shell.history_request("tail", n=5))["history"]] == [
        (1, "'main'")
    ]


async def test_names_are_shared(shells: Shells) -> None:
    """A widget's callback in a subshell would not see the variables of the notebook."""
    await shells.bench.run("x = [1]\n'from main'")
    sub = shells.manager.create_subshell()
    assert sub.user_ns is shells.bench.shell.user_ns
    assert sub.user_global_ns is shells.bench.shell.user_global_ns
    assert (await shells.run(sub, "x.append(2)\ny = len(x)\n'from sub'"))["status"] == "ok"
    await shells.bench.run("y, _, Out, len(In)")
    assert shells.values() == ["(2, 'from main', {1: 'from main'}, 3)"]


async def test_isolated_names(shells: Shells) -> None:
    """What is tried out in an isolated subshell would overwrite the notebook's variables."""
    await shells.bench.run("x, y = 1, 2\n'from main'")
    sub = shells.isolated()
    assert sub.user_ns is not shells.bench.shell.user_ns
    assert sub.user_global_ns is shells.bench.shell.user_global_ns
    code = """
    x = 10
    def f(n):
        return n if n == 0 else x + y + f(n - 1)
    class C:
        z = [x + y for _ in range(2)]
    def g():
        global made
        made = True
    g()
    f(2), C.z, [x * y for _ in range(1)], made, len(In), _"""
    await shells.run(sub, code)
    assert shells.values() == ["(24, [12, 12], [20], True, 2, '')"]
    assert (await shells.run(sub, "Out[1][0] + _[0], undefined"))["ename"] == "NameError"
    assert (await shells.run(sub, "import anyio\nawait anyio.sleep(0)\n_[0] + Out[1][0]"))["status"] == "ok"
    assert shells.values() == ["48"]
    await shells.bench.run("x, _, 'f' in globals(), 'made' in globals(), Out")
    assert shells.values() == ["(1, 'from main', False, False, {1: 'from main'})"]
    assert "x" in sub.user_ns
    await shells.run(sub, "del x\nx")
    assert shells.values() == ["1"]
    await shells.run(sub, "%reset -f\n'f' in dir(), y, Out")
    assert shells.values() == ["(False, 2, {})"]
    assert "x" in shells.bench.shell.user_ns


async def test_isolated_names_are_completed(shells: Shells) -> None:
    sub = shells.isolated()
    await shells.run(sub, "alphabet_of_mine = {'key': 1}")
    await shells.bench.run("alphabet_of_all = 1")
    found = (await sub.do_complete_request("alphabet_"))["matches"]
    assert set(found) == {"alphabet_of_mine", "alphabet_of_all"}
    assert (await shells.bench.shell.do_complete_request("alphabet_"))["matches"] == ["alphabet_of_all"]
    assert (await sub.inspect_request("alphabet_of_mine", 3))["found"]
    assert not (await shells.bench.shell.inspect_request("alphabet_of_mine", 3))["found"]


async def test_get_ipython_is_the_shell_of_the_context(shells: Shells) -> None:
    """A library asks it for the history, the namespace or the next input of the cell that called it."""
    first, second = shells.manager.create_subshell(), shells.manager.create_subshell()
    await shells.run(first, "shell = get_ipython()")
    assert shells.bench.shell.user_ns["shell"] is first
    await shells.run(second, "import anyio\nawait anyio.sleep(0)\nshell = get_ipython()")
    assert shells.bench.shell.user_ns["shell"] is second
    await shells.bench.run("shell = get_ipython()")
    assert shells.bench.shell.user_ns["shell"] is shells.bench.shell
    token = chosen_subshell.set(first.subshell_id)
    assert shells.bench.shell.get_ipython() is first
    chosen_subshell.reset(token)
    reply = await shells.run(first, "get_ipython().set_next_input('next')")
    assert reply["payload"][0]["text"] == "next"


async def test_magics_know_their_shell(shells: Shells) -> None:
    """`%time`, `%who` and a user's own magics would work on the names and the history of another shell."""
    main, sub = shells.bench.shell, shells.isolated()
    await shells.run(sub, "mine = 3")
    await shells.run(sub, "%time mine + 1")
    assert shells.values() == ["4"]
    await shells.run(sub, "%%time\nother = mine\nother")
    assert shells.values() == ["3"]
    assert "other" not in main.user_ns
    await shells.run(sub, "%history")
    assert "mine = 3" in shells.bench.published.text()
    await shells.run(
        sub, "from IPython.core.magic import register_line_magic\n@register_line_magic\ndef hi(l): return l"
    )
    await shells.bench.run("%hi there")
    assert shells.values() == ["'there'"]
    await shells.run(sub, "%hi there\n")
    assert shells.values() == ["'there'"]
    assert (await shells.run(sub, "%nothing"))["ename"] == "UsageError"
    assert (await shells.run(sub, "!true"))["status"] == "ok"


def state() -> dict[str, Any]:
    return {
        "displayhook": sys.displayhook,
        "stdout": sys.stdout,
        "main": sys.modules["__main__"],
        "instance": InteractiveShell._instance,  # pyright: ignore[reportPrivateUsage]
        "builtins": dict(vars(builtins)),
        "environ": dict(os.environ),
        "path": list(sys.path),
    }


async def test_the_process_is_left_alone(shells: Shells) -> None:
    """The main shell would lose its displays, or its `exit`, when somebody makes or deletes a subshell."""
    before = state()
    sub = shells.isolated(protected=False)
    await shells.run(sub, "1")
    assert state() == before
    shells.manager.delete_subshell(sub.subshell_id)
    sub.close()
    await shells.ended_all()
    assert state() == before
    await shells.bench.run("2")
    assert shells.values() == ["2"]


async def test_protected(shells: Shells) -> None:
    """What a library keeps for itself would be gone when a frontend tidies up."""
    kept, other = shells.manager.create_subshell(), shells.manager.create_subshell(protected=False)
    assert (kept.protected, other.protected) == (True, False)
    kept.stop()
    shells.manager.stop_all_subshells()
    assert shells.manager.list_subshells() == [kept.subshell_id]
    with pytest.raises(ClientError, match=kept.subshell_id):
        shells.manager.delete_subshell(kept.subshell_id)
    assert not kept.stopped
    kept.stop(force=True)
    kept.stop(force=True)
    assert kept.stopped
    assert shells.manager.list_subshells() == []


@pytest.mark.parametrize("wrong", ["nope", "", 7, ["a"]])
async def test_unknown(shells: Shells, wrong: Any) -> None:
    for func in (shells.manager.get_shell, shells.manager.delete_subshell):
        with pytest.raises(ClientError) as caught:
            func(wrong)
        assert repr(wrong) in str(caught.value)
    assert shells.manager.get_shell(None) is shells.bench.shell


async def test_deleted_twice(shells: Shells) -> None:
    sub = shells.manager.create_subshell(protected=False)
    assert shells.manager.get_shell(sub.subshell_id) is sub
    shells.manager.delete_subshell(sub.subshell_id)
    with pytest.raises(ClientError, match=sub.subshell_id):
        shells.manager.delete_subshell(sub.subshell_id)
    assert shells.ended == [sub.subshell_id]


@pytest.mark.parametrize("used", [True, False])
async def test_it_ends_without_a_trace(shells: Shells, used: bool) -> None:
    """A kernel whose widgets come and go would grow until it is killed."""
    gone: list[weakref.ref[Any]] = []
    before = threading.active_count()
    for _ in range(5):
        sub = shells.manager.create_subshell(protected=False)
        if used:
            await shells.run(sub, "%subshell\n1")
            await sub.history_request("tail", n=1)
        gone += [weakref.ref(sub), weakref.ref(sub.caller)]
        sub.stop()
        del sub
    await shells.ended_all()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 10
    assert threading.active_count() <= before
    assert not shells.manager.caller.children


async def test_cells_end_when_it_is_stopped(shells: Shells) -> None:
    """A deleted subshell would compute on in the dark."""
    sub = shells.manager.create_subshell()
    begun = anyio.Event()
    token = Caller().call_soon  # of this thread
    sub.user_ns["begun"] = lambda: token(begun.set)
    sub.enter()
    pending = sub.caller.call_soon(shells.run, sub, "import anyio\nbegun()\nawait anyio.sleep(60)")
    with anyio.fail_after(TIMEOUT):
        await begun.wait()
        sub.stop(force=True)
        assert not sub.enter()
        assert shells.ended == []  # Not before what was let in has left.
        reply = await pending
    assert reply["ename"] == "KernelInterruptError"
    sub.leave()
    assert shells.ended == [sub.subshell_id]


async def test_subshell_magic(shells: Shells) -> None:
    """The user could not see which shells there are, nor where a cell runs."""
    sub = shells.manager.create_subshell(name="work")
    await shells.run(sub, "%subshell")
    lines = shells.bench.published.text().splitlines()
    assert [line.split()[0] for line in lines] == ["name", "main", "*"]
    assert lines[2].split()[1:3] == ["work", sub.subshell_id]
    assert lines[2].split()[-1] == "2"
    assert sub.caller.name in lines[2]
    await shells.bench.run("%subshell")
    assert "*  main" in shells.bench.published.text()
    assert (await shells.bench.run("%subshell work"))["ename"] == "UsageError"


async def test_a_cell_in_a_named_subshell(shells: Shells) -> None:
    """`%%subshell NAME` runs the cell elsewhere, shows its output here, and the loop of this shell goes on."""
    code = "%%subshell work\nimport threading, anyio\nprint('hello')\nawait anyio.sleep(0)\ngate.wait(20)\n"
    gate = shells.bench.shell.user_ns["gate"] = threading.Event()
    job = make_job()
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(len(ticks))
            if len(ticks) > 2:
                gate.set()
            await anyio.lowlevel.checkpoint()

    reply: Content = {}
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        reply = await shells.bench.run(code + "threading.current_thread().name", job=job)
        group.cancel_scope.cancel()
    assert reply["status"] == "ok"
    assert len(ticks) > 2
    (sub,) = shells.manager.running()
    assert (sub.name, sub.execution_count, sub.protected) == ("work", 2, False)
    assert shells.values() == [repr(sub.caller.name)]
    assert shells.bench.published.text(parent=job) == "hello\n"
    await shells.bench.run("%%subshell work\nget_ipython().name")
    assert shells.values() == ["'work'"]
    await shells.run(sub, "%%subshell work\nget_ipython().name")
    assert shells.values() == ["'work'"]
    assert len(shells.manager.list_subshells()) == 1


async def test_an_error_in_a_named_subshell(shells: Shells) -> None:
    """Run all would go on after a cell that failed elsewhere."""
    reply = await shells.bench.run("%%subshell work\n1/0")
    assert (reply["status"], reply["ename"]) == ("error", "ZeroDivisionError")
    (shown,) = shells.bench.published.of("error")
    assert shown["traceback"] == reply["traceback"] != []
    for wrong in ("%%subshell\n1", "%%subshell a b\n1"):
        assert (await shells.bench.run(wrong))["ename"] == "UsageError"
    assert len(shells.manager.list_subshells()) == 1


async def test_a_subclass_can_be_chosen(shells: Shells) -> None:
    class Loud(AsyncInteractiveSubshell):
        pass

    shells.manager.default_subshell_class = Loud
    assert type(shells.manager.create_subshell()) is Loud


async def test_events_and_transformations_are_shared(shells: Shells) -> None:
    """Plots appear after a cell because of an event; what an extension registers must work in every shell."""
    heard: list[Any] = []
    hook: Callable[[Any], None] = heard.append
    shells.bench.shell.events.register("post_run_cell", hook)
    sub = shells.manager.create_subshell()
    sub.input_transformers_post.append(lambda lines: [line.replace("$", "4") for line in lines])
    try:
        await shells.run(sub, "$ + 1")
        assert shells.values() == ["5"]
        await shells.bench.run("$ + 2")
        assert shells.values() == ["6"]
    finally:
        shells.bench.shell.events.unregister("post_run_cell", hook)
    assert len(heard) == 2


def test_a_cell_that_ends_while_its_subshell_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would be told that the deletion has failed."""

    class Stopped:
        ident = 1

        def call_direct(self, _func: Any) -> None:
            raise RuntimeError("it takes no calls any more")

    class Cell:
        thread = 1
        interrupt = None

    monkeypatch.setattr("async_kernel.shell.subshell.Caller.all_callers", lambda running_only: [Stopped()])
    cell: Any = Cell()
    AsyncInteractiveSubshell._interrupt(cell, cell)
