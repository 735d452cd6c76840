"""`comms:` where the handlers of comms run, seen from a client that moves a slider while a cell blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kernels import RunningKernel, text_of

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]

SETUP = """
import comm, threading, time
main = threading.main_thread()
moved = threading.Event()
seen = []
def on_msg(msg):
    data = msg["content"]["data"]
    if data.get("wait"):
        assert released.wait(10)
    seen.append(data["n"])
    print(data["n"], threading.current_thread() is main)
    moved.set()
released = threading.Event()
comms = [comm.create_comm(target_name="t") for _ in range(2)]
for each in comms:
    each.on_msg(on_msg)
print(*(each.comm_id for each in comms))
"""


def send(kernel: RunningKernel, comm_id: str, **data: Any) -> str:
    msg = kernel.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
    kernel.client.shell_channel.send(msg)
    return msg["header"]["msg_id"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("comms", ["subshell", "thread"])
def test_a_widget_lives_while_a_cell_blocks(start_kernel: Start, comms: str, backend: str) -> None:
    """What a handler prints goes to the message that it handles; order is kept; an error is shown."""
    kernel = start_kernel("--set", f"comms={comms}", "--backend", backend)
    first, second = text_of(kernel.run(SETUP)[1]).split()
    cell = kernel.client.execute("print(moved.wait(10))")
    for n in range(20):
        send(kernel, first, n=n)
    assert text_of(kernel.published(cell)) == "True\n"
    assert text_of(kernel.published(send(kernel, first, n=20))) == "20 False\n"
    assert text_of(kernel.run("print(seen == list(range(21)))")[1]) == "True\n"
    waiting = send(kernel, first, n=21, wait=True)
    other = send(kernel, second, n=22)
    if comms == "thread":  # The second comm does not wait for the first.
        assert text_of(kernel.published(other)) == "22 False\n"
    release = kernel.client.execute("released.set()")
    assert text_of(kernel.published(waiting)) == "21 False\n"
    if comms == "subshell":
        assert text_of(kernel.published(other)) == "22 False\n"
    assert kernel.reply(release)["content"]["status"] == "ok"
    assert "KeyError" in str(kernel.published(send(kernel, first, none=1)))
    closing = kernel.client.session.msg("comm_close", {"comm_id": first, "data": {}})
    kernel.client.shell_channel.send(closing)
    kernel.published(closing["header"]["msg_id"])
    assert list(kernel.reply(kernel.client.comm_info())["content"]["comms"]) == [second]


def test_shell_runs_them_between_the_awaits(start_kernel: Start) -> None:
    """The default: a handler may touch what the cells touch, without locks."""
    kernel = start_kernel("--set", "comms=shell")
    first, _ = text_of(kernel.run(SETUP)[1]).split()
    cell = kernel.client.execute("import anyio\nwhile not moved.is_set(): await anyio.sleep(0.01)\nprint(seen)")
    moved = send(kernel, first, n=1)
    assert text_of(kernel.published(moved)) == "1 True\n"
    assert text_of(kernel.published(cell)) == "[1]\n"
