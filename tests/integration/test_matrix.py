"""Every run mode on every backend, for every way that a cell can go.

Whatever the mode, a frontend gets one reply, one busy and one idle, and all that the cell put out, in its name: else a
cell would show `[*]` for ever, or lose its output to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from async_kernel.typing import RunMode
from tests.kernels import TIMEOUT, RunningKernel, running, text_of

pytestmark = pytest.mark.slow

MODES = (RunMode.queue, RunMode.task, RunMode.thread)


@dataclass(frozen=True)
class Case:
    """A cell, and what a frontend must get for it."""

    code: str
    stdout: str
    result: str | None = None
    "The `execute_result`."
    status: str = "ok"
    "Of the reply."
    error: str | None = None
    "The name of the error that is shown."
    tags: tuple[str, ...] = ()
    during: Callable[[RunningKernel, str], None] | None = None
    "What the client does with the request's id once the cell has printed something."


CASES = {
    "blocking": Case("import time\nprint('begun')\ntime.sleep(0.05)\nprint('done')\n6 * 7", "begun\ndone\n", "42"),
    "awaiting": Case(
        "import anyio\nprint('begun')\nawait anyio.sleep(0.05)\nprint('done')\n6 * 7", "begun\ndone\n", "42"
    ),
    "failing": Case("print('begun')\nraise LookupError('no milk')", "begun\n", status="error", error="LookupError"),
    "failing after an await": Case(
        "import anyio\nawait anyio.sleep(0.01)\nprint('begun')\nraise LookupError('no milk')",
        "begun\n",
        status="error",
        error="LookupError",
    ),
    "printing from a thread": Case(
        "import threading\n"
        "def lines():\n"
        "    for number in range(1000):\n"
        "        print(number)\n"
        "thread = threading.Thread(target=lines)\n"
        "thread.start()\n"
        "thread.join()\n"
        "print('joined')",
        "".join(f"{number}\n" for number in range(1000)) + "joined\n",
    ),
    "timed out": Case(
        "import anyio\ntry:\n    await anyio.sleep(60)\nfinally:\n    print('cleaned up')",
        "cleaned up\n",
        error="TimeoutError",
        tags=("timeout=0.1",),
    ),
    "timed out while it blocks": Case(
        "try:\n    while True:\n        pass\nfinally:\n    print('cleaned up')",
        "cleaned up\n",
        error="TimeoutError",
        tags=("timeout=0.1",),
    ),
    "interrupted": Case(
        "import anyio\nprint('begun', flush=True)\nawait anyio.sleep(60)",
        "begun\n",
        status="error",
        error="KernelInterruptError",
        during=lambda kernel, _: kernel.interrupt(),
    ),
    "interrupted while it blocks": Case(
        "print('begun', flush=True)\nwhile True:\n    pass",
        "begun\n",
        status="error",
        error="KernelInterruptError",
        during=lambda kernel, _: kernel.interrupt(),
    ),
}


@pytest.fixture(scope="module", params=["default", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--profile", request.param) as kernel:
        yield kernel


def send(kernel: RunningKernel, code: str, *tags: str) -> str:
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    session = kernel.client.session
    # An error of one test must not abort the cells of the next, which is another client's in real life.
    message = session.msg("execute_request", {**content, "stop_on_error": False}, metadata={"tags": tags})
    kernel.client.shell_channel.send(message)
    return message["header"]["msg_id"]


def everything(kernel: RunningKernel, case: Case, mode: RunMode) -> tuple[str, list[Any], list[Any]]:
    """Run a cell, then another; the id of the first, and all replies and all messages on iopub that came."""
    msg_id = send(kernel, f"{mode}\n{case.code}", *case.tags)
    published = [kernel.client.get_iopub_msg(timeout=TIMEOUT)]
    during = case.during
    while not (is_idle(published[-1]) and parent_of(published[-1]) == msg_id):
        if during is not None and published[-1]["msg_type"] == "stream":
            during(kernel, msg_id)
            during = None
        published.append(kernel.client.get_iopub_msg(timeout=TIMEOUT))
    replies = [kernel.client.get_shell_msg(timeout=TIMEOUT)]
    # A second reply, or output that comes late, would come before those of the next cell.
    last = send(kernel, "pass")
    while parent_of(replies[-1]) != last:
        replies.append(kernel.client.get_shell_msg(timeout=TIMEOUT))
    while not (is_idle(published[-1]) and parent_of(published[-1]) == last):
        published.append(kernel.client.get_iopub_msg(timeout=TIMEOUT))
    others = (
        last,
        *(parent_of(each) for each in published if each["parent_header"]["msg_type"] == "interrupt_request"),
    )
    return msg_id, replies[:-1], [message for message in published if parent_of(message) not in others]


def parent_of(message: dict[str, Any]) -> str | None:
    return message["parent_header"].get("msg_id")


def is_idle(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_reply_one_busy_one_idle_and_all_output_in_the_cells_name(
    kernel: RunningKernel, case: Case, mode: RunMode
) -> None:
    msg_id, replies, published = everything(kernel, case, mode)
    assert [parent_of(reply) for reply in replies] == [msg_id]
    assert {parent_of(message) for message in published} == {msg_id}
    states = [m["content"]["execution_state"] for m in published if m["msg_type"] == "status"]
    assert states == ["busy", "idle"]
    kinds = [message["msg_type"] for message in published if message["msg_type"] != "stream"]
    shown = (["execute_result"] if case.result else []) + (["error"] if case.error else [])
    assert kinds == ["status", "execute_input", *shown, "status"]
    content = {message["msg_type"]: message["content"] for message in published}
    assert text_of(published) == case.stdout
    assert text_of(published, "stderr") == ""
    assert content.get("execute_result", {}).get("data", {}).get("text/plain") == case.result
    assert content.get("error", {}).get("ename") == case.error
    (reply,) = (reply["content"] for reply in replies)
    assert reply["status"] == case.status
    assert reply.get("ename") == (case.error if case.status == "error" else None)
    assert reply["execution_count"] == content["execute_input"]["execution_count"]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_cell_runs_where_its_mode_says(kernel: RunningKernel, mode: RunMode) -> None:
    code = f"{mode}\nimport threading\nthreading.current_thread() is threading.main_thread()"
    _, published = kernel.run(code)
    (result,) = [m["content"]["data"]["text/plain"] for m in published if m["msg_type"] == "execute_result"]
    assert result == str(mode is not RunMode.thread)
