"""The stop button: it ends what runs, the reply is an error, and the next cell works."""

from __future__ import annotations

import random
import re
import time

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of

MACHINERY = re.compile(r"async_kernel/runtime/")
"Files that a user's traceback has no frame of."

pytestmark = pytest.mark.slow


def begun(kernel: RunningKernel, code: str) -> str:
    """Execute code that prints when it is about to block; return the request's id once it has."""
    return kernel.begun(kernel.client.execute(code, allow_stdin=True))


PREPARE = """
import anyio, asyncio, threading, time
from async_kernel import Caller
async def forever():
    while True:
        await anyio.sleep(0)
def loop():
    while True:
        pass
async def async_loop():
    await anyio.sleep(0)
    loop()
class Loops:
    def __repr__(self):
        loop()
"""
BLOCKS = {
    "python": "while True: pass",
    "python after await": "await async_loop()",
    "await": "await anyio.sleep(60)",
    "await often": "await forever()",
    "repr": "Loops()",
    "to_thread": "await Caller().to_thread(loop)",
    "to_thread of a coroutine": "await Caller().to_thread(async_loop)",
    "call_soon": "await Caller().call_soon(loop)",
    "call_soon of a coroutine": "await Caller().call_soon(async_loop)",
    "task group": "async with anyio.create_task_group() as group: group.start_soon(async_loop)",
}
ONLY_MAIN = {
    "time.sleep": "time.sleep(60)",
    "wait_sync": "Caller().to_thread(threading.Event().wait, 1).wait_sync()",
}
ONLY_THREAD = {
    "time.sleep that returns": "while True: time.sleep(0.05)",
    "asyncio.run": "asyncio.run(asyncio.sleep(60))",
    "trio.run": "import trio; trio.run(trio.sleep, 60)",
}
CASES = [
    *((mode, name) for mode in ("queue", "task", "thread") for name in BLOCKS),
    *((mode, name) for mode in ("queue", "task") for name in ONLY_MAIN),
    *(("thread", name) for name in ONLY_THREAD),
]


@pytest.mark.parametrize(("mode", "name"), CASES)
def test_what_runs_is_interrupted(kernel: RunningKernel, mode: str, name: str) -> None:
    kernel.run(PREPARE)
    msg_id = begun(kernel, f"# {mode}\nprint('begun', flush=True)\n{(BLOCKS | ONLY_MAIN | ONLY_THREAD)[name]}")
    began = time.monotonic()
    kernel.interrupt()
    reply = kernel.reply(msg_id)
    assert time.monotonic() - began < 5
    assert reply["content"]["status"] == "error"
    assert reply["content"]["ename"] == "KernelInterruptError"
    assert reply["content"]["evalue"] == "interrupted"
    for mode in ("queue", "thread"):  # The worker lives, or there is another.
        assert text_of(kernel.run(f"# {mode}\nawait anyio.sleep(0)\nprint('next')")[1]) == "next\n"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_the_traceback_ends_in_the_code_of_the_user(kernel: RunningKernel, code: str) -> None:
    """It is read by whoever wants to know where the cell was, not how it was interrupted."""
    msg_id = begun(kernel, f"print('begun', flush=True)\n{code}")
    kernel.interrupt()
    assert not MACHINERY.search("".join(kernel.reply(msg_id)["content"]["traceback"]))


@pytest.mark.parametrize("mode", ["queue", "task", "thread"])
def test_an_interrupt_ends_input(kernel: RunningKernel, mode: str) -> None:
    msg_id = kernel.client.execute(f"# {mode}\ninput('?')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=TIMEOUT)
    kernel.interrupt()
    content = kernel.reply(msg_id)["content"]
    assert (content["ename"], content["evalue"]) == ("KernelInterruptError", "interrupted")
    assert not MACHINERY.search("".join(content["traceback"]))
    assert text_of(kernel.run("print('next')")[1]) == "next\n"


def test_a_cell_may_catch_it(kernel: RunningKernel) -> None:
    code = """
    import time
    print("begun", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("caught")
    """
    msg_id = begun(kernel, code)
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["status"] == "ok"


def test_it_aborts_what_waits_behind(kernel: RunningKernel) -> None:
    msg_id = begun(kernel, "import time\nprint('begun', flush=True)\ntime.sleep(60)")
    behind = kernel.client.execute("print('behind')")
    # Answered by the thread that receives, so the kernel has the cell by then.
    kernel.reply(kernel.client.kernel_info())
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["status"] == "error"
    assert kernel.reply(behind)["content"]["status"] == "aborted"


def test_nothing_to_interrupt(kernel: RunningKernel) -> None:
    kernel.interrupt()
    assert text_of(kernel.run("print('next')")[1]) == "next\n"


def test_background_tasks_of_other_cells_survive(kernel: RunningKernel) -> None:
    reply, _ = kernel.run(
        "import anyio, asyncio, sys\n"
        "ticks = []\n"
        "async def tick():\n"
        "    while True:\n"
        "        ticks.append(1)\n"
        "        await anyio.sleep(0.01)\n"
        "if 'trio' in sys.modules and sys.modules['trio'].lowlevel.in_trio_task():\n"
        "    task = sys.modules['trio'].lowlevel.spawn_system_task(tick)\n"
        "else:\n"
        "    task = asyncio.create_task(tick())"
    )
    assert reply["content"]["status"] == "ok"
    msg_id = begun(kernel, "print('begun', flush=True)\nawait anyio.sleep(60)")
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["status"] == "error"
    reply, _ = kernel.run("before = len(ticks)\nwhile len(ticks) == before: await anyio.sleep(0.01)")
    assert reply["content"]["status"] == "ok"


def test_what_a_caller_computes_ends_with_the_cell(kernel: RunningKernel) -> None:
    """A thread that nobody waits for any more does not compute on for ever."""
    kernel.run(PREPARE + "ended = threading.Event()")
    code = "def f():\n    try:\n        print('begun', flush=True)\n        loop()\n    finally: ended.set()"
    msg_id = begun(kernel, f"{code}\nawait Caller().to_thread(f)")
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert kernel.run("assert await Caller().to_thread(ended.wait, 10)")[0]["content"]["status"] == "ok"


def test_threads_that_the_cell_does_not_wait_for_go_on(kernel: RunningKernel) -> None:
    kernel.run(PREPARE + "ended = False\ndef work():\n    while not ended: pass\n    return 'worked'")
    msg_id = begun(kernel, "p = Caller().to_thread(work)\nprint('begun', flush=True)\nawait anyio.sleep(60)")
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert text_of(kernel.run("ended = True\nprint(await p)")[1]) == "worked\n"


@pytest.mark.parametrize("mode", ["queue", "thread"])
def test_what_catches_it_is_interrupted_again(kernel: RunningKernel, mode: str) -> None:
    """The button can be pressed twice."""
    once = "try: loop()\nexcept KeyboardInterrupt: print('more', flush=True)"
    code = f"# {mode}\nprint('begun', flush=True)\n{once}\nloop()"
    kernel.run(PREPARE)
    msg_id = begun(kernel, code)
    kernel.interrupt()
    while kernel.client.get_iopub_msg(timeout=TIMEOUT)["content"].get("text") != "more\n":
        pass
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"


def test_only_what_is_named(kernel: RunningKernel) -> None:
    kernel.run(PREPARE)
    kinds = ("task\nprint('begun')\nawait anyio.sleep(60)", "thread\nprint('begun')\nloop()")
    ids = [begun(kernel, f"# {kind}") for kind in kinds * 2]
    while ids:
        kernel.interrupt(msg_ids=[ids[-1]])
        # What was not named would be the next to answer.
        assert kernel.client.get_shell_msg(timeout=TIMEOUT)["parent_header"]["msg_id"] == ids.pop()
        assert kernel.run("# task\n1")[0]["content"]["status"] == "ok"
    kernel.interrupt(subshell_id="unknown")
    kernel.interrupt(msg_ids=["unknown"])


def test_without_names_what_waits_in_the_queue_is_left_alone(kernel: RunningKernel) -> None:
    """Where the error does not stop it, that is."""
    msg_id = kernel.client.execute("input('?')", allow_stdin=True, stop_on_error=False)
    kernel.client.get_stdin_msg(timeout=TIMEOUT)
    behind = kernel.client.execute("print('behind')")
    kernel.reply(kernel.client.kernel_info())
    kernel.interrupt()
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert text_of(kernel.collect(behind)[1]) == "behind\n"


def test_what_waits_can_be_cancelled_by_name(kernel: RunningKernel) -> None:
    msg_id = kernel.client.execute("input('?')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=TIMEOUT)
    behind = kernel.client.execute("print('behind')")
    kernel.reply(kernel.client.kernel_info())
    kernel.interrupt(msg_ids=[behind])
    kernel.client.input("")
    assert kernel.reply(msg_id)["content"]["status"] == "ok"
    reply, published = kernel.collect(behind)
    assert reply["content"]["ename"] == "KernelInterruptError"
    assert text_of(published) == ""


def test_a_comm_handler_that_loops_is_interrupted(kernel: RunningKernel) -> None:
    """A widget's callback is the code of a user too."""
    code = (
        "import comm\ndef on_msg(msg):\n    print('begun', flush=True)\n    while True: pass\n"
        "c = comm.create_comm(target_name='t')\nc.on_msg(on_msg)\nprint(c.comm_id)"
    )
    comm_id = text_of(kernel.run(code)[1]).strip()
    msg = kernel.client.session.msg("comm_msg", {"comm_id": comm_id, "data": {}})
    kernel.client.shell_channel.send(msg)
    while kernel.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    kernel.interrupt()
    kernel.published(msg["header"]["msg_id"])  # to its idle
    assert text_of(kernel.run("print('next')")[1]) == "next\n"


def test_the_callbacks_of_the_kernel_are_called(kernel: RunningKernel) -> None:
    code = "from async_kernel.utils import get_kernel\nimport threading\ncalled = []\n"
    code += "def note(): called.append(threading.current_thread().name)\nget_kernel().interrupts.add(note)"
    kernel.run(code)
    kernel.interrupt()
    code = "import anyio\nwhile not called: await anyio.sleep(0.001)\nprint(called)\nget_kernel().interrupts.clear()"
    assert text_of(kernel.run(code)[1]) == "['Control']\n"


def test_jobs_are_listed_and_cancelled(kernel: RunningKernel) -> None:
    """What runs somewhere can be found, and ended, without interrupting the rest."""
    kernel.run(PREPARE)
    task = begun(kernel, "# task\nprint('begun')\nawait anyio.sleep(60)")
    thread = begun(kernel, "# thread\nprint('begun')\nloop()")
    lines = text_of(kernel.run("%jobs")[1]).splitlines()
    assert [line.split()[2:4] for line in lines[1:]] == [["runs", "task"], ["runs", "thread"], ["runs", "queue"]]
    assert task in lines[1]
    assert "worker" in lines[2]
    assert "%jobs" in lines[3]
    kernel.run(f"%cancel {lines[2].split()[0]}")
    assert kernel.reply(thread)["content"]["ename"] == "KernelInterruptError"
    kernel.run(f"%cancel {task}")
    assert kernel.reply(task)["content"]["ename"] == "KernelInterruptError"
    assert "'nonsense'" in text_of(kernel.run("%cancel nonsense")[1], "stderr")


@pytest.mark.timeout(240)
def test_interrupts_at_random_moments(kernel: RunningKernel) -> None:
    """The kernel always answers the next cell."""
    kernel.run(PREPARE)
    generator = random.Random(2)
    codes = [
        "for _ in range(20000): pass",
        "await anyio.sleep(0.005)",
        "time.sleep(0.005)",
        "print('x' * 100)",
        "for _ in range(50): await anyio.sleep(0)",
        "1/0",
        "await Caller().to_thread(time.sleep, 0.005)",
    ]
    for number in range(200):
        mode = generator.choice(("queue", "task", "thread"))
        msg_id = kernel.client.execute(f"# {mode}\n{generator.choice(codes)}", stop_on_error=False)
        moment = time.monotonic() + generator.random() * 0.012
        while time.monotonic() < moment:
            pass
        kernel.interrupt()
        kernel.collect(msg_id)
        if number % 10 == 0:
            reply, published = kernel.run(f"# {mode}\nprint({number})")
            assert reply["content"]["status"] == "ok"
            assert text_of(published) == f"{number}\n"
    kernel.interrupt()
    assert text_of(kernel.run("print('alive')")[1]) == "alive\n"
    assert text_of(kernel.run("# thread\nprint('alive')")[1]) == "alive\n"
