"""Requests other than cells, through a real client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernels import RunningKernel, text_of

pytestmark = pytest.mark.slow


def on_control(kernel: RunningKernel, msg_type: str) -> dict[str, Any]:
    """The content of the reply to a request on control."""
    message = kernel.client.session.msg(msg_type, {})
    kernel.client.control_channel.send(message)
    reply = kernel.control_reply(message["header"]["msg_id"])
    assert reply["msg_type"] == msg_type.replace("request", "reply")
    return reply["content"]


def test_usage(kernel: RunningKernel) -> None:
    """A frontend could not show what the kernel uses, or only while no cell runs."""
    busy = kernel.client.execute("print('busy', flush=True)\nimport time\nwhile True: time.sleep(0.01)")
    kernel.begun(busy)
    content = on_control(kernel, "usage_request")
    assert content["pid"] == kernel.process.pid
    assert content["kernel_memory"] > 10_000_000
    expected = {"status", "hostname", "pid", "cpu_count", "kernel_cpu", "kernel_memory", "host_virtual_memory"}
    assert content.keys() - {"host_cpu_percent"} == expected
    kernel.interrupt()
    kernel.collect(busy)
    message = kernel.client.session.msg("usage_request", {})
    kernel.client.shell_channel.send(message)
    assert "not served on the shell channel" in kernel.reply(message["header"]["msg_id"])["content"]["evalue"]


def test_connect(kernel: RunningKernel) -> None:
    """A client that knows one port could not find the others."""
    message = kernel.client.session.msg("connect_request", {})
    kernel.client.shell_channel.send(message)
    content = kernel.reply(message["header"]["msg_id"])["content"]
    file = json.loads(kernel.connection_file.read_text())
    assert content == {"status": "ok", **{name: port for name, port in file.items() if name.endswith("_port")}}


def test_history_search(kernel: RunningKernel) -> None:
    """The search of a console would show what was typed twice twice, or not the latest."""
    needle = f"needle_{kernel.process.pid}"
    one, three = f"{needle} = 1", f"{needle} = 3"
    for code in (one, "hay = 2", one, three):
        kernel.run(code)
    found = {}
    for unique in (False, True):
        msg_id = kernel.client.history(hist_access_type="search", pattern=f"{needle}*", unique=unique)
        found[unique] = [code for _, _, code in kernel.reply(msg_id)["content"]["history"]]
    assert found == {False: [one, one, three], True: [one, three]}


LEAVE = """
import sys
ended = []
if "trio" in sys.modules and sys.modules["sniffio"].current_async_library() == "trio":
    import trio
    async def forever():
        try:
            await trio.sleep_forever()
        finally:
            __import__("builtins").ended.append("task")
    trio.lowlevel.spawn_system_task(forever)
    await trio.sleep(0.01)
else:
    import asyncio
    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            __import__("builtins").ended.append("task")
    task = asyncio.create_task(forever())
    await asyncio.sleep(0.01)
__import__("builtins").ended = ended
"""


def test_reset_ends_what_cells_left(kernel: RunningKernel) -> None:
    """`%reset` would leave tasks behind that nobody can reach any more, but that go on."""
    reply, _ = kernel.run("import sniffio\n" + LEAVE)
    assert reply["content"]["status"] == "ok", reply["content"]
    kernel.run("%reset -f")
    _, messages = kernel.run("import anyio\nawait anyio.sleep(0.01)\nimport builtins\nprint(builtins.ended)")
    assert text_of(messages) == "['task']\n"
