"""Running cells."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import anyio
import pytest
from IPython.core.error import StdinNotImplementedError

from async_kernel.errors import KernelInterruptError
from async_kernel.protocol.cell_policy import CellPolicy
from async_kernel.scheduling.context import current_job
from async_kernel.shell.execution import Running
from async_kernel.shell.user_code import USER_CODE
from tests.shell.bench import Bench, make_job

pytestmark = pytest.mark.anyio


async def test_a_cell(bench: Bench) -> None:
    """The first cell of every notebook."""
    reply = await bench.run("print('hi')\n1 + 1")
    assert reply == {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}
    assert bench.published.types == ["execute_input", "stream", "execute_result"]
    assert bench.published.of("execute_input") == [{"code": "print('hi')\n1 + 1", "execution_count": 1}]
    assert bench.published.of("execute_result") == [{"execution_count": 1, "data": {"text/plain": "2"}, "metadata": {}}]
    assert (await bench.run("_ + Out[1]"))["execution_count"] == 2
    assert bench.published.of("execute_result")[0]["data"] == {"text/plain": "4"}


async def test_top_level_await(bench: Bench) -> None:
    """Cells could not await in the loop that runs them."""
    reply = await bench.run("import anyio\nfor _ in range(3):\n    await anyio.sleep(0)\nx = 5\nx")
    assert reply["status"] == "ok"
    assert bench.published.of("execute_result")[0]["data"] == {"text/plain": "5"}
    assert bench.shell.user_ns["x"] == 5
    assert bench.shell.user_ns is bench.shell.user_global_ns


async def test_an_error(bench: Bench) -> None:
    """The user would not see what went wrong, or see the kernel's own frames instead."""
    reply = await bench.run("def f():\n    return 1/0\nf()")
    shown = "\n".join(reply["traceback"])
    assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "ZeroDivisionError", "division by zero")
    assert reply["execution_count"] == 1
    assert "In[1]" in shown
    assert "hidden" not in shown
    assert "async_kernel/shell" not in shown
    assert bench.published.of("error") == [{name: reply[name] for name in ("ename", "evalue", "traceback")}]
    await bench.run("%xmode Plain")
    plain = await bench.run("import anyio\nawait anyio.sleep(0)\nf()")
    assert "async_kernel/shell" not in "\n".join(plain["traceback"])
    assert "f()" in "\n".join(plain["traceback"])
    again = await bench.run("%tb")
    assert again["status"] == "ok"
    assert bench.published.of("error")[0]["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize("code", ["def f(:", "return 3", "  x = 1\n y = 2", "x = \x00"])
async def test_code_that_does_not_compile(bench: Bench, code: str) -> None:
    """A typing error would not be shown where it is."""
    reply = await bench.run(code)
    assert reply["status"] == "error"
    assert reply["ename"] in {"SyntaxError", "IndentationError", "ValueError"}
    assert bench.published.of("error")[0]["ename"] == reply["ename"]
    assert (await bench.run("1"))["status"] == "ok"


async def test_a_group_of_errors(bench: Bench) -> None:
    """What failed in a task group would not be shown as an error."""
    reply = await bench.run(
        "import anyio\nasync with anyio.create_task_group() as tg:\n    tg.start_soon(anyio.sleep, 'x')\n"
    )
    assert reply["ename"] == "ExceptionGroup"
    assert "TypeError" in "\n".join(reply["traceback"])
    assert "async_kernel/shell" not in "\n".join(reply["traceback"])
    assert bench.published.types == ["execute_input", "error"]


async def test_an_error_that_has_no_text(bench: Bench) -> None:
    """An exception whose `__str__` fails would break the kernel."""
    reply = await bench.run("class E(Exception):\n    def __str__(self): return 1/0\nraise E")
    assert (reply["status"], reply["ename"]) == ("error", "E")
    assert "ZeroDivisionError" in reply["evalue"]


async def test_sys_exit_is_an_error(bench: Bench) -> None:
    """`sys.exit()` in a script that was pasted would kill the kernel."""
    reply = await bench.run("import sys\nsys.exit(3)")
    assert (reply["status"], reply["ename"], reply["evalue"]) == ("error", "SystemExit", "3")
    assert "To exit" in bench.published.text("stderr")


async def test_a_value_that_can_not_be_shown(bench: Bench) -> None:
    """A `__repr__` that fails would look like success."""
    reply = await bench.run("class A:\n    def __repr__(self): return 1/0\nA()")
    assert (reply["status"], reply["ename"]) == ("error", "ZeroDivisionError")


async def test_the_first_await_while_another_thread_parses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to Python 3.12 anyio, which parses itself when it is first used, fails then with a SystemError."""
    failures, scope = [SystemError("AST constructor recursion depth mismatch")], anyio.CancelScope

    def disturbed(**options: Any) -> Any:
        if failures:
            raise failures.pop()
        return scope(**options)

    monkeypatch.setattr(anyio, "CancelScope", disturbed)
    assert (await bench.run("import anyio; await anyio.lowlevel.checkpoint()"))["status"] == "ok"
    assert not failures


async def test_silent_and_store_history(bench: Bench) -> None:
    """What frontends run behind the scenes would be seen, and counted."""
    reply = await bench.run("x = 1\nx", silent=True)
    assert (reply["execution_count"], bench.published.messages) == (0, [])
    reply = await bench.run("x", store_history=False)
    assert reply["execution_count"] == 0
    assert bench.published.types == ["execute_input", "execute_result"]
    assert (await bench.run("x"))["execution_count"] == 1
    assert list(bench.shell.user_ns["In"]) == ["", "x"]
    assert (await bench.run("  \n"))["execution_count"] == 1
    assert (await bench.run("x"))["execution_count"] == 2


async def test_a_semicolon_hides_the_value(bench: Bench) -> None:
    """`plt.plot(x);` would show what it returns."""
    for code in ("1;", "1; # one", "x = ';'\n1 ;\n\n# end", "(1);", "'é;' ;"):
        await bench.run(code)
        assert "execute_result" not in bench.published.types, code
    for code in ("1", "';'", "1 # ;", "x = 1;\n2"):
        await bench.run(code)
        assert "execute_result" in bench.published.types, code


@pytest.mark.parametrize(
    ("interactivity", "shown"),
    [("all", ["1", "2"]), ("last", ["2"]), ("last_expr", ["2"]), ("none", []), ("last_expr_or_assign", ["2"])],
)
async def test_which_values_are_shown(bench: Bench, interactivity: str, shown: list[str]) -> None:
    """The user's setting of `ast_node_interactivity` would not hold."""
    bench.shell.ast_node_interactivity = interactivity
    await bench.run("1\n2")
    assert [each["data"]["text/plain"] for each in bench.published.of("execute_result")] == shown
    await bench.run("x = 3\n")
    assert bool(bench.published.of("execute_result")) == (interactivity == "last_expr_or_assign")
    await bench.run("")


async def test_future_imports(bench: Bench) -> None:
    """`from __future__` after a magic would be an error, or be forgotten in the next cell."""
    reply = await bench.run("x = 1\nfrom __future__ import annotations\ndef f(a: nowhere): ...\nf.__annotations__")
    assert reply["status"] == "ok"
    assert bench.published.of("execute_result")[0]["data"] == {"text/plain": "{'a': 'nowhere'}"}
    await bench.run("def f(a: nowhere): ...\nf.__annotations__['a']")
    assert bench.published.of("execute_result")[0]["data"] == {"text/plain": "'nowhere'"}


async def test_user_expressions(bench: Bench) -> None:
    """Programs that drive a kernel read values this way."""
    reply = await bench.run("x = 2", user_expressions={"good": "x + 1", "bad": "1/0"})
    assert reply["user_expressions"]["good"] == {"status": "ok", "data": {"text/plain": "3"}, "metadata": {}}
    assert reply["user_expressions"]["bad"]["ename"] == "ZeroDivisionError"
    assert (await bench.run("1/0", user_expressions={"x": "x"}))["user_expressions"] == {}


async def test_payloads(bench: Bench, tmp_path: Any) -> None:
    """`?` and `%load` would do nothing, or do it again in the next cell."""
    (page,) = (await bench.run("print?"))["payload"]
    assert (page["source"], page["start"]) == ("page", 0)
    assert "Docstring" in page["data"]["text/plain"]
    (tmp_path / "code.py").write_text("y = 1\n")
    (load,) = (await bench.run(f"%load {tmp_path / 'code.py'}"))["payload"]
    assert (load["source"], load["replace"]) == ("set_next_input", True)
    assert "y = 1" in load["text"]
    assert (await bench.run("1"))["payload"] == []


async def test_payloads_of_cells_that_run_side_by_side(bench: Bench) -> None:
    """The pager would open in the wrong cell."""
    replies: dict[str, Any] = {}
    bench.shell.user_ns["event"] = event = anyio.Event()

    async def run(name: str, code: str) -> None:
        current_job.set(make_job(name))
        replies[name] = await bench.shell.execute_request(code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "slow", "get_ipython().set_next_input('a')\nawait event.wait()\n'slow'")
        await anyio.wait_all_tasks_blocked()
        await run("quick", "'quick'")
        event.set()
    assert [each["text"] for each in replies["slow"]["payload"]] == ["a"]
    assert replies["quick"]["payload"] == []
    assert (replies["slow"]["execution_count"], replies["quick"]["execution_count"]) == (1, 2)
    results = {each["execution_count"]: each["data"]["text/plain"] for each in bench.published.of("execute_result")}
    assert results == {1: "'slow'", 2: "'quick'"}


@pytest.mark.parametrize(("answer", "stops"), [("y", True), ("no", False), (None, True)])
@pytest.mark.parametrize("code", ["exit", "quit()"])
async def test_exit(bench: Bench, monkeypatch: pytest.MonkeyPatch, code: str, answer: str | None, stops: bool) -> None:
    """`quit()` would stop the kernel without asking, or not at all."""

    def ask(_prompt: str) -> str:
        if answer is None:
            raise StdinNotImplementedError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    reply = await bench.run(code)
    assert reply["status"] == "ok"
    assert reply["payload"] == ([{"source": "ask_exit", "keepkernel": False}] if stops else [])
    assert bench.exits == ([True] if stops else [])


async def test_exit_that_keeps_the_kernel(bench: Bench) -> None:
    """A console could not be left without stopping the kernel."""
    reply = await bench.run("exit(keep_kernel=True)")
    assert reply["payload"] == [{"source": "ask_exit", "keepkernel": True}]
    assert bench.exits == []


async def test_interrupting_a_cell_that_awaits(bench: Bench) -> None:
    """A cell that waits for ever could not be stopped, or take the kernel with it."""
    replies: list[Any] = []

    async def run() -> None:
        replies.append(await bench.run("import anyio\nx = 1\nawait anyio.sleep_forever()\nx = 2"))

    cells: list[Running] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        cells.extend(bench.shell.cells.values())
        assert [each.done for each in cells] == [False]
        cells[0].interrupt()
    assert cells[0].done
    (reply,) = replies
    assert (reply["status"], reply["ename"]) == ("error", "KernelInterruptError")
    assert "sleep_forever" in "\n".join(reply["traceback"])
    assert bench.published.of("error")[0]["ename"] == "KernelInterruptError"
    assert bench.shell.user_ns["x"] == 1
    assert bench.shell.cells == {}
    assert (await bench.run("x"))["status"] == "ok"


async def test_an_interrupt_before_the_cell_awaits(bench: Bench) -> None:
    """An interrupt that comes early would be lost."""
    bench.shell.user_ns["interrupt"] = lambda: next(iter(bench.shell.cells.values())).interrupt()
    reply = await bench.run("interrupt()\nimport anyio\nawait anyio.sleep_forever()")
    assert reply["ename"] == "KernelInterruptError"


async def test_an_interrupt_that_is_raised_in_the_code(bench: Bench) -> None:
    """A blocking cell could catch the interrupt only by accident."""
    bench.shell.user_ns["KernelInterruptError"] = KernelInterruptError
    reply = await bench.run("try:\n    raise KernelInterruptError\nexcept Exception:\n    pass")
    assert (reply["status"], reply["ename"]) == ("error", "KernelInterruptError")
    assert (await bench.run("try:\n    raise KernelInterruptError\nexcept KeyboardInterrupt:\n    3"))["status"] == "ok"


async def test_cancelling_the_request_is_not_an_error_of_the_cell(bench: Bench) -> None:
    """A kernel that stops would wait for its cells for ever."""
    with anyio.CancelScope() as scope:
        bench.shell.user_ns["scope"] = scope
        await bench.run("import anyio\nscope.cancel()\nawait anyio.sleep_forever()")
        pytest.fail("the cancellation did not get through")
    assert scope.cancelled_caught
    assert "error" not in bench.published.types
    assert bench.shell.cells == {}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_awaited_task_that_was_cancelled_is_an_error(bench: Bench) -> None:
    """`CancelledError` of something the cell waited for would cancel the kernel."""
    reply = await bench.run(
        "import asyncio\nt = asyncio.create_task(asyncio.sleep(9))\nt.get_loop().call_soon(t.cancel)\nawait t"
    )
    assert (reply["status"], reply["ename"]) == ("error", "CancelledError")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_timeout(bench: Bench) -> None:
    """`timeout=...` would not stop a cell, or abort the cells after it."""
    reply = await bench.run("import anyio\nawait anyio.sleep_forever()", policy=CellPolicy(timeout=0.01))
    assert reply["status"] == "ok"
    assert bench.published.of("error")[0]["ename"] == "TimeoutError"
    assert "0.01 seconds" in bench.published.of("error")[0]["evalue"]
    bench.shell.timeout = 0.01
    await bench.run("await anyio.sleep_forever()")
    assert bench.published.types == ["execute_input", "error"]
    reply = await bench.run("await anyio.sleep(0.05)", policy=CellPolicy(timeout=0))
    assert bench.published.types == ["execute_input"]


@pytest.mark.parametrize("text", ["", "⚠"])
async def test_suppress_error(bench: Bench, text: str) -> None:
    """The tag would not keep an error out of the notebook."""
    reply = await bench.run("1/0", policy=CellPolicy(suppress_error=text))
    assert reply["status"] == "ok"
    assert bench.published.of("error") == []
    assert bench.published.text() == (f"{text}\n" if text else "")


async def test_user_code_is_on_the_stack_while_a_cell_runs(bench: Bench) -> None:
    """An interrupt would hit the kernel's own machinery."""

    def marked() -> bool:
        frame = sys._getframe()
        while frame is not None and frame.f_code not in USER_CODE:
            frame = frame.f_back
        return frame is not None

    seen: list[bool] = []
    bench.shell.user_ns["look"] = lambda: seen.append(marked())
    bench.shell.events.register("post_execute", bench.shell.user_ns["look"])
    code = (
        "import anyio\nlook()\nawait anyio.sleep(0)\nlook()\nclass A:\n    def __repr__(self): look(); return 'A'\nA()"
    )
    await bench.run(code, user_expressions={"x": "look()"})
    assert seen == [True] * 5
    assert not marked()


async def test_events(bench: Bench) -> None:
    """Extensions that time cells or reload modules would not be told."""
    seen: list[str] = []
    infos: list[Any] = []
    for name in ("pre_execute", "pre_run_cell", "post_execute", "post_run_cell"):

        def note(*args: Any, name: str = name) -> None:
            seen.append(name)
            infos.extend(args)

        bench.shell.events.register(name, note)
    await bench.run("1 + 1", cell_id="abc")
    assert seen == ["pre_execute", "pre_run_cell", "post_execute", "post_run_cell"]
    assert (infos[0].cell_id, infos[0].raw_cell, infos[1].result, infos[1].success) == ("abc", "1 + 1", 2, True)
    seen.clear()
    await bench.run("1", silent=True)
    assert seen == ["pre_execute", "post_execute"]
    assert bench.shell.last_execution_result is not None


async def test_an_event_handler_that_fails(bench: Bench) -> None:
    """One broken extension would break every cell."""

    def fail() -> None:
        raise KeyboardInterrupt

    bench.shell.events.register("pre_execute", fail)
    reply = await bench.run("3")
    assert reply["status"] == "ok"
    assert bench.published.of("execute_result")


async def test_an_event_handler_that_is_interrupted(bench: Bench) -> None:
    """The interrupt would end a figure that is drawn, say, and the cell would go on as if nobody had asked."""
    called: list[str] = []

    def interrupted() -> None:
        raise KernelInterruptError("interrupted")

    bench.shell.events.register("pre_execute", interrupted)
    bench.shell.events.register("pre_execute", lambda: called.append("the next"))
    reply = await bench.run("3")
    assert (reply["status"], reply["ename"]) == ("error", "KernelInterruptError")
    assert called == ["the next"]
    assert not bench.published.of("execute_result")
    assert "Error in callback" not in bench.published.text()


async def test_transformers_that_refuse(bench: Bench) -> None:
    """A user's own syntax could not report an error."""

    def refuse(lines: list[str]) -> list[str]:
        raise SyntaxError("not like that")

    bench.shell.input_transformers_post.append(refuse)
    reply = await bench.run("1")
    assert (reply["status"], reply["ename"]) == ("error", "SyntaxError")
    bench.shell.input_transformers_post.remove(refuse)
    assert (await bench.run("1"))["status"] == "ok"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%%time\n3", "Wall time"),
        ("%timeit -n1 -r1 pass", "per loop"),
        ("%%capture out\nprint('caught')", ""),
        ("!echo shell", "shell"),
        ("%lsmagic", ""),
        ("%who", "Interactive namespace is empty."),
        ("get_ipython().run_cell('print(5)')", "5"),
        ("get_ipython().run_line_magic('pwd', '')", ""),
        ("%connect_info", "--existing /run/kernel-1.json"),
    ],
)
async def test_magics(bench: Bench, code: str, expected: str) -> None:
    """The magics that everybody uses."""
    assert (await bench.run(code))["status"] == "ok"
    assert expected in bench.published.text()


async def test_capture_and_run(bench: Bench, tmp_path: Any) -> None:
    """`%%capture` would capture nothing, `%run` find no names."""
    await bench.run("%%capture out\nprint('caught')\ndisplay(1)\n2")
    assert bench.published.types == ["execute_input"]
    await bench.run("out.stdout, len(out.outputs)")
    assert bench.published.of("execute_result")[0]["data"]["text/plain"] == "('caught\\n', 2)"
    script = tmp_path / "script.py"
    script.write_text("value = 7\nprint(__name__)\n")
    await bench.run(f"%run {script}")
    assert bench.published.text() == "__main__\n"
    assert bench.shell.user_ns["value"] == 7


async def test_an_inner_cell_has_its_own_result(bench: Bench) -> None:
    """`run_cell` in a cell would take the value of the cell around it."""
    await bench.run("inner = get_ipython().run_cell('6*7')\ninner.result, inner.success")
    assert [each["data"]["text/plain"] for each in bench.published.of("execute_result")] == ["42", "(42, True)"]
    await bench.run("inner = await get_ipython().run_cell_async('8', transformed_cell='8\\n')\ninner.result")
    assert bench.published.of("execute_result")[-1]["data"]["text/plain"] == "8"


async def test_reset(bench: Bench) -> None:
    """`%reset` would leave tasks of the old cells behind, or lose the shell's own names."""
    await bench.run("x = 1")
    reply = await bench.run("%reset -f")
    assert reply["status"] == "ok"
    assert bench.resets == [True]
    assert "x" not in bench.shell.user_ns
    assert (await bench.run("get_ipython(); Out"))["status"] == "ok"


async def test_output_of_a_thread_of_a_cell(bench: Bench) -> None:
    """What a worker with the cell's context prints would be lost."""
    job = make_job()
    code = (
        "import contextvars, threading\n"
        "t = threading.Thread(target=contextvars.copy_context().run, args=(print, 'from a thread'))\n"
        "t.start(); t.join()"
    )
    await bench.run(code, job=job)
    assert bench.published.text(parent=job) == "from a thread\n"


async def test_cells_in_threads(bench: Bench) -> None:
    """Cells in `thread` mode would mix up their numbers and values."""
    replies: dict[int, Any] = {}
    start = threading.Barrier(8)

    def work(number: int) -> None:
        async def run() -> None:
            current_job.set(make_job(str(number)))
            start.wait(5)
            replies[number] = await bench.shell.execute_request(f"y{number} = {number}\ny{number}")

        anyio.run(run)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply["execution_count"] for reply in replies.values()) == list(range(1, 9))
    results = {each["execution_count"]: each["data"]["text/plain"] for each in bench.published.of("execute_result")}
    assert results == {reply["execution_count"]: str(number) for number, reply in replies.items()}
