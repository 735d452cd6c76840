"""Hostile and broken messages: an answer that names the fault or a line in the log, and the kernel lives."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zmq

from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.typing import SocketID
from tests.kernels import TIMEOUT, RunningKernel, text_of

pytestmark = pytest.mark.slow


def answers(kernel: RunningKernel) -> None:
    """The kernel answers `kernel_info` and runs a cell."""
    assert kernel.reply(kernel.client.kernel_info())["content"]["status"] == "ok"
    assert text_of(kernel.run("print('alive')")[1]) == "alive\n"


def send_raw(kernel: RunningKernel, frames: list[bytes], channel: str = "shell") -> None:
    getattr(kernel.client, f"{channel}_channel").socket.send_multipart(frames)


def signed(kernel: RunningKernel, header: Any, content: bytes, signature: bytes | None = None) -> list[bytes]:
    parts = [json.dumps(header).encode(), b"{}", b"{}", content]
    sign = kernel.client.session.sign(parts) if signature is None else signature
    return [b"<IDS|MSG>", sign, *parts]


@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
def test_untrusted_frames_are_dropped(kernel: RunningKernel, channel: str) -> None:
    header = kernel.client.session.msg_header("execute_request")
    header["date"] = header["date"].isoformat()
    code = json.dumps({"code": "open('/nonexistent/pwned', 'w')"}).encode()
    for frames in (
        signed(kernel, header, code, signature=b""),
        signed(kernel, header, code, signature=b"0" * 64),
        [b"<IDS|MSG>"],
        [b"<IDS|MSG>", b"sig", b"{}"],
        [b""],
        [b"no delimiter", b"at all"],
        signed(kernel, header, b"{broken"),
        signed(kernel, [1, 2], b"{}"),
        signed(kernel, {"msg_type": 3}, b"{}"),
    ):
        send_raw(kernel, frames, channel)
    answers(kernel)
    # Nothing of it shows in a cell: it goes to the kernel's own log.
    assert text_of(kernel.run("print('next', end='')")[1], "stderr") == ""


def test_a_replayed_message_runs_once(kernel: RunningKernel) -> None:
    session = kernel.client.session
    msg = session.msg("execute_request", {"code": "count = globals().get('count', 0) + 1", "silent": False})
    frames = session.serialize(msg)
    send_raw(kernel, frames)
    send_raw(kernel, frames)
    kernel.reply(msg["header"]["msg_id"])
    reply, _ = kernel.run("", user_expressions={"n": "count"})
    assert reply["content"]["user_expressions"]["n"]["data"]["text/plain"] == "1"


@pytest.mark.parametrize(
    ("msg_type", "content", "field"),
    [
        ("execute_request", {"code": None}, "code"),
        ("execute_request", {}, "code"),
        ("execute_request", {"code": "1", "user_expressions": ["a"]}, "user_expressions"),
        ("execute_request", {"code": "1", "silent": "yes"}, "silent"),
        ("complete_request", {"code": "pri", "cursor_pos": "a"}, "cursor_pos"),
        ("complete_request", {"code": "pri", "cursor_pos": -1}, "cursor_pos"),
        ("inspect_request", {"code": "print", "cursor_pos": -1}, "cursor_pos"),
        ("inspect_request", {"code": 3, "cursor_pos": 0}, "code"),
        ("is_complete_request", {"code": None}, "code"),
        ("history_request", {"hist_access_type": "all"}, "hist_access_type"),
        ("comm_info_request", {"target_name": 3}, "target_name"),
    ],
)
def test_wrong_content_is_an_error_that_names_the_field(
    kernel: RunningKernel, msg_type: str, content: dict[str, Any], field: str
) -> None:
    msg = kernel.client.session.msg(msg_type, content)
    kernel.client.shell_channel.send(msg)
    reply, published = kernel.collect(msg["header"]["msg_id"])
    assert reply["content"]["status"] == "error"
    assert field in reply["content"]["evalue"]
    assert published == []


@pytest.mark.parametrize(
    ("field", "value"), [("session", []), ("session", 3), ("subshell_id", ["a"]), ("subshell_id", {})]
)
@pytest.mark.parametrize(("channel", "msg_type"), [("shell", "execute_request"), ("control", "debug_request")])
def test_a_wrong_header_is_an_error_that_names_the_field(
    kernel: RunningKernel, channel: str, msg_type: str, field: str, value: Any
) -> None:
    """Such a request would never be answered."""
    msg = kernel.client.session.msg(msg_type, {"code": "1", "command": "x"})
    msg["header"][field] = value
    getattr(kernel.client, f"{channel}_channel").send(msg)
    ask = kernel.reply if channel == "shell" else kernel.control_reply
    reply = ask(msg["header"]["msg_id"])
    assert reply["content"]["status"] == "error"
    assert f"header: {field}: expected a string" in reply["content"]["evalue"]


def test_a_client_without_a_session_is_served(kernel: RunningKernel) -> None:
    msg = kernel.client.session.msg("execute_request", {"code": "1"})
    del msg["header"]["session"]
    kernel.client.shell_channel.send(msg)
    assert kernel.reply(msg["header"]["msg_id"])["content"]["status"] == "ok"


def test_code_that_is_nested_too_deeply_is_not_known_to_be_complete(kernel: RunningKernel) -> None:
    """A console that gets an error here runs nothing any more."""
    reply = kernel.reply(kernel.client.is_complete("-" * 5000 + "1"))
    assert reply["content"]["status"] in ("unknown", "complete")


def test_a_cursor_far_beyond_the_end_is_at_the_end(kernel: RunningKernel) -> None:
    reply = kernel.reply(kernel.client.complete("prin", cursor_pos=10**12))
    assert "print" in reply["content"]["matches"]


def test_an_unknown_type_gets_busy_and_idle(kernel: RunningKernel) -> None:
    msg = kernel.client.session.msg("frobnicate_request", {})
    kernel.client.shell_channel.send(msg)
    assert kernel.published(msg["header"]["msg_id"]) == []
    answers(kernel)


@pytest.mark.parametrize("msg_type", ["shutdown_request", "debug_request", "list_subshell_request"])
def test_a_known_type_on_the_wrong_channel_is_refused(kernel: RunningKernel, msg_type: str) -> None:
    msg = kernel.client.session.msg(msg_type, {"restart": False})
    kernel.client.shell_channel.send(msg)
    reply = kernel.reply(msg["header"]["msg_id"])
    assert reply["content"]["status"] == "error"
    assert "shell" in reply["content"]["evalue"]
    answers(kernel)


def test_an_unknown_subshell_is_an_error(kernel: RunningKernel) -> None:
    msg = kernel.client.session.msg("execute_request", {"code": "1"})
    msg["header"]["subshell_id"] = "nope"
    kernel.client.shell_channel.send(msg)
    reply = kernel.reply(msg["header"]["msg_id"])
    assert reply["content"]["status"] == "error"
    assert "nope" in reply["content"]["evalue"]


def test_fifty_megabytes_of_code(kernel: RunningKernel) -> None:
    code = "text = '''" + "x" * 50_000_000 + "'''\nprint(len(text))"
    msg_id = kernel.client.execute(code, store_history=False)
    assert kernel.reply(msg_id, 60)["content"]["status"] == "ok"
    assert text_of(kernel.published(msg_id, 60)) == "50000000\n"
    answers(kernel)


def test_a_heartbeat_is_echoed_while_a_cell_blocks(kernel: RunningKernel) -> None:
    client = kernel.client
    msg_id = client.execute("import time; time.sleep(0.5)")
    context = zmq.Context.instance()
    info = ConnectionInfo.parse(json.loads(kernel.connection_file.read_text()))
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(info.url(SocketID.heartbeat))
        socket.send(b"ping")
        assert socket.poll(TIMEOUT * 1000)
        assert socket.recv() == b"ping"
    kernel.reply(msg_id)
