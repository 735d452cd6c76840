"""The stop button: it ends what runs, the reply is an error, and the next cell works."""

from __future__ import annotations

import time

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of

pytestmark = pytest.mark.slow


def begun(kernel: RunningKernel, code: str) -> str:
    """Execute code that prints when it is about to block; return the request's id once it has."""
    msg_id = kernel.client.execute(code, allow_stdin=True)
    while True:
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        if message["msg_type"] == "stream" and message["parent_header"]["msg_id"] == msg_id:
            return msg_id


def interrupt(kernel: RunningKernel) -> None:
    msg = kernel.client.session.msg("interrupt_request", {})
    kernel.client.control_channel.send(msg)
    assert kernel.control_reply(msg["header"]["msg_id"])["content"]["status"] == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import anyio; await anyio.sleep(60)",
        "await forever()",
        "class R:\n    def __repr__(self):\n        while True: pass\nR()",
    ],
)
def test_what_runs_is_interrupted(kernel: RunningKernel, code: str) -> None:
    kernel.run("import anyio\nasync def forever():\n    while True:\n        await anyio.sleep(0)")
    msg_id = begun(kernel, f"print('begun', flush=True)\n{code}")
    began = time.monotonic()
    interrupt(kernel)
    reply = kernel.reply(msg_id)
    assert time.monotonic() - began < 5
    assert reply["content"]["status"] == "error"
    assert reply["content"]["ename"] == "KernelInterruptError"
    assert reply["content"]["evalue"] == "interrupted"
    # The user's traceback ends in the user's code, not in the machinery that has interrupted it.
    assert "async_kernel" not in "".join(reply["content"]["traceback"])
    assert text_of(kernel.run("print('next')")[1]) == "next\n"


def test_an_interrupt_ends_input(kernel: RunningKernel) -> None:
    msg_id = kernel.client.execute("input('?')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=TIMEOUT)
    interrupt(kernel)
    content = kernel.reply(msg_id)["content"]
    assert (content["ename"], content["evalue"]) == ("KernelInterruptError", "interrupted")
    assert "async_kernel" not in "".join(content["traceback"])
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
    interrupt(kernel)
    assert kernel.reply(msg_id)["content"]["status"] == "ok"


def test_it_aborts_what_waits_behind(kernel: RunningKernel) -> None:
    msg_id = begun(kernel, "import time\nprint('begun', flush=True)\ntime.sleep(60)")
    behind = kernel.client.execute("print('behind')")
    # Answered by the thread that receives, so the kernel has the cell by then.
    kernel.reply(kernel.client.kernel_info())
    interrupt(kernel)
    assert kernel.reply(msg_id)["content"]["status"] == "error"
    assert kernel.reply(behind)["content"]["status"] == "aborted"


def test_nothing_to_interrupt(kernel: RunningKernel) -> None:
    interrupt(kernel)
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
    interrupt(kernel)
    assert kernel.reply(msg_id)["content"]["status"] == "error"
    reply, _ = kernel.run("before = len(ticks)\nwhile len(ticks) == before: await anyio.sleep(0.01)")
    assert reply["content"]["status"] == "ok"
