"""Typed request contents: what real clients send is read, what is wrong is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from jupyter_client.client import KernelClient

from async_kernel.errors import ClientError, ContentError
from async_kernel.protocol.content import ExecuteRequest, parse
from async_kernel.typing import MsgType

LEAST: dict[str, dict[str, Any]] = {
    "kernel_info_request": {},
    "comm_info_request": {},
    "connect_request": {},
    "execute_request": {"code": ""},
    "complete_request": {"code": ""},
    "is_complete_request": {"code": ""},
    "inspect_request": {"code": ""},
    "history_request": {},
    "comm_open": {"comm_id": "1", "target_name": "t"},
    "comm_msg": {"comm_id": "1"},
    "comm_close": {"comm_id": "1"},
    "interrupt_request": {},
    "shutdown_request": {},
    "debug_request": {"command": "initialize"},
    "create_subshell_request": {},
    "delete_subshell_request": {"subshell_id": "1"},
    "list_subshell_request": {},
    "usage_request": {},
}


class Channel:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, msg: dict[str, Any]) -> None:
        self.sent.append(msg)


class Client(KernelClient):
    """A client whose channels keep what is sent."""

    channel = Channel()
    shell_channel = control_channel = property(lambda self: self.channel)  # type: ignore[assignment] # pyright: ignore


def test_what_jupyter_client_sends_is_read() -> None:
    """The client of every Jupyter program would get error replies."""
    client = Client()
    client.allow_stdin = False
    sent = client.channel.sent = []
    client.execute("1", user_expressions={"a": "b"}, stop_on_error=False)
    client.complete("abc", 2)
    client.complete("abc")
    client.inspect("abc", 1, detail_level=1)
    client.history(hist_access_type="tail", n=5)
    client.history(hist_access_type="search", pattern="*", n=5, unique=True)
    client.history(session=-1, start=1, stop=3)
    client.is_complete("if x:")
    client.kernel_info()
    client.comm_info()
    client.comm_info("target")
    client.shutdown(restart=True)
    for msg in sent:
        parsed = msgspec.structs.asdict(parse(msg["msg_type"], msg["content"]))
        for field, value in msg["content"].items():
            assert parsed[field] == value
    assert len(sent) == 12


@pytest.mark.parametrize("msg_type", MsgType)
def test_every_request_is_read_from_its_least_content(msg_type: MsgType) -> None:
    """A client that sends only what the specification requires would be refused."""
    least = LEAST[msg_type]
    parsed = msgspec.structs.asdict(parse(msg_type, least))
    nulls = {name: None for name in parsed if name not in least}
    assert msgspec.structs.asdict(parse(msg_type.value, {**nulls, **least, "unknown": object()})) == parsed


@pytest.mark.parametrize("msg_type", MsgType)
@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_content_must_be_an_object(msg_type: MsgType, content: Any) -> None:
    """The handler would fail with an error that says nothing."""
    with pytest.raises(ContentError, match=f"^{msg_type.value}: content: expected an object, got"):
        parse(msg_type, content)


@pytest.mark.parametrize("msg_type", MsgType)
def test_each_required_field_is_named_where_it_is_missing_or_wrong(msg_type: MsgType) -> None:
    """The author of a client would not learn which field is at fault."""
    for field in LEAST[msg_type]:
        least = {name: value for name, value in LEAST[msg_type].items() if name != field}
        for content, got in ((least, "nothing"), ({**least, field: None}, "None"), ({**least, field: 3}, "3")):
            with pytest.raises(ContentError) as caught:
                parse(msg_type, content)
            assert caught.value.field == field
            assert str(caught.value) == f"{msg_type.value}: {field}: expected a string, got {got}"
            assert isinstance(caught.value, ClientError)


@pytest.mark.parametrize(
    ("msg_type", "field", "value", "expected"),
    [
        ("execute_request", "silent", "yes", "true or false"),
        ("execute_request", "store_history", 1, "true or false"),
        ("execute_request", "allow_stdin", [], "true or false"),
        ("execute_request", "stop_on_error", {}, "true or false"),
        ("execute_request", "user_expressions", {"a": 1}, "an object whose values are strings"),
        ("execute_request", "user_expressions", ["a"], "an object whose values are strings"),
        ("complete_request", "cursor_pos", "a", "a number of characters, 0 or more"),
        ("complete_request", "cursor_pos", -1, "a number of characters, 0 or more"),
        ("complete_request", "cursor_pos", 1.5, "a number of characters, 0 or more"),
        ("complete_request", "cursor_pos", True, "a number of characters, 0 or more"),
        ("inspect_request", "cursor_pos", -(10**30), "a number of characters, 0 or more"),
        ("inspect_request", "detail_level", "high", "0 or 1"),
        ("history_request", "hist_access_type", "all", "range, tail or search"),
        ("history_request", "n", -1, "an integer, 0 or more"),
        ("history_request", "session", "1", "an integer"),
        ("history_request", "pattern", 1, "a string"),
        ("history_request", "unique", "no", "true or false"),
        ("comm_info_request", "target_name", 1, "a string"),
        ("comm_open", "data", [], "an object"),
        ("comm_msg", "data", "x", "an object"),
        ("interrupt_request", "msg_ids", "x", "a list of strings"),
        ("interrupt_request", "msg_ids", [1], "a list of strings"),
        ("interrupt_request", "subshell_id", 1, "a string"),
        ("shutdown_request", "restart", "x", "true or false"),
        ("debug_request", "arguments", [], "an object"),
        ("debug_request", "seq", "x", "an integer"),
    ],
)
def test_wrong_optional_field_is_named(msg_type: str, field: str, value: Any, expected: str) -> None:
    """The author of a client would not learn which field is at fault, or what belongs there."""
    with pytest.raises(ContentError) as caught:
        parse(msg_type, {**LEAST[msg_type], field: value})
    assert str(caught.value) == f"{msg_type}: {field}: expected {expected}, got {value!r}"


def test_long_values_are_cut_in_errors() -> None:
    """An error reply to 50 MB of nonsense would be 50 MB."""
    for value in ("x" * 10**6, ["y"] * 10**6, {"z": "z" * 10**6}):
        with pytest.raises(ContentError) as caught:
            parse("execute_request", {"code": "", "silent": value})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("given", "cursor"), [(0, 0), (3, 3), (4, 4), (5, 4), (10**12, 4), (10**30, 4), (None, 4)])
def test_cursor_beyond_the_end_is_at_the_end(given: int | None, cursor: int) -> None:
    """Completion at the end of a line would fail where a client counts UTF-16 units."""
    for msg_type in ("complete_request", "inspect_request"):
        assert parse(msg_type, {"code": "a.😀b", "cursor_pos": given}).cursor_pos == cursor


def test_silent_is_never_stored() -> None:
    """A frontend's own requests would show up in the user's history."""
    assert parse("execute_request", {"code": "", "silent": True, "store_history": True}).store_history is False
    assert parse("execute_request", {"code": ""}) == ExecuteRequest(code="")
    assert parse("execute_request", {"code": ""}).store_history is True
    assert parse("execute_request", {"code": "", "store_history": False}).store_history is False


def test_large_code_is_read_without_a_copy() -> None:
    """50 MB of code would stall the kernel."""
    code = "x" * 50_000_000
    assert parse("execute_request", {"code": code}).code is code


def test_unknown_type_is_a_type_error() -> None:
    """A caller's mistake would look like a client's."""
    with pytest.raises(TypeError, match="unknown message type 'nope'"):
        parse("nope", {})


def test_defaults_are_not_shared() -> None:
    """Data that one comm handler changes would turn up in the next message."""
    first = parse("comm_msg", {"comm_id": "1"})
    first.data["x"] = 1
    assert parse("comm_msg", {"comm_id": "1"}).data == {}
