"""What a client gets for its requests: every one answered, once, in order, whatever it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of

pytestmark = pytest.mark.slow


def test_thousand_requests_at_once_are_answered_in_order(kernel: RunningKernel) -> None:
    """A lost or doubled message is the cell that spins for ever."""
    client = kernel.client
    ids = [client.execute("pass", store_history=False) for _ in range(1000)]
    replies = [client.get_shell_msg(timeout=TIMEOUT)["parent_header"]["msg_id"] for _ in ids]
    assert replies == ids
    states: dict[str, list[str]] = {msg_id: [] for msg_id in ids}
    idle = 0
    order: list[str] = []
    while idle < len(ids):
        message = client.get_iopub_msg(timeout=TIMEOUT)
        msg_id = message["parent_header"]["msg_id"]
        if message["msg_type"] == "status" and msg_id in states:
            states[msg_id].append(message["content"]["execution_state"])
            if states[msg_id][-1] == "idle":
                idle += 1
                order.append(msg_id)
    assert set(map(tuple, states.values())) == {("busy", "idle")}
    assert order == ids


def test_twenty_thousand_lines_arrive_complete_and_in_order(kernel: RunningKernel) -> None:
    reply, published = kernel.run("for i in range(20_000): print(i)")
    assert reply["content"]["status"] == "ok"
    assert text_of(published) == "".join(f"{i}\n" for i in range(20_000))
    assert len([m for m in published if m["msg_type"] == "stream"]) <= 100


def test_trio_over_ipc(start_kernel: Callable[..., RunningKernel]) -> None:
    """The same for the pair of backend and transport that no built-in profile has."""
    kernel = start_kernel("--profile", "trio", "--set", "transport=ipc")
    test_thousand_requests_at_once_are_answered_in_order(kernel)
    test_twenty_thousand_lines_arrive_complete_and_in_order(kernel)


def test_output_is_in_order_across_streams_and_displays(kernel: RunningKernel) -> None:
    code = """
    import sys
    for i in range(3):
        print("out", i)
        print("err", i, file=sys.stderr)
        display(i)
    i"""
    _, published = kernel.run(code)
    seen = [
        m["content"].get("text", m["content"].get("data", {}).get("text/plain"))
        for m in published
        if m["msg_type"] != "execute_input"
    ]
    expected: list[str] = []
    for i in range(3):
        expected += [f"out {i}\n", f"err {i}\n", str(i)]
    assert seen == [*expected, "2"]


def test_error_aborts_what_was_received_by_position(kernel: RunningKernel) -> None:
    """Run all: the cells after a failing one do not run; the next one the user runs does."""
    client = kernel.client
    failing = client.execute("import time; time.sleep(0.3); 1/0")
    aborted = [client.execute(f"print({i})") for i in range(3)]
    assert kernel.reply(failing)["content"]["ename"] == "ZeroDivisionError"
    for msg_id in aborted:
        reply = kernel.reply(msg_id)
        assert reply["content"]["status"] == "aborted"
        assert "prior exception" in reply["content"]["evalue"]
    reply, published = kernel.run("print('again')")
    assert reply["content"]["status"] == "ok"
    assert text_of(published) == "again\n"


def test_without_stop_on_error_the_rest_runs(kernel: RunningKernel) -> None:
    client = kernel.client
    failing = client.execute("1/0", stop_on_error=False)
    then = client.execute("'ran'")
    assert kernel.reply(failing)["content"]["status"] == "error"
    assert kernel.reply(then)["content"]["status"] == "ok"


@pytest.mark.parametrize("code", ["import time; time.sleep(1.5)", "import anyio; await anyio.sleep(1.5)"])
def test_requests_beside_a_running_cell(kernel: RunningKernel, code: str) -> None:
    """Completion, inspection and history answer while a cell runs, blocking or not."""
    client = kernel.client
    kernel.reply(client.complete("prin"))  # Once, what completes is imported.
    running = client.execute(code)
    while True:  # The cell has begun.
        message = client.get_iopub_msg(timeout=TIMEOUT)
        if message["msg_type"] == "execute_input" and message["parent_header"]["msg_id"] == running:
            break
    began = time.monotonic()
    requests = [
        client.complete("prin"),
        client.inspect("print"),
        client.history(hist_access_type="tail", n=3),
        client.is_complete("1 +"),
        client.kernel_info(),
        client.comm_info(),
    ]
    replies: dict[str, dict[str, Any]] = {}
    while len(replies) < len(requests):
        message = client.get_shell_msg(timeout=TIMEOUT)
        replies[message["parent_header"]["msg_id"]] = message
    elapsed = time.monotonic() - began
    assert set(replies) == set(requests), "the cell ended first"
    assert all(m["content"]["status"] in ("ok", "incomplete", "invalid") for m in replies.values())
    assert "print" in replies[requests[0]]["content"]["matches"]
    assert elapsed < 1.5
    assert kernel.reply(running)["content"]["status"] == "ok"


def test_input_and_getpass(kernel: RunningKernel) -> None:
    client = kernel.client
    msg_id = client.execute(
        "import getpass\nname = input('name? ')\nsecret = getpass.getpass('word? ')", allow_stdin=True
    )
    for prompt, password, value in (("name? ", False, "Ada"), ("word? ", True, "x")):
        question = client.get_stdin_msg(timeout=TIMEOUT)
        assert question["content"] == {"prompt": prompt, "password": password}
        client.input(value)
    assert kernel.reply(msg_id)["content"]["status"] == "ok"
    reply, _ = kernel.run("", user_expressions={"both": "name + secret"})
    assert reply["content"]["user_expressions"]["both"]["data"]["text/plain"] == "'Adax'"


def test_input_without_stdin_is_an_error(kernel: RunningKernel) -> None:
    reply, _ = kernel.run("input()", allow_stdin=False)
    assert reply["content"]["ename"] == "StdinNotImplementedError"


def test_comm_round_trip(kernel: RunningKernel) -> None:
    """A comm that a library opens is listed, gets messages, answers them, and closes."""
    code = """
    import comm
    c = comm.create_comm(target_name="echo", data={"hello": 1})
    c.on_msg(lambda msg: c.send({"echo": msg["content"]["data"]}, buffers=msg["buffers"]))
    """
    _, published = kernel.run(code)
    (opened,) = [m for m in published if m["msg_type"] == "comm_open"]
    comm_id = opened["content"]["comm_id"]
    assert opened["content"]["data"] == {"hello": 1}
    client = kernel.client
    info = kernel.reply(client.comm_info())
    assert info["content"]["comms"] == {comm_id: {"target_name": "echo"}}
    msg = client.session.msg("comm_msg", {"comm_id": comm_id, "data": {"n": 7}})
    client.shell_channel.send(msg)
    (echo,) = kernel.published(msg["header"]["msg_id"])
    assert echo["content"]["data"] == {"echo": {"n": 7}}
    _, published = kernel.run("c.close()")
    assert "comm_close" in [m["msg_type"] for m in published]


def test_messages_of_a_comm_are_handled_in_order(kernel: RunningKernel) -> None:
    """A widget that is made, set and closed at once would miss what was sent before it was open, or after its end."""
    code = """
    import comm
    def opened(each, msg):
        each.on_msg(lambda msg: seen.append(msg["content"]["data"]["n"]))
        each.on_close(lambda msg: seen.append("closed"))
    comm.get_comm_manager().register_target("ordered", opened)
    seen = []"""
    assert kernel.run(code)[0]["content"]["status"] == "ok"
    client = kernel.client

    def send(msg_type: str, **content: Any) -> str:
        msg = client.session.msg(msg_type, {"comm_id": "o", "data": {}, **content})
        client.shell_channel.send(msg)
        return msg["header"]["msg_id"]

    client.execute("import time; time.sleep(0.2)")
    send("comm_open", target_name="ordered")
    for n in range(5):
        send("comm_msg", data={"n": n})
    kernel.published(send("comm_close"))
    assert text_of(kernel.run("print(seen)")[1]) == "[0, 1, 2, 3, 4, 'closed']\n"


def test_comm_of_unknown_target_is_closed(kernel: RunningKernel) -> None:
    client = kernel.client
    msg = client.session.msg("comm_open", {"comm_id": "x", "target_name": "nobody", "data": {}})
    client.shell_channel.send(msg)
    published = kernel.published(msg["header"]["msg_id"])
    assert published[-1]["msg_type"] == "comm_close"
    assert "there is no target 'nobody'" in text_of(published, "stderr")
