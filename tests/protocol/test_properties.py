"""Properties of the wire and of contents, for whatever comes: hypothesis looks for what breaks them.

A few examples are tried, always the same; `make fuzz` tries more, and others each time (ASYNC_KERNEL_FUZZ).
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_kernel.errors import ClientError, ContentError, WireError
from async_kernel.protocol.cell_policy import CellPolicy
from async_kernel.protocol.content import _STRUCTS, parse
from async_kernel.protocol.dap import DapError, DapParser, check
from async_kernel.protocol.jsonable import pack, unpack
from async_kernel.protocol.run_modes import RunModes
from async_kernel.protocol.wire import DELIMITER, Wire
from async_kernel.typing import Job, MsgType, RunMode, SocketID

KEY = b"secret"
TEXT = st.text(max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
ANYTHING = st.recursive(
    LEAVES | st.floats() | st.binary(max_size=20) | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            TEXT | st.integers() | st.none() | st.booleans() | st.tuples(st.integers()), inner, max_size=3
        )
    ),
)


def message(wire: Wire, content: Any) -> list[bytes]:
    return [bytes(frame) for frame in wire.encode("execute_request", content, ident=[b"identity"])]


@given(OBJECTS, OBJECTS, st.lists(st.binary(max_size=30), max_size=3))
def test_what_is_encoded_is_decoded_as_it_was(content: Any, metadata: Any, buffers: list[bytes]) -> None:
    """A request or a reply would arrive changed."""
    frames = Wire(KEY).encode("x", content, metadata=metadata, buffers=buffers, ident=[b"a", b"b"])
    idents, got = Wire(KEY).decode(frames)
    assert (idents, got["content"], got["metadata"]) == ([b"a", b"b"], content, metadata)
    assert [bytes(each) for each in got["buffers"]] == buffers


@given(st.data(), OBJECTS)
def test_one_changed_bit_is_refused_and_counted(data: st.DataObject, content: Any) -> None:
    """Whoever can't sign could change what runs."""
    wire = Wire(KEY)
    frames = message(wire, content)
    at = data.draw(st.integers(2, 6))
    spoilt = bytearray(frames[at])
    bit = data.draw(st.integers(0, len(spoilt) * 8 - 1))
    spoilt[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        wire.decode([*frames[:at], bytes(spoilt), *frames[at + 1 :]])
    assert wire.refused == {"signature": 1}
    wire.decode(frames)


@given(st.lists(st.sampled_from([DELIMITER, b"", b"{}", b"x"]) | st.binary(max_size=40), max_size=9), st.booleans())
def test_noise_is_refused_and_counted(frames: list[bytes], signed: bool) -> None:
    """Anything but a `WireError` would leave a trace in the log for each message of a flood."""
    wire = Wire(KEY if signed else b"")
    read = refusal(wire, frames) is None
    assert sum(wire.refused.values()) == (not read)
    assert not (read and signed)


def refusal(wire: Wire, frames: list[bytes]) -> str | None:
    """Why frames are refused; None where they are read."""
    try:
        _, got = wire.decode(frames)
    except WireError as error:
        return error.reason
    assert type(got["header"]["msg_id"]) is str
    return None


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"{}", b"[]", b"null", b'{"a":1']), min_size=4, max_size=4))
def test_signed_noise_is_refused_or_read(parts: list[bytes]) -> None:
    wire = Wire(KEY)
    reason = refusal(wire, [DELIMITER, wire.sign(parts), *parts])
    assert wire.refused == ({} if reason is None else {reason: 1})


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.data())
def test_whatever_is_replayed_is_refused(contents: list[Any], data: st.DataObject) -> None:
    """A recorded request would run again."""
    wire = Wire(KEY, digest_history=2)
    sent = [message(wire, content) for content in contents]
    for frames in sent:
        wire.decode(frames)
    for frames in data.draw(st.lists(st.sampled_from(sent[-2:]), max_size=4)):
        with pytest.raises(WireError, match="came before"):
            wire.decode(frames)


@given(JSON)
def test_json_survives(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(ANYTHING)
def test_anything_has_a_form_that_every_client_reads(value: Any) -> None:
    """A message that can't be sent is a cell that never ends; one that can't be read, too."""
    packed = pack(value)
    read = json.loads(packed.decode("utf-8"), parse_constant=pytest.fail)
    assert pack(read) == pack(unpack(packed))


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps(text)[:40].encode()))
def test_what_is_read_is_json_or_an_error_of_one_kind(data: bytes) -> None:
    try:
        value = unpack(data)
    except ValueError:
        return
    assert isinstance(value, dict | list | str | int | float | bool | None)


@pytest.mark.parametrize("depth", [10, 400, 900, 950, 990, 1000, 5000, 100_000])
@pytest.mark.parametrize("place", ["header", "content", "metadata"])
def test_what_can_be_read_can_be_answered(depth: int, place: str) -> None:
    """The status messages of a request repeat its header: one that can't be said again has no answer."""
    wire = Wire(KEY)
    deep = b'{"msg_id": "1", "msg_type": "x", "extra": ' + b"[" * depth + b"]" * depth + b"}"
    parts = [deep if place == "header" else b'{"msg_id": "1", "msg_type": "x"}', b"{}", b"{}", b"{}"]
    if place != "header":
        parts[2 if place == "metadata" else 3] = deep
    frames = [DELIMITER, wire.sign(parts), *parts]
    if refusal(wire, frames) is not None:
        assert wire.refused == {"json": 1}
        return
    _, got = Wire(KEY).decode(frames)
    deeper(60, lambda: wire.encode("status", {}, parent=got))


def deeper(frames: int, func: Any) -> None:
    """Call `func` with more frames on the stack, as the kernel's own are."""
    if frames:
        deeper(frames - 1, func)
    else:
        func()


@pytest.mark.parametrize("msg_type", list(_STRUCTS))
@given(st.data())
def test_a_content_is_as_it_should_be_or_its_field_is_named(msg_type: MsgType, data: st.DataObject) -> None:
    """Behind `parse`, the fields of a request are what they say; what is wrong is told to the client."""
    fields = _STRUCTS[msg_type].__struct_fields__
    content = data.draw(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON)))
    said = ""
    try:
        parsed = parse(msg_type, content)
    except ContentError as error:
        parsed, said = None, str(error)
    assert isinstance(parsed, _STRUCTS[msg_type]) or any(name in said for name in ("content", *fields))
    assert len(said) < 400


@given(JSON, JSON, st.sampled_from(list(MsgType)), st.sampled_from([SocketID.shell, SocketID.control]))
def test_run_mode_and_policy_do_not_fail(content: Any, tags: Any, msg_type: MsgType, socket_id: SocketID) -> None:
    """Both are asked before the content is checked, in the thread that receives for everybody."""
    msg: Any = {"header": {}, "parent_header": {}, "metadata": {"tags": tags}, "content": content, "buffers": []}
    job: Job[Any] = {"msg": msg, "socket_id": socket_id, "ident": [], "received_time": 0.0}
    assert isinstance(RunModes().get(msg_type, socket_id=socket_id, job=job), RunMode)
    timeout = CellPolicy.parse(msg["metadata"]).timeout
    assert timeout is None or (math.isfinite(timeout) and timeout >= 0)


@pytest.mark.parametrize("depth", [10, 300, 500, 700, 900, 950, 980])
def test_what_is_wrong_is_told_however_deep_it_is(depth: int) -> None:
    """The error about a value would itself fail: a failure in the log for each message, and no field named."""
    try:
        deep = unpack(b"[" * depth + b"]" * depth)
    except ValueError:
        return
    text = json.dumps({"type": 0, "x": 0}).replace("0", "[" * depth + "]" * depth, 1).encode()

    def judge() -> None:
        wire = Wire(KEY)
        for at, part in ((0, b'{"msg_type": "x", "msg_id": %b}'), (1, b"%b"), (2, b"%b")):
            parts = [b'{"msg_id": "1", "msg_type": "x"}', b"{}", b"{}", b"{}"]
            parts[at] = part % (b"[" * depth + b"]" * depth)
            assert refusal(wire, [DELIMITER, wire.sign(parts), *parts])
        for content in (deep, {"comm_id": "c", "data": deep}, {"comm_id": deep}):
            with pytest.raises(ContentError):
                parse(MsgType.comm_msg, content)
        assert CellPolicy.parse({"tags": deep}).timeout is None
        with pytest.raises(ClientError):
            check("evaluate", {"expression": deep})
        with pytest.raises(ClientError):
            check("setBreakpoints", {"source": {}, "breakpoints": [deep]})
        with pytest.raises(DapError):
            DapParser().feed(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))

    judge()
    deeper(40, judge)
