"""Comms, seen from a client that sends what a frontend would."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow

SETUP = """
import comm
def opened(c, msg):
    print("opened", msg["content"]["data"], *map(bytes, msg["buffers"]))
    order = []
    @c.on_msg
    def _(m):
        data = m["content"]["data"]
        order.append(data.get("n"))
        if data.get("fail"):
            raise ValueError("a bad widget")
        if data.get("stop"):
            print("stopped")
            raise KeyboardInterrupt
        c.send({"order": order}, metadata={"m": 1}, buffers=m["buffers"])
    @c.on_close
    def _(m):
        print("closed")
        if m["content"]["data"]:
            raise ValueError("a bad end")
def failing(c, msg):
    raise ValueError("a bad target")
def interrupted(c, msg):
    raise KeyboardInterrupt
manager = comm.get_comm_manager()
manager.register_target("echo", opened)
manager.register_target("interrupted", interrupted)
manager.register_target("failing", failing)
"""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A kernel with two targets of comms."""
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--backend", request.param)
    wait_for_file(path, process)
    running = RunningKernel(process, path)
    assert running.run(SETUP)[0]["content"]["status"] == "ok"
    yield running
    running.stop()


def send(
    kernel: RunningKernel, kind: str, comm_id: str, data: Any = None, buffers: Any = None, target: str | None = None
) -> str:
    """Send what a frontend sends; the id of the message."""
    content = {"comm_id": comm_id, "data": data or {}} | ({} if target is None else {"target_name": target})
    msg = kernel.client.session.msg(kind, content)
    kernel.client.session.send(kernel.client.shell_channel.socket, msg, buffers=buffers)  # pyright: ignore[reportArgumentType]
    return msg["header"]["msg_id"]


def answers(kernel: RunningKernel, kind: str, comm_id: str, *args: Any) -> list[dict[str, Any]]:
    return kernel.published(send(kernel, kind, comm_id, *args))


def open_comms(kernel: RunningKernel) -> list[str]:
    return list(kernel.reply(kernel.client.comm_info())["content"]["comms"])


def test_what_an_interrupted_handler_has_printed(kernel: RunningKernel) -> None:
    """It would come after the idle, when a frontend listens no more."""
    answers(kernel, "comm_open", "stopped", {}, None, "echo")
    assert text_of(answers(kernel, "comm_msg", "stopped", {"stop": True})) == "stopped\n"
    answers(kernel, "comm_close", "stopped")


def test_an_interrupt_of_a_target_closes_the_comm(kernel: RunningKernel) -> None:
    """It stayed open without a handler: the frontend's messages to it vanished without a word."""
    (closed,) = answers(kernel, "comm_open", "deaf", {}, None, "interrupted")
    assert (closed["msg_type"], closed["content"]["comm_id"]) == ("comm_close", "deaf")
    assert open_comms(kernel) == []


def test_a_comm_from_open_to_close(kernel: RunningKernel) -> None:
    """What a widget's view does: open, talk with buffers both ways, close. Later messages do no harm."""
    assert text_of(answers(kernel, "comm_open", "c1", {"a": 1}, [b"in"], "echo")) == "opened {'a': 1} b'in'\n"
    assert open_comms(kernel) == ["c1"]
    (reply,) = answers(kernel, "comm_msg", "c1", {"n": 0}, [b"one", memoryview(b"two")])
    assert (reply["content"], reply["metadata"]) == ({"data": {"order": [0]}, "comm_id": "c1"}, {"m": 1})
    assert [bytes(each) for each in reply["buffers"]] == [b"one", b"two"]
    assert text_of(answers(kernel, "comm_close", "c1")) == "closed\n"
    assert open_comms(kernel) == []
    for kind in ("comm_msg", "comm_close"):
        (said,) = answers(kernel, kind, "c1")
        assert said["content"]["name"] == "stderr"
        assert said["content"]["text"].startswith("comm c1: ")


def test_fifty_megabytes_there_and_back(kernel: RunningKernel) -> None:
    """An image or an array of a widget."""
    answers(kernel, "comm_open", "big", {}, None, "echo")
    data = os.urandom(50_000_000)
    (reply,) = answers(kernel, "comm_msg", "big", {}, [data])
    assert reply["buffers"][0] == data
    answers(kernel, "comm_close", "big")


def test_messages_are_handled_in_order_between_the_awaits_of_a_cell(kernel: RunningKernel) -> None:
    """A slider that is dragged must not jump back, and must move although a cell runs."""
    answers(kernel, "comm_open", "c2", {}, None, "echo")
    cell = kernel.client.execute(
        "import anyio\nprint('begun')\nwhile manager.comms.get('c2'): await anyio.sleep(0.001)"
    )
    kernel.begun(cell)
    sent = [send(kernel, "comm_msg", "c2", {"n": n}) for n in range(50)]
    last = [kernel.published(each) for each in sent][-1]
    assert last[0]["content"]["data"]["order"] == list(range(50))
    answers(kernel, "comm_close", "c2")
    assert kernel.reply(cell)["content"]["status"] == "ok"


def test_order_from_open_to_cell(kernel: RunningKernel) -> None:
    """Sent at once: a message finds the comm open, the close comes after it, and the cell sees what they have done."""
    for n in range(20):
        sent = [send(kernel, "comm_open", f"o{n}", {"a": n}, None, "echo")]
        sent += [send(kernel, "comm_msg", f"o{n}", {"n": i}) for i in range(3)]
        sent += [send(kernel, "comm_close", f"o{n}")]
        cell = kernel.client.execute(f"print('o{n}' in manager.comms)")
        assert [m["msg_type"] for each in sent for m in kernel.published(each)] == [
            "stream",
            *["comm_msg"] * 3,
            "stream",
        ]
        assert text_of(kernel.published(cell)) == "False\n"


def test_an_unknown_target_is_closed(kernel: RunningKernel) -> None:
    """Else the frontend would wait for a widget that never comes; the user sees what there is."""
    said, closed = answers(kernel, "comm_open", "c3", {}, None, "nobody")
    assert "no target 'nobody' (registered: " in said["content"]["text"]
    assert (closed["msg_type"], closed["content"]["comm_id"]) == ("comm_close", "c3")
    assert open_comms(kernel) == []


def test_what_handlers_raise_is_shown_where_it_belongs(kernel: RunningKernel) -> None:
    """A failing widget shows its own traceback, whatever the user has done to logging; the comm and the kernel live."""
    kernel.run("import logging; logging.disable()")
    said, closed = answers(kernel, "comm_open", "c4", {}, None, "failing")
    assert "ValueError: a bad target" in said["content"]["text"]
    assert closed["msg_type"] == "comm_close"
    answers(kernel, "comm_open", "c5", {}, None, "echo")
    (said,) = answers(kernel, "comm_msg", "c5", {"fail": True})
    text = said["content"]["text"]
    assert text.startswith("comm c5 (target 'echo'): its handler failed\nTraceback (most recent call last):\n")
    assert "in _\n    raise ValueError" in text
    assert "base_comm.py" not in text
    (reply,) = answers(kernel, "comm_msg", "c5", {"n": 1})
    assert reply["content"]["data"] == {"order": [None, 1]}
    assert "ValueError: a bad end" in text_of(answers(kernel, "comm_close", "c5", {"x": 1}), "stderr")
    kernel.run("logging.disable(0)")


def test_comms_that_the_kernel_opens(kernel: RunningKernel) -> None:
    """A widget is a comm of the kernel's: opened, sent and closed in a cell, its messages have the cell as parent."""
    code = (
        "c = comm.create_comm(target_name='t', data={'a': 1}, buffers=[b'x']); c.send({'b': 2}); c.close(); c.close()"
    )
    _, (_, *messages) = kernel.run(code)
    assert [m["msg_type"] for m in messages] == ["comm_open", "comm_msg", "comm_close"]
    assert messages[0]["content"]["target_name"] == "t"
    assert [bytes(each) for each in messages[0]["buffers"]] == [b"x"]
    assert json.dumps(messages[1]["content"]["data"]) == '{"b": 2}'


def test_a_handler_is_surrounded_by_the_events_of_a_cell(kernel: RunningKernel) -> None:
    """`post_execute` is when figures are shown: also after a handler that fails."""
    kernel.run("seen = []\nfor name in ('pre_execute', 'post_execute'):\n"
               "    get_ipython().events.register(name, lambda name=name: seen.append(name))")  # fmt: skip
    answers(kernel, "comm_open", "c6", {}, None, "echo")
    kernel.run("seen.clear()")
    answers(kernel, "comm_msg", "c6", {"fail": True})
    assert text_of(kernel.run("print(seen[1:3])")[1]) == "['pre_execute', 'post_execute']\n"
    answers(kernel, "comm_close", "c6")
