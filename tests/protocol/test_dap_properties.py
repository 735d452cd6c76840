"""Properties of the debug adapter's stream, for whatever comes; see test_properties.py."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_kernel.errors import ClientError
from async_kernel.protocol.dap import FIELDS, MAX_BODY, MAX_HEADER, REQUESTS, DapError, DapParser, check, encode
from tests.protocol.test_properties import JSON, TEXT

MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("request"), "command": TEXT}, optional={"arguments": JSON}),
        st.fixed_dictionaries({"type": st.just("response"), "request_seq": st.integers()}, optional={"body": JSON}),
        st.fixed_dictionaries({"type": st.just("event"), "event": TEXT}, optional={"body": JSON}),
    ),
    max_size=5,
)
LENGTHS = st.sampled_from(
    [
        b"0",
        b"1",
        b"-1",
        b"+1",
        b"1 1",
        b"1_0",
        b"0x2",
        b"1e3",
        b"",
        b" ",
        b"\xb2",
        b"\xd9\xa1",
        b"2.0",
        b"00000000000002",
    ]
    + [b"%d" % number for number in (2, MAX_BODY, MAX_BODY + 1, 2**63, 10**30)]
)
NAMES = st.sampled_from([b"Content-Length", b"content-length", b" CONTENT-LENGTH ", b"Content-Type", b"X", b""])
FIELD = st.tuples(NAMES, st.sampled_from([b":", b": ", b"", b"::"]), LENGTHS | st.binary(max_size=9)).map(b"".join)
BODIES = st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode())
HEADED = st.tuples(st.lists(FIELD, max_size=3).map(b"\r\n".join), st.just(b"\r\n\r\n"), BODIES).map(b"".join)
STREAMS = st.lists(HEADED | st.binary(max_size=30) | MESSAGES.map(lambda said: b"".join(map(encode, said))), max_size=4)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """`data` in pieces."""
    places = sorted({0, *(each % (len(data) + 1) for each in at), len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


def read(pieces: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    """The messages in a stream and the error that ends it; a message that comes with an error is lost."""
    parser, messages = DapParser(), list[dict[str, Any]]()
    try:
        for piece in pieces:
            messages += parser.feed(piece)
        parser.close()
    except DapError as error:
        return messages, str(error)
    return messages, ""


def refused(parser: DapParser, data: bytes) -> str:
    """Why `data` is refused; empty where it is not."""
    try:
        parser.feed(data)
    except DapError as error:
        return str(error)
    return ""


@given(MESSAGES, st.lists(st.integers(0, 10**6), max_size=8))
def test_what_is_sent_is_read_however_it_is_cut(messages: list[dict[str, Any]], at: list[int]) -> None:
    """A breakpoint or a stop would be lost where the network cuts, or read twice."""
    assert read(cut(b"".join(map(encode, messages)), at)) == (messages, "")


@given(STREAMS, st.lists(st.integers(0, 10**6), max_size=8))
def test_anything_is_messages_or_one_clear_error(parts: list[bytes], at: list[int]) -> None:
    """A stream that raises something else kills the reader, and the debugger's panel waits for ever."""
    data = b"".join(parts)
    bytewise, why = read([data[place : place + 1] for place in range(len(data))])
    messages, error = read(cut(data, at))
    assert error == why
    assert bytewise[: len(messages)] == messages  # nothing more or else; with the error, the rest of its piece is lost
    assert len(error) < 600
    assert "\n" not in error


@pytest.mark.parametrize("flood", [b"x", b"a: b\r\n", b"\r\n", b"\0", b"Content-Length: 1" + b"0" * 50])
def test_a_stream_without_end_takes_no_memory(flood: bytes) -> None:
    """What is no adapter could fill the memory of the kernel."""
    tracemalloc.start()
    parser = DapParser()
    try:
        while not refused(parser, flood * 100):
            pass
        assert all(refused(parser, bytes(MAX_HEADER)) for _ in range(1000))  # Nothing is kept of what follows.
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [500, 1000, 100_000])
def test_deep_bodies(text: bytes, depth: int) -> None:
    """The interpreter's stack would end, and the kernel with it."""
    body = (
        b'{"type":"event","event":"x","body":' + text * depth + b"1" + (b"]" if text == b"[" else b"}") * depth + b"}"
    )
    messages, error = read([b"Content-Length: %d\r\n\r\n" % len(body), body])
    assert (len(messages), "nested too deeply" in error) in ((1, False), (0, True))


@given(st.sampled_from([*REQUESTS, "nope", ""]), st.dictionaries(st.sampled_from([*FIELDS, "x"]), JSON, max_size=4))
def test_requests_are_good_or_their_field_is_named(command: str, arguments: dict[str, Any]) -> None:
    """debugpy's server dies of some arguments: what passes has each as it is in the protocol."""
    said = ""
    try:
        check(command, arguments)
    except ClientError as error:
        said = str(error)
    assert len(said) < 1200
    if said:
        assert any(name in said for name in (*FIELDS, "unknown command"))
        return
    assert all(name in arguments for name in REQUESTS[command])
    for name, value in arguments.items():
        assert name not in FIELDS or value is None or isinstance(value, FIELDS[name])
