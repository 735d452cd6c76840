"""Whose output it is: what a cell has started prints, displays and fails in that cell, whatever runs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow

Messages = dict[str, list[dict[str, Any]]]

PREPARE = """
import asyncio, concurrent.futures, sys, _thread, threading, gc, time
import anyio, anyio.to_thread, comm
from async_kernel import Caller, Pending
from async_kernel.utils import get_kernel

on_trio = "trio" in str(get_kernel().anyio_backend)
gate, finished = Pending(), []

def work(name):
    gate.wait_sync(timeout=30)
    say(name)

async def async_work(name):
    await gate.wait(timeout=30, protect=True)
    say(name)

def say(name):
    print("by", name)
    display(f"display of {name}")
    comm.create_comm(target_name=f"comm of {name}")
    finished.append(name)

async def all_finished(count):
    while len(finished) < count:
        await anyio.sleep(0.01)
"""

PLAIN_THREADS = ("Thread", "Timer", "executor", "start_new_thread", "anyio.to_thread", "in_executor")
OTHERS = ("Caller.to_thread", "call_soon", "call_later", "call_direct", "background", "group")

START = """
threading.Thread(target=work, args=("Thread",)).start()
threading.Timer(0, work, ("Timer",)).start()
pool = concurrent.futures.ThreadPoolExecutor()
pool.submit(work, "executor")
_thread.start_new_thread(work, ("start_new_thread",))
Caller().to_thread(work, "Caller.to_thread")
Caller().call_soon(async_work, "call_soon")
Caller().call_later(0.001, async_work, "call_later")
Caller().call_direct(async_work, "call_direct")
if on_trio:
    import trio
    trio.lowlevel.spawn_system_task(async_work, "background")
    pool.submit(work, "in_executor")
else:
    running = asyncio.create_task(async_work("background"))
    asyncio.get_running_loop().run_in_executor(None, work, "in_executor")
"""

START_IN_TASK = """# task
async with anyio.create_task_group() as group:
    group.start_soon(async_work, "group")
    await anyio.to_thread.run_sync(work, "anyio.to_thread")
"""


@pytest.fixture(scope="module", params=["default", "trio"])
def profile(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def kernel(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--profile", profile)
    wait_for_file(path, process)
    running = RunningKernel(process, path)
    try:
        yield running
    finally:
        running.stop()


def collect(kernel: RunningKernel, until: Callable[[Messages], bool], messages: Messages | None = None) -> Messages:
    """All messages on iopub by the id of their parent, until there is what `until` asks for."""
    messages = {} if messages is None else messages
    deadline = time.monotonic() + TIMEOUT
    while not until(messages):
        message = kernel.client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
        messages.setdefault(message["parent_header"].get("msg_id", ""), []).append(message)
    return messages


def texts(messages: Messages, msg_id: str, name: str = "stdout") -> str:
    return text_of(messages.get(msg_id, []), name)


def is_idle(messages: Messages, msg_id: str) -> bool:
    return any(m["content"].get("execution_state") == "idle" for m in messages.get(msg_id, []))


def ok(kernel: RunningKernel, code: str) -> str:
    """Run code that must not fail; the id of its request."""
    msg_id = kernel.client.execute(code)
    content = kernel.reply(msg_id)["content"]
    assert content["status"] == "ok", content
    return msg_id


def said(messages: Messages, msg_id: str, name: str) -> bool:
    """Whether the text, the display and the comm of a producer are in the cell."""
    of_cell = messages.get(msg_id, [])
    displays = [m["content"]["data"]["text/plain"] for m in of_cell if m["msg_type"] == "display_data"]
    comms = [m["content"]["target_name"] for m in of_cell if m["msg_type"] == "comm_open"]
    return (
        f"by {name}\n" in texts(messages, msg_id)
        and repr(f"display of {name}") in displays
        and f"comm of {name}" in comms
    )


@pytest.mark.parametrize("policy", ["creator", "latest", "log"])
def test_output_of_what_a_cell_started(policy: str, profile: str, start_kernel: Callable[..., RunningKernel]) -> None:
    """Otherwise what runs in the background writes into whatever cell the user is looking at."""
    kernel = start_kernel("--profile", profile, "--thread-output", policy)
    ok(kernel, PREPARE)
    first = ok(kernel, START)
    second = kernel.client.execute(START_IN_TASK)
    messages = collect(kernel, lambda m: any(each["msg_type"] == "execute_input" for each in m.get(second, [])))
    total = len(PLAIN_THREADS) + len(OTHERS)
    last = kernel.client.execute(f"gate.set_result(None)\nawait all_finished({total})\nprint('last')")
    replies = [kernel.client.get_shell_msg(timeout=TIMEOUT) for _ in range(2)]
    assert {m["parent_header"]["msg_id"]: m["content"]["status"] for m in replies} == {second: "ok", last: "ok"}
    cells = {name: second if name in ("group", "anyio.to_thread") else first for name in (*PLAIN_THREADS, *OTHERS)}
    if policy != "creator":
        cells |= dict.fromkeys(PLAIN_THREADS, last if policy == "latest" else "")
    published = {name: cell for name, cell in cells.items() if cell}

    def complete(messages: Messages) -> bool:
        return is_idle(messages, last) and all(said(messages, cell, name) for name, cell in published.items())

    collect(kernel, complete, messages)
    every = "".join(texts(messages, msg_id) for msg_id in messages)
    assert sorted(every.split("\n")[:-1]) == sorted([*(f"by {name}" for name in published), "last"])
    if policy == "log":
        kernel.client.stop_channels()
        kernel.process.terminate()
        _, stderr = kernel.process.communicate(timeout=TIMEOUT)
        for name in PLAIN_THREADS:
            assert f"by {name}\n" in stderr
            assert f"{f'display of {name}'!r}\n" in stderr


FAIL = """
class Broken(Exception): pass
def fail(name):
    gate.wait_sync(timeout=30)
    finished.append(name)
    raise Broken(name)
async def async_fail(name):
    await gate.wait(timeout=30, protect=True)
    finished.append(name)
    raise Broken(name)

gate, finished = Pending(), []
threads = [threading.Thread(target=fail, args=("Thread",)), threading.Timer(0, fail, ("Timer",))]
for each in threads: each.start()
_thread.start_new_thread(fail, ("start_new_thread",))
held = [Caller().call_soon(async_fail, "call_soon"), Caller().to_thread(fail, "Caller.to_thread")]
Caller().call_later(0, async_fail, "call_later")
Caller().call_direct(async_fail, "call_direct")
if on_trio:
    import trio
    trio.lowlevel.spawn_system_task(async_fail, "background")
else:
    held.append(asyncio.create_task(async_fail("background")))
"""
FAILING = (
    "Thread", "Timer", "start_new_thread", "call_soon", "Caller.to_thread", "call_later", "call_direct", "background",
)  # fmt: skip


def test_failure_is_shown_in_its_cell_once(kernel: RunningKernel) -> None:
    """A background task that dies unseen is the bug that users search longest."""
    ok(kernel, PREPARE)
    first = ok(kernel, FAIL)
    ok(kernel, f"gate.set_result(None)\nawait all_finished({len(FAILING)})\nfor each in threads: each.join()")
    messages = collect(kernel, lambda m: all(f"Broken: {name}\n" in texts(m, first, "stderr") for name in FAILING))
    last = ok(kernel, "held = each = None; _ = gc.collect(); print('collected')")
    collect(kernel, lambda m: is_idle(m, last), messages)
    shown = "".join(texts(messages, msg_id, "stderr") for msg_id in messages)
    assert {name: shown.count(f"Broken: {name}\n") for name in FAILING} == dict.fromkeys(FAILING, 1)
    assert "in async_fail" in shown, "the traceback does not lead to the user's code"
    assert "async_kernel/" not in shown
    assert "threading.py" not in shown
    assert not [m for m in messages[first] if m["msg_type"] == "error"]


def test_failure_that_somebody_handles_is_not_shown(kernel: RunningKernel) -> None:
    """What the user has caught is no failure."""
    ok(kernel, PREPARE)
    code = """
    async def fail(): raise ZeroDivisionError
    calls = [Caller().call_soon(fail), Caller().to_thread(fail)]
    if not on_trio:
        calls.append(asyncio.create_task(fail()))
    await anyio.sleep(0.05)
    for each in calls:
        try: await each
        except ZeroDivisionError: print("caught")
    del each, calls
    _ = gc.collect()
    """
    reply, published = kernel.run(code)
    assert reply["content"]["status"] == "ok"
    assert text_of(published) == "caught\n" * (text_of(published).count("\n"))
    assert text_of(published).count("caught") >= 2
    assert text_of(published, "stderr") == ""


def test_task_that_failed_while_its_cell_ran_is_shown_before_the_reply(kernel: RunningKernel) -> None:
    ok(kernel, PREPARE)
    reply, published = kernel.run("p = Caller().call_soon(lambda: 1/0)\nawait anyio.sleep(0.05)")
    assert reply["content"]["status"] == "ok"
    assert text_of(published, "stderr").count("ZeroDivisionError: division by zero\n") == 1


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_exit_in_a_background_task_does_not_end_the_kernel(kernel: RunningKernel, error: str) -> None:
    """asyncio and trio leave their loops at these: the user would lose every variable."""
    ok(kernel, PREPARE)
    code = f"""
    async def leave(): raise {error}
    if on_trio:
        import trio
        trio.lowlevel.spawn_system_task(leave)
    else:
        left = asyncio.create_task(leave())
    await anyio.sleep(0.01)
    """
    first = ok(kernel, code)
    messages = collect(kernel, lambda m: error.partition("(")[0] in texts(m, first, "stderr"))
    last = ok(kernel, "print('alive')")
    collect(kernel, lambda m: is_idle(m, last), messages)
    assert texts(messages, last) == "alive\n"


def test_thread_that_prints_while_another_cell_runs(kernel: RunningKernel) -> None:
    """Four threads, 5,000 lines each: no line torn, lost, or in another cell."""
    ok(kernel, PREPARE)
    code = """
    def lines(name):
        for i in range(5000):
            print(name, i)
    threads = [threading.Thread(target=lines, args=(f"t{n}",)) for n in range(4)]
    for each in threads: each.start()
    """
    first = ok(kernel, code)
    second = ok(kernel, "for i in range(5000): print('cell', i)\nfor each in threads: each.join()")
    messages = collect(kernel, lambda m: is_idle(m, second) and texts(m, first).count("\n") == 20_000)
    assert texts(messages, second) == "".join(f"cell {i}\n" for i in range(5000))
    lines = texts(messages, first).splitlines()
    for n in range(4):
        assert [line for line in lines if line.startswith(f"t{n} ")] == [f"t{n} {i}" for i in range(5000)]


def test_output_to(kernel: RunningKernel) -> None:
    """A library that reports from where no cell is known can say whose its output is."""
    ok(kernel, PREPARE)
    first = ok(kernel, "from async_kernel.utils import get_job\nkernel = get_kernel(); message = kernel.get_parent()")
    code = """
    with kernel.output_to(message):
        print("to the first")
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
    with kernel.output_to(get_job()):
        print("to this one")
    with kernel.output_to(None):
        print("to nobody")
        display("to nobody")
    thread.join()
    print("here")
    """
    second = ok(kernel, code)
    messages = collect(kernel, lambda m: is_idle(m, second) and texts(m, first).count("\n") == 2)
    assert texts(messages, first) == "to the first\nfrom a thread\n"
    assert texts(messages, second) == "to this one\nhere\n"
    assert not [m for m in messages[second] if m["msg_type"] == "display_data"]
    wrong = kernel.client.execute("with kernel.output_to(3): pass")
    assert kernel.reply(wrong)["content"]["evalue"] == "output_to: expected a message, a job or None, got 3"


def test_finalizer_logger_and_forked_child(kernel: RunningKernel) -> None:
    """Each of these has made kernels deadlock, or print nowhere."""
    ok(kernel, PREPARE)
    code = """
    import logging, multiprocessing
    class Loud:
        def __del__(self): print("finalized")
    loud = Loud()
    del loud
    logger = logging.getLogger("of a cell")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler())
    logger.warning("first")
    child = multiprocessing.get_context("fork").Process(target=print, args=("of the child",))
    child.start()
    child.join()
    child.exitcode
    """
    reply, published = kernel.run(code)
    assert reply["content"]["status"] == "ok"
    assert sorted(text_of(published).splitlines()) == ["finalized", "of the child"]
    assert text_of(published, "stderr") == "first\n"
    assert [m["content"]["data"]["text/plain"] for m in published if m["msg_type"] == "execute_result"] == ["0"]
    # The handler writes to the cell that logs, not to the one that it was made in.
    _, published = kernel.run("logger.warning('second')")
    assert text_of(published, "stderr") == "second\n"


def test_output_at_exit_reaches_the_terminal(profile: str, start_kernel: Callable[..., RunningKernel]) -> None:
    kernel = start_kernel("--profile", profile)
    ok(kernel, "import atexit; _ = atexit.register(print, 'at exit')")
    kernel.client.stop_channels()
    kernel.process.terminate()
    stdout, _ = kernel.process.communicate(timeout=TIMEOUT)
    assert stdout == "at exit\n"


def test_context_variables_from_cell_to_cell(kernel: RunningKernel) -> None:
    """Set before or after an await, they are there in the next cell; cells beside the queue get copies."""
    code = """
    from contextvars import ContextVar
    import anyio
    before, after = ContextVar("before", default=0), ContextVar("after", default=0)
    _ = before.set(1)
    await anyio.sleep(0.01)
    _ = after.set(2)
    """
    ok(kernel, code)
    show = "print(before.get(), after.get())"
    for header in ("", "# task\n", "# thread\n", ""):
        _, published = kernel.run(f"{header}{show}\nif {header!r}: _ = before.set(77)")
        assert text_of(published) == "1 2\n"


@pytest.mark.parametrize("mode", ["queue", "task", "thread"])
def test_timing_in_the_reply(kernel: RunningKernel, profile: str, mode: str) -> None:
    """Frontends show how long a cell took from this, whenever they look."""
    reply, _ = kernel.run(f"# {mode}\nimport time; time.sleep(0.01)")
    metadata = reply["metadata"]
    timing = metadata["async_kernel"]
    assert timing.pop("thread")
    assert list(map(str, (timing["queued"], metadata["started"], timing["finished"]))) == sorted(
        map(str, (timing.pop("queued"), metadata["started"], timing.pop("finished")))
    )
    assert timing == {"run_mode": mode, "backend": "trio" if profile == "trio" else "asyncio", "subshell": None}


def test_reset_cancels_what_the_cells_left_pending(kernel: RunningKernel) -> None:
    ok(kernel, PREPARE)
    code = """
    import builtins
    builtins.left = [Caller().call_later(1000, print), Caller().call_soon(anyio.sleep, 1000), Pending()]
    """
    ok(kernel, code)
    ok(kernel, "%reset -f")
    code = """
    import builtins, anyio
    with anyio.fail_after(10):
        for each in builtins.left: await each.wait(result=False)
    """
    reply, _ = kernel.run(code, user_expressions={"all": "[each.cancelled() for each in builtins.left]"})
    assert reply["content"]["status"] == "ok"
    assert reply["content"]["user_expressions"]["all"]["data"]["text/plain"] == "[True, True, True]"


def test_callers_magic(kernel: RunningKernel, profile: str) -> None:
    _, published = kernel.run("%callers")
    head, *rows = [line.split() for line in text_of(published).splitlines()]
    assert head == ["name", "thread", "backend", "state", "pending"]
    by_name = {row[0]: row for row in rows}
    assert by_name["Shell"][1:4] == ["MainThread", "trio" if profile == "trio" else "asyncio", "running"]
    assert {"Shell", "Control"} <= by_name.keys()
