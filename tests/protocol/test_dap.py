"""Debug-adapter bytes ↔ messages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from async_kernel.errors import ClientError
from async_kernel.protocol.dap import MAX_BODY, DapError, DapParser, check, encode, failure, success

MESSAGES: list[dict[str, Any]] = [
    {"seq": 1, "type": "request", "command": "initialize", "arguments": {"clientID": "é日"}},
    {
        "seq": 2,
        "type": "response",
        "request_seq": 1,
        "success": True,
        "command": "initialize",
        "body": {"a": [1, None]},
    },
    {"seq": 3, "type": "event", "event": "stopped", "body": {"text": "Content-Length: 7\r\n\r\n{}"}},
]


def feed(*parts: bytes) -> list[dict[str, Any]]:
    parser = DapParser()
    messages = [message for part in parts for message in parser.feed(part)]
    parser.close()
    return messages


def test_every_split_point() -> None:
    """A breakpoint would be lost when the network cuts a message somewhere."""
    data = b"".join(map(encode, MESSAGES))
    assert feed(data) == MESSAGES
    assert feed(*(data[i : i + 1] for i in range(len(data)))) == MESSAGES
    for cut in range(len(data) + 1):
        assert feed(data[:cut], data[cut:]) == MESSAGES


def test_other_header_fields_and_lengths_in_bytes() -> None:
    """An adapter that sends a Content-Type, or text that is not ASCII, would not be understood."""
    body = '{"type": "event", "event": "é"}'.encode()
    header = b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length:%d\r\n\r\n" % len(body)
    assert feed(header + body) == [{"type": "event", "event": "é"}]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no header\r\n\r\n", "expected header fields as `Name: value`, got b'no header'"),
        (b"Other: 1\r\n\r\n", "expected one Content-Length with a number of bytes"),
        (b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "expected one Content-Length"),
        (b"Content-Length: -1\r\n\r\n", "expected one Content-Length with a number of bytes"),
        (b"Content-Length: x\r\n\r\n", "expected one Content-Length with a number of bytes"),
        (b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), f"expected at most {MAX_BODY} bytes"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", f"expected at most {MAX_BODY} bytes"),
        (b"x" * 9000, "expected a header of at most 8192 bytes"),
        (b"Content-Length: 1\r\n\r\n{", "expected a message as JSON, got b'{'"),
        (b"Content-Length: 2\r\n\r\n\xff\xff", "expected a message as JSON"),
        (b"Content-Length: 20000\r\n\r\n" + b"[" * 20000, "nested too deeply"),
        (b"Content-Length: 2\r\n\r\n[]", "expected a JSON object, got b'[]'"),
        (b"Content-Length: 2\r\n\r\n{}", "type: expected request, response, event, got None"),
        (b'Content-Length: 13\r\n\r\n{"type": "x"}', "type: expected request, response, event, got 'x'"),
        (b'Content-Length: 14\r\n\r\n{"type":["x"]}', "type: expected request, response, event, got ['x']"),
        (encode({"type": "request"}), "request.command: expected str, got None"),
        (encode({"type": "response", "request_seq": True}), "response.request_seq: expected int, got True"),
        (encode({"type": "event", "event": 1}), "event.event: expected str, got 1"),
    ],
)
def test_malformed_input(data: bytes, expected: str) -> None:
    """A broken adapter would hang the panel, or be misread; nobody would know why."""
    parser = DapParser()
    with pytest.raises(DapError, match=re.escape(expected)):
        parser.feed(data)
    with pytest.raises(DapError, match=re.escape(expected)):  # What follows can't be told from the middle of a message.
        parser.feed(encode(MESSAGES[0]))


@pytest.mark.parametrize("cut", [5, 30])
def test_a_stream_that_ends_early(cut: int) -> None:
    """Half a message would go unnoticed."""
    with pytest.raises(DapError, match="ended within a message"):
        feed(encode(MESSAGES[0])[:cut])


def test_what_json_cannot_say_is_refused() -> None:
    """It would reach the adapter as something else."""
    with pytest.raises(TypeError, match=r"message\['value'\]: an object of type object can't be said in JSON"):
        encode({"value": object()})


def test_responses() -> None:
    """A client matches them to its requests by these fields."""
    request = {"seq": 7, "type": "request", "command": "next"}
    common = {"seq": 7, "type": "response", "request_seq": 7, "command": "next"}
    assert success(request) == {**common, "success": True, "body": {}}
    failed = failure(request, "no {such} thread")
    assert failed.items() >= {**common, "success": False, "message": "no {such} thread"}.items()
    assert failed["body"]["error"]["variables"] == {"reason": "no {such} thread"}


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("nope", {}, "unknown command 'nope': expected one of attach, completions"),
        ("next", {}, "next: threadId: expected an integer, got nothing"),
        ("next", {"threadId": True}, "next: threadId: expected an integer, got True"),
        ("evaluate", {"expression": "x", "frameId": "1"}, "evaluate: frameId: expected an integer, got '1'"),
        ("setBreakpoints", {"source": {"path": 1}}, "setBreakpoints: source.path: expected a string, got 1"),
        (
            "setBreakpoints",
            {"source": {}, "breakpoints": [{"line": 1}, {}]},
            "breakpoints[1].line: expected an integer",
        ),
        (
            "setBreakpoints",
            {"source": {}, "breakpoints": [{"line": 1, "condition": 2}]},
            "breakpoints[0].condition: expected a string, got 2",
        ),
        (
            "setExceptionBreakpoints",
            {"filters": [], "filterOptions": [{}]},
            "filterOptions[0]: expected filterId, got nothing",
        ),
        ("attach", {"rules": [1]}, "attach: rules[0]: expected an object, got 1"),
        ("stackTrace", {"threadId": 1, "format": []}, "stackTrace: format: expected an object, got []"),
    ],
)
def test_wrong_requests(command: str, arguments: dict[str, Any], expected: str) -> None:
    """debugpy's server dies of some of these, and the debugger with it."""
    with pytest.raises(ClientError, match=re.escape(expected)):
        check(command, arguments)


def test_good_requests() -> None:
    """What a client may say would be refused."""
    check("setBreakpoints", {"source": {"path": "x"}, "breakpoints": None, "lines": None, "new": object()})
    check("evaluate", {"expression": "x", "frameId": None, "format": {"hex": True}})
    check("attach", {"justMyCode": False, "rules": [{"include": True, "path": "x"}]})
