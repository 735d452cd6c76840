"""The wire: what we encode a jupyter_client session decodes with equal results, and the other way round."""

from __future__ import annotations

import datetime
import gc
import hashlib
import hmac
import os
import random
import string
import threading
import tracemalloc
import warnings
from typing import Any

import pytest
from jupyter_client.session import Session, json_packer, json_unpacker

from async_kernel.errors import WireError
from async_kernel.protocol.messages import PROTOCOL_VERSION
from async_kernel.protocol.wire import DELIMITER, Wire, is_signature_scheme, parent_header
from async_kernel.typing import Job, SocketID

KEY = b"a0b1c2d3-secret"
SCHEMES = ["hmac-sha256", "hmac-sha512", "hmac-md5"]
KEYS = {"key": KEY, "no key": b"", "long key": bytes(range(256)) * 2, "key of a block": b"k" * 64}
EXECUTE = {
    "code": "print('é😀')",
    "silent": False,
    "store_history": True,
    "user_expressions": {},
    "allow_stdin": True,
    "stop_on_error": True,
}


def peer_for(key: bytes = KEY, scheme: str = "hmac-sha256") -> Session:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Session(key=key, signature_scheme=scheme, pack=json_packer, unpack=json_unpacker)


def peer_frames(peer: Session, msg_type: str = "execute_request", content: Any = EXECUTE, **kwargs: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer.serialize(peer.msg(msg_type, content, **kwargs), [b"identity"])


def peer_reads(peer: Session, frames: list[Any]) -> tuple[list[bytes], dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        idents, body = peer.feed_identities([bytes(frame) for frame in frames])
        return idents, peer.deserialize(body)


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KEYS.values(), ids=[*KEYS])
def key(request: pytest.FixtureRequest) -> bytes:
    return request.param


def test_peer_decodes_what_we_encode(key: bytes, scheme: str) -> None:
    """No Jupyter client could read a reply."""
    wire, peer = Wire(key, scheme, username="ann"), peer_for(key, scheme)
    _, request = wire.decode(peer_frames(peer))
    frames = wire.encode(
        "execute_reply",
        EXECUTE,
        parent=request,
        ident=[b"a", b"b"],
        metadata={"m": 1},
        buffers=[b"x", bytearray(b"yy")],
    )
    idents, message = peer_reads(peer, frames)
    assert idents == [b"a", b"b"]
    assert message["content"] == EXECUTE
    assert message["metadata"] == {"m": 1}
    assert [bytes(buffer) for buffer in message["buffers"]] == [b"x", b"yy"]
    assert message["header"]["msg_type"] == message["msg_type"] == "execute_reply"
    assert message["header"]["session"] == wire.session
    assert message["header"]["username"] == "ann"
    assert message["header"]["version"] == "5.5"
    assert message["parent_header"]["msg_id"] == request["header"]["msg_id"]
    assert isinstance(message["header"]["date"], datetime.datetime)


def test_we_decode_what_the_peer_encodes(key: bytes, scheme: str) -> None:
    """No request of a Jupyter client could be read."""
    wire, peer = Wire(key, scheme), peer_for(key, scheme)
    parent = peer.msg("kernel_info_request")
    frames = [*peer_frames(peer, parent=parent, metadata={"tags": ["x"]}), b"buffer", memoryview(b"more")]
    idents, message = wire.decode(frames)
    assert idents == [b"identity"]
    assert message["content"] == EXECUTE
    assert message["metadata"] == {"tags": ["x"]}
    assert message["header"]["msg_type"] == "execute_request"
    assert message["parent_header"]["msg_id"] == parent["msg_id"]
    assert [type(buffer) for buffer in message["buffers"]] == [memoryview, memoryview]
    assert [bytes(buffer) for buffer in message["buffers"]] == [b"buffer", b"more"]
    assert not wire.refused


def test_signature_is_the_peers_and_the_standard_librarys(key: bytes, scheme: str) -> None:
    """Every message would be dropped as forged."""
    parts = [b"{}", os.urandom(300), b"", b"x" * 100_000]
    ours = Wire(key, scheme).sign(parts)
    assert ours == peer_for(key, scheme).sign(parts)
    if key:
        digest = hmac.new(key, b"".join(parts), getattr(hashlib, scheme.removeprefix("hmac-")))
        assert ours == digest.hexdigest().encode()
    else:
        assert ours == b""


def random_json(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randint(0, 7 if depth < 4 else 4)
    if kind >= 6:
        return {random_text(chance): random_json(chance, depth + 1) for _ in range(chance.randint(0, 4))}
    if kind == 5:
        return [random_json(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return [None, chance.random() < 0.5, chance.randint(-(2**70), 2**70), chance.gauss(0, 1e9), random_text(chance)][
        kind
    ]


def random_text(chance: random.Random) -> str:
    alphabet = [*string.printable, "é", "😀", "\0", "\u2028", "\ufffd"]
    return "".join(chance.choices(alphabet, k=chance.randint(0, 12)))


@pytest.mark.parametrize("seed", range(30))
def test_any_message_survives_both_ways(seed: int) -> None:
    """Some content, metadata or buffer would arrive changed."""
    chance = random.Random(seed)
    key, scheme = chance.choice([KEY, b""]), chance.choice(SCHEMES)
    wire, peer = Wire(key, scheme), peer_for(key, scheme)
    content = {random_text(chance): random_json(chance) for _ in range(3)}
    metadata = {random_text(chance): random_json(chance) for _ in range(chance.randint(0, 2))}
    buffers = [chance.randbytes(chance.randint(0, 50)) for _ in range(chance.randint(0, 3))]
    idents = [chance.randbytes(5) for _ in range(chance.randint(0, 2))]

    sent = wire.encode("comm_msg", content, metadata=metadata, buffers=buffers, ident=idents)
    got_idents, got = peer_reads(peer, sent)
    assert (got_idents, got["content"], got["metadata"]) == (idents, content, metadata)
    assert [bytes(buffer) for buffer in got["buffers"]] == buffers

    frames = [*idents, *peer_frames(peer, "comm_msg", content, metadata=metadata)[1:], *buffers]
    our_idents, ours = wire.decode([memoryview(frame) if chance.random() < 0.5 else frame for frame in frames])
    assert (our_idents, ours["content"], ours["metadata"]) == (idents, content, metadata)
    assert [bytes(buffer) for buffer in ours["buffers"]] == buffers


def refusal(wire: Wire, frames: list[Any]) -> str:
    before = wire.refused.total()
    with pytest.raises(WireError) as caught:
        wire.decode(frames)
    assert wire.refused.total() == before + 1
    assert wire.refused[caught.value.reason]
    return caught.value.reason


def signed(wire: Wire, *parts: bytes) -> list[bytes]:
    return [DELIMITER, wire.sign(parts), *parts]


@pytest.mark.parametrize("count", range(7))
def test_too_few_frames(count: int) -> None:
    """A truncated message would end the receiving thread."""
    assert refusal(Wire(KEY), peer_frames(peer_for())[:count]) == "frames"


def test_no_delimiter() -> None:
    """A stranger's message would end the receiving thread."""
    assert refusal(Wire(KEY), [b"a", b"b"] * 10) == "frames"
    assert refusal(Wire(b""), []) == "frames"


@pytest.mark.parametrize("part", [3, 4, 5, 6])
def test_changed_frame_is_refused(part: int) -> None:
    """Anybody who can connect could run code."""
    frames = peer_frames(peer_for())
    frames[part] += b" "
    assert refusal(Wire(KEY), frames) == "signature"


@pytest.mark.parametrize("signature", [b"", b"0" * 64, "ü".encode() * 32, b"\xff" * 64])
def test_wrong_signature_is_refused(signature: bytes) -> None:
    """Anybody who can connect could run code."""
    frames = peer_frames(peer_for())
    frames[2] = signature
    assert refusal(Wire(KEY), frames) == "signature"


def test_wrong_key_and_wrong_scheme_are_refused() -> None:
    """A client of another kernel would reach this one."""
    assert refusal(Wire(KEY), peer_frames(peer_for(b"other"))) == "signature"
    assert refusal(Wire(KEY, "hmac-sha512"), peer_frames(peer_for())) == "signature"
    assert refusal(Wire(KEY), peer_frames(peer_for(b""))) == "signature"


def test_replay_is_refused_and_forgery_does_not_use_up_the_history() -> None:
    """Who records a message could have it executed again; who forges one could have the real one refused."""
    wire, frames = Wire(KEY), peer_frames(peer_for())
    forged = [*frames]
    forged[6] = b"{}"
    assert refusal(wire, forged) == "signature"
    wire.decode(frames)
    assert refusal(wire, frames) == "replay"
    assert refusal(wire, [memoryview(frame) for frame in frames]) == "replay"


def test_replay_history_is_bounded_and_holds_at_least_what_it_promises() -> None:
    """A long-lived kernel would grow with every message, or forget what it has just seen."""
    wire, peer = Wire(KEY, digest_history=10), peer_for()
    seen = [peer_frames(peer) for _ in range(35)]
    for number, frames in enumerate(seen):
        wire.decode(frames)
        assert len(wire.digests) <= 20
        for old in seen[max(0, number - 9) : number + 1]:
            assert refusal(wire, old) == "replay"
    wire.decode(seen[0])


def test_no_replay_check_without_a_key_or_when_it_is_off() -> None:
    """Clients without a key, whose messages carry no signature, would be refused after the first."""
    for wire, peer in (
        (Wire(b""), peer_for(b"")),
        (Wire(KEY, check_replay=False), peer_for()),
        (Wire(KEY, digest_history=0), peer_for()),
    ):
        frames = peer_frames(peer)
        assert wire.decode(frames) == wire.decode(frames)
        assert not wire.digests


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("broken", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_refused(part: int, broken: bytes) -> None:
    """A client with a bug would end the receiving thread."""
    wire = Wire(KEY)
    parts = [b'{"msg_id": "1", "msg_type": "x"}', b"{}", b"{}", b"{}"]
    parts[part] = broken
    assert refusal(wire, signed(wire, *parts)) == "json"


@pytest.mark.parametrize(
    "parts",
    [
        (b"[]", b"{}", b"{}"),
        (b"{}", b"{}", b"{}"),
        (b'{"msg_id": 1, "msg_type": "x"}', b"{}", b"{}"),
        (b'{"msg_id": "1"}', b"{}", b"{}"),
        (b'{"msg_id": "1", "msg_type": "x"}', b"1", b"{}"),
        (b'{"msg_id": "1", "msg_type": "x"}', b"{}", b'"x"'),
    ],
)
def test_header_that_is_none_is_refused(parts: tuple[bytes, ...]) -> None:
    """What has no id or type can't be scheduled or answered; it would fail somewhere inside."""
    wire = Wire(KEY)
    assert refusal(wire, signed(wire, *parts, b"{}")) == "json"


@pytest.mark.parametrize("content", [b"null", b"[]", b'"x"', b"1"])
def test_content_of_any_shape_is_decoded(content: bytes) -> None:
    """Its sender would wait for ever instead of hearing of the error: what the content must be, `parse` says."""
    wire = Wire(KEY)
    _, message = wire.decode(signed(wire, b'{"msg_id": "1", "msg_type": "x"}', b"{}", b"{}", content))
    assert message["content"] == json_unpacker(content)


@pytest.mark.parametrize("seed", range(20))
def test_garbage_is_decoded_or_refused(seed: int) -> None:
    """A frame that nobody thought of would end the receiving thread."""
    chance, wire = random.Random(seed), Wire(b"")
    for _ in range(50):
        frames = [bytearray(frame) for frame in peer_frames(peer_for(b""))]
        for _ in range(chance.randint(1, 4)):
            frame = chance.choice(frames)
            at = chance.randint(0, len(frame))
            frame[at : at + chance.randint(0, 5)] = chance.choice(
                [b"", b"\xff", b"[", b"{", b'"', b"1", b"null", b"\\"]
            )
        if chance.random() < 0.2:
            frames.pop(chance.randrange(len(frames)))
        before = wire.refused.total()
        try:
            _, message = wire.decode([bytes(frame) for frame in frames])
        except WireError:
            assert {*wire.refused} <= {"frames", "json"}
            assert wire.refused.total() == before + 1
        else:
            wire.encode("status", {"execution_state": "busy"}, parent=message)


def test_date_is_now_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frontends would show wrong execution times; also where the second changes."""
    wire = Wire(KEY)
    before = datetime.datetime.now(datetime.UTC)
    date = datetime.datetime.fromisoformat(wire.header("status")["date"])
    assert before - datetime.timedelta(seconds=1) < date <= datetime.datetime.now(datetime.UTC)
    for nanoseconds, text in (
        (999_999, "1970-01-01T00:00:00.000999Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999999Z"),
        (1_700_000_001_000_001_000, "2023-11-14T22:13:21.000001Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20.000000Z"),
    ):
        monkeypatch.setattr("time.time_ns", lambda now=nanoseconds: now)
        assert wire.header("status")["date"] == text


def test_message_ids_are_unique_over_threads() -> None:
    """Two messages of one id: a client would take one for the other."""
    wire = Wire(KEY)
    ids: list[str] = []
    gate = threading.Barrier(4)

    def make() -> None:
        gate.wait(10)
        mine = [wire.decode(wire.encode("status", {"n": n}))[1]["header"]["msg_id"] for n in range(500)]
        ids.extend(mine)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(ids)) == len(ids) == 2000


def test_parent_may_be_a_job_a_message_a_header_or_nothing() -> None:
    """An output would lose the cell it belongs to."""
    wire = Wire(KEY)
    ident, message = wire.decode(peer_frames(peer_for()))
    job = Job(msg=message, socket_id=SocketID.shell, ident=ident, received_time=0.0)
    for parent in (job, message, message["header"]):
        assert parent_header(parent) is message["header"]
        _, child = wire.decode(wire.encode("stream", {}, parent=parent))
        assert child["parent_header"] == message["header"]
    for nothing in (None, {}):
        assert wire.decode(wire.encode("stream", {}, parent=nothing))[1]["parent_header"] == {}


def test_header_with_a_datetime_or_a_surrogate_can_be_a_parent() -> None:
    """Replies to a message that went through jupyter_client, or came from a strange client, would be lost."""
    wire, peer = Wire(KEY), peer_for()
    header = {**peer.msg_header("x"), "username": "\udcff"}
    assert isinstance(header["date"], datetime.datetime)
    _, message = peer_reads(peer, wire.encode("stream", {}, parent=header, header=header))
    assert message["parent_header"]["username"] == "\ufffd"
    assert message["header"]["date"] == header["date"]


def test_buffers_are_copied_only_where_they_are_small() -> None:
    """A small array reused right after sending would arrive changed; a large one would cost a copy."""
    small, large = bytearray(100), bytearray(100_000)
    *_, small_frame, large_frame = Wire(KEY).encode("comm_msg", {}, buffers=[small, large])
    small[0] = large[0] = 1
    assert small_frame[0] == 0
    assert large_frame[0] == 1


def test_buffer_that_can_not_be_sent_is_an_error() -> None:
    """The socket's owner thread would meet the error, far from the cell at fault."""
    with pytest.raises(ValueError, match=r"buffers\[1\]: expected a contiguous buffer"):
        Wire(KEY).encode("comm_msg", {}, buffers=[b"", memoryview(b"abcd")[::2]])
    with pytest.raises(TypeError):
        Wire(KEY).encode("comm_msg", {}, buffers=["text"])


def test_what_can_not_be_said_is_named() -> None:
    """The author of a comm message would not learn which field is at fault."""
    with pytest.raises(TypeError, match=r"^content\['a'\]\[0\]: "):
        Wire(KEY).encode("comm_msg", {"a": [object()]})
    with pytest.raises(TypeError, match=r"^metadata\['b'\]: "):
        Wire(KEY).encode("comm_msg", {}, metadata={"b": object()})


def test_key_and_scheme_may_change() -> None:
    """A kernel that loads its connection info late would sign with the wrong key."""
    wire = Wire(b"")
    wire.set_key(KEY, "hmac-sha512")
    assert (wire.key, wire.signature_scheme) == (KEY, "hmac-sha512")
    wire.decode(peer_frames(peer_for(KEY, "hmac-sha512")))
    with pytest.raises(ValueError, match="signature_scheme: expected one of"):
        wire.set_key(KEY, "hmac-none")
    assert wire.signature_scheme == "hmac-sha512"


@pytest.mark.parametrize("name", ["sha256", "hmac-", "hmac-nope", "hmac-shake_128", ""])
def test_unknown_scheme_is_refused(name: str) -> None:
    """A misspelt scheme would show only when every message is dropped."""
    assert not is_signature_scheme(name)
    with pytest.raises(ValueError, match="signature_scheme"):
        Wire(KEY, name)


def test_a_wide_header_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB of numbers in a header would keep every other client waiting for ten seconds."""
    monkeypatch.setattr("async_kernel.protocol.wire._is_deep", pytest.fail)
    wire = Wire(b"k")
    parts = [b'{"msg_id":"1","msg_type":"x","extra":[' + b"0," * 10_000 + b"0]}", b"{}", b"{}", b"{}"]
    _, message = wire.decode([DELIMITER, wire.sign(parts), *parts])
    assert len(dict(message["header"])["extra"]) == 10_001  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("username", ["ann", 'a "quoted" \\ name', "\udcff", "ü"])
@pytest.mark.parametrize("msg_type", ["status", 'a "type"'])
def test_headers_of_messages_are_those_of_header(username: str, msg_type: str) -> None:
    """The header that is put together for speed would say something else, or break the JSON."""
    wire = Wire(KEY, session='the "session"', username=username)
    expected = {
        "msg_type": msg_type,
        "username": username.replace("\udcff", "\ufffd"),
        "session": 'the "session"',
        "version": PROTOCOL_VERSION,
    }
    ids: set[Any] = set()
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    for make in (lambda: wire.decode(wire.encode(msg_type, {}))[1]["header"], lambda: wire.header(msg_type)) * 2:
        header: dict[str, Any] = dict(make())
        ids.add(header.pop("msg_id"))
        assert before < datetime.datetime.fromisoformat(header.pop("date")) <= datetime.datetime.now(datetime.UTC)
        assert header == expected
    assert ids == {f'the "session"_{os.getpid()}_{number}' for number in range(4)}


def test_a_name_that_changes() -> None:
    """Messages would go out under the former name for ever."""
    wire = Wire(KEY, username="ann")
    wire.encode("status", {})
    wire.username, wire.session = "bob", "another"
    header = wire.decode(wire.encode("status", {}))[1]["header"]
    assert (header["username"], header["session"], header["msg_id"][:8]) == ("bob", "another", "another_")


def test_types_without_end_are_not_kept() -> None:
    """A program that makes up message types would fill the memory."""
    wire = Wire(KEY)
    wire.encode("status", {})
    tracemalloc.start()
    try:
        for number in range(3000):
            wire.encode(f"type_{number}", {})
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 200_000  # each takes some 500 bytes
    finally:
        tracemalloc.stop()


def test_json_that_is_there_already_is_sent_as_it_is() -> None:
    """What is the same in every message would be made anew each time."""
    wire = Wire(KEY)
    _, message = wire.decode(wire.encode("status", b'{"state":"busy"}', metadata=b'{"n":1}'))
    assert (message["content"], message["metadata"]) == ({"state": "busy"}, {"n": 1})
