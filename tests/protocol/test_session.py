"""The face of jupyter_client's Session: what libraries do with ``kernel.session`` works."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from jupyter_client.session import Session as Peer
from jupyter_client.session import json_packer, json_unpacker

from async_kernel.protocol.session import Session
from async_kernel.protocol.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"secret"
CONTENT = {"a": [1, None, "é"]}


@pytest.fixture
def ours() -> Session:
    return Session(key=KEY, session="our-session", username="ann")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Peer(key=KEY, pack=json_packer, unpack=json_unpacker)


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Two connected sockets."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        for socket in (left, right):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, 10_000)
        left.bind("inproc://pair")
        right.connect("inproc://pair")
        yield left, right


def test_has_the_members_that_libraries_use(ours: Session, peer: Peer) -> None:
    """A library that works with ipykernel would fail with an AttributeError."""
    names = """send recv msg msg_header serialize deserialize feed_identities sign key signature_scheme session username
    bsession clone digest_history digest_history_size pack unpack metadata msg_id check_pid copy_threshold pid"""
    assert [name for name in names.split() if not (hasattr(ours, name) and hasattr(peer, name))] == []


def test_message_has_the_peers_shape(ours: Session, peer: Peer) -> None:
    """Code that builds messages by hand would miss a field."""
    parent = peer.msg("execute_request")
    mine = ours.msg("stream", CONTENT, parent=parent, metadata={"m": 1})
    theirs = peer.msg("stream", CONTENT, parent=parent, metadata={"m": 1})
    assert mine.keys() == theirs.keys()
    assert mine["header"].keys() == theirs["header"].keys()
    assert mine["header"]["version"]
    for field in ("msg_type", "parent_header", "content", "metadata"):
        assert mine[field] == theirs[field]
    assert mine["header"]["session"] == "our-session"
    assert mine["header"]["username"] == "ann"
    header = ours.msg_header("x")
    assert ours.msg("ignored", header=header)["msg_type"] == "x"


def test_serialize_and_deserialize_meet_the_peers(ours: Session, peer: Peer) -> None:
    """What one end packs by hand the other could not unpack."""
    parent = peer.msg("execute_request")
    msg = ours.msg("stream", CONTENT, parent=parent)
    idents, body = peer.feed_identities(ours.serialize(msg, b"topic"))
    got = peer.deserialize(body)
    assert idents == [b"topic"]
    assert got["content"] == CONTENT
    assert got["parent_header"]["msg_id"] == parent["msg_id"]

    idents, body = ours.feed_identities(peer.serialize(parent, [b"a", b"b"]))
    mine = ours.deserialize(body)
    assert idents == [b"a", b"b"]
    assert mine["header"] == parent["header"]
    assert isinstance(mine["header"]["date"], datetime.datetime)
    assert mine["msg_id"] == parent["msg_id"]
    assert mine["msg_type"] == "execute_request"


@pytest.mark.parametrize("content", [{"x": 1}, b'{"x":1}', '{"x":1}', None])
def test_packed_content_is_relayed(ours: Session, peer: Peer, content: Any) -> None:
    """A proxy that relays packed content would have it packed twice."""
    frames = ours.serialize({**ours.msg("x"), "content": content})
    assert peer.deserialize(peer.feed_identities(frames)[1])["content"] == ({"x": 1} if content else {})
    with pytest.raises(TypeError, match="content: expected a dict, got int"):
        ours.serialize({**ours.msg("x"), "content": 3})


def test_send_and_recv_over_sockets(ours: Session, peer: Peer, pair: tuple[Any, Any]) -> None:
    """A library could not send on its own socket."""
    left, right = pair
    big = bytes(100_000)
    sent = ours.send(left, "comm_msg", CONTENT, ident=b"id", buffers=[b"x", big], metadata={"m": 1})
    assert sent is not None
    idents, got = peer.recv(right, mode=0)
    assert idents == [b"id"]
    assert got is not None
    assert got["content"] == CONTENT
    assert got["msg_id"] == sent["msg_id"]
    assert [bytes(buffer) for buffer in got["buffers"]] == [b"x", big]

    peer.send(right, "comm_msg", CONTENT, buffers=[b"y"])
    left.poll(10_000)
    idents, mine = ours.recv(left)
    assert idents == []
    assert mine is not None
    assert mine["content"] == CONTENT
    assert [bytes(buffer) for buffer in mine["buffers"]] == [b"y"]
    assert ours.recv(left) == (None, None)


def test_recv_without_copy_and_tracked_send(ours: Session, pair: tuple[Any, Any]) -> None:
    """Senders of large arrays would be told too early, or never, that their memory is free."""
    left, right = pair
    sent = ours.send(left, ours.msg("x", CONTENT), buffers=[bytes(100_000)], ident=[b"i"], track=True)
    assert sent is not None
    idents, got = ours.recv(right, mode=0, copy=False)
    assert idents == [b"i"]
    assert got is not None
    assert got["content"] == CONTENT
    assert got["buffers"][0].nbytes == 100_000
    del got
    sent["tracker"].wait(10)


def test_recv_raises_what_is_not_an_empty_socket(ours: Session, pair: tuple[Any, Any]) -> None:
    """A closed socket would look like an empty one for ever."""
    left, _ = pair
    left.close()
    with pytest.raises(zmq.ZMQError):
        ours.recv(left)


def test_send_takes_a_callable(ours: Session, peer: Peer) -> None:
    """Messages to an outbox instead of a socket would need a fake socket."""
    sent: list[Any] = []
    ours.send(sent.extend, "stream", CONTENT, buffers=[b"", b"x"])
    assert peer.deserialize(peer.feed_identities(sent)[1])["content"] == CONTENT
    with pytest.raises(ValueError, match=r"buffers\[0\]"):
        ours.send(sent.extend, "stream", buffers=[memoryview(b"abcd")[::2]])


def test_fork_does_not_send(ours: Session, caplog: pytest.LogCaptureFixture) -> None:
    """A forked process would write into its parent's sockets."""
    sent: list[Any] = []
    ours.pid += 1
    assert ours.send(sent.extend, "stream", CONTENT) is None
    assert not sent
    assert "fork" in caplog.text
    ours.check_pid = False
    assert ours.send(sent.extend, "stream", CONTENT)


def test_untrusted_messages_raise_as_the_peers_do(ours: Session, peer: Peer) -> None:
    """A library that catches ValueError would not catch a forged message."""
    frames = peer.serialize(peer.msg("x", CONTENT))
    body = ours.feed_identities(frames)[1]
    assert ours.deserialize(body, content=False)["content"] == body[4]
    assert ours.deserialize(body)["content"] == CONTENT
    with pytest.raises(ValueError, match="came before"):
        ours.deserialize(body)
    with pytest.raises(ValueError, match="does not match"):
        ours.deserialize([b"no", *body[1:]])
    with pytest.raises(ValueError):
        ours.deserialize(body[:3])
    with pytest.raises(ValueError):
        ours.feed_identities([b"a", b"b"])


def test_clone_shares_the_key_and_remembers_for_itself(ours: Session, peer: Peer) -> None:
    """Two connections to one kernel would refuse each other's messages as replays."""
    old, new = (ours.feed_identities(peer.serialize(peer.msg("x")))[1] for _ in range(2))
    ours.deserialize(old)
    clone = ours.clone()
    assert (clone.key, clone.session, clone.signature_scheme) == (KEY, "our-session", "hmac-sha256")
    assert clone.digest_history == ours.digest_history
    with pytest.raises(ValueError, match="came before"):
        clone.deserialize(old)
    clone.deserialize(new)
    ours.deserialize(new)


def test_attributes_may_be_set(ours: Session) -> None:
    """A kernel could not take over the key and session of its connection file."""
    ours.key = "text"  # pyright: ignore[reportAttributeAccessIssue]
    assert ours.key == b"text"
    ours.signature_scheme = "hmac-md5"
    assert len(ours.sign([b"x"])) == 32
    ours.session, ours.username = "s2", "bob"
    assert ours.bsession == b"s2"
    assert ours.msg_header("x")["username"] == "bob"
    assert ours.msg_id.startswith("s2_")
    assert ours.msg_id != ours.msg_id


def test_stands_on_the_kernels_wire() -> None:
    """Replay detection and message ids of session and kernel would drift apart."""
    wire = Wire(KEY)
    session = Session(wire)
    assert session.session == wire.session
    assert session.sign([b"x"]) == wire.sign([b"x"])
    assert Session().key != Session().key
    assert session.digest_history_size == 65536


def test_strange_date_stays_text(ours: Session) -> None:
    """A client with dates of its own would be refused."""
    wire = ours.wire
    frames = wire.encode("x", {}, header={"msg_id": "1", "msg_type": "x", "date": "soon"}, parent={"msg_id": "2"})
    got = ours.deserialize(ours.feed_identities(frames)[1])
    assert got["header"]["date"] == "soon"
    assert "date" not in got["parent_header"]
