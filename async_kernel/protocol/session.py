"""The face of `jupyter_client.session.Session` that libraries call on ``kernel.session``, over a `Wire`."""

from __future__ import annotations

import copy
import datetime
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from async_kernel.errors import WireError
from async_kernel.protocol.jsonable import pack, unpack
from async_kernel.protocol.wire import DELIMITER, Wire, new_id, parent_header

__all__ = ["Session"]

log = logging.getLogger(__name__)

COPY_BELOW: Final = 65536
"""Messages without a frame of so many bytes are copied when they are sent: cheaper than to keep track of them."""


class _OfWire:
    """An attribute that is the wire's of that name."""

    def __set_name__(self, owner: type[Session], name: str) -> None:
        self.name: str = name

    def __get__(self, session: Session, owner: type[Session]) -> str:
        return getattr(session.wire, self.name)

    def __set__(self, session: Session, value: str) -> None:
        setattr(session.wire, self.name, value)


class Session:
    """Builds, signs, sends and receives messages, as `jupyter_client.session.Session` does.

    Args:
        wire: What encodes and decodes; without it, one is made of the other arguments.
        key: What messages are signed with; empty: not at all.
        signature_scheme: ``hmac-<hash>``.
        session: The id of this session; random by default.
        username: The name in the headers; by default the name of the user.

    Raises:
        ValueError: `signature_scheme` is unknown.
    """

    session = _OfWire()
    "The id of this session."
    username = _OfWire()
    "The name in the headers."
    check_pid: bool = True
    "Whether a message from a forked process is dropped with a warning."
    copy_threshold: int = COPY_BELOW

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        key: bytes | None = None,
        signature_scheme: str = "hmac-sha256",
        session: str | None = None,
        username: str | None = None,
    ) -> None:
        if wire is None:
            key = new_id().encode() if key is None else key
            wire = Wire(key, signature_scheme, session=session, username=username)
        self.wire: Wire = wire
        self.metadata: dict[str, Any] = {}
        "The metadata that every message has."
        self.pack: Callable[[Any], bytes] = pack
        self.unpack: Callable[[Any], Any] = unpack
        self.pid: int = os.getpid()

    @property
    def key(self) -> bytes:
        """What messages are signed with; empty: not at all."""
        return self.wire.key

    @key.setter
    def key(self, key: bytes | str) -> None:
        self.wire.set_key(key.encode() if isinstance(key, str) else key)

    @property
    def signature_scheme(self) -> str:
        """``hmac-<hash>``."""
        return self.wire.signature_scheme

    @signature_scheme.setter
    def signature_scheme(self, scheme: str) -> None:
        self.wire.set_key(self.wire.key, scheme)

    @property
    def bsession(self) -> bytes:
        """The id of this session as bytes."""
        return self.wire.session.encode()

    @property
    def digest_history(self) -> set[bytes]:
        """The signatures seen lately: a message with one of them is refused."""
        return self.wire.digests

    @property
    def digest_history_size(self) -> int:
        """How many signatures, at least, are remembered."""
        return self.wire.digest_history

    @property
    def msg_id(self) -> str:
        """A new message id."""
        return self.wire.header("")["msg_id"]

    def clone(self) -> Session:
        """A session of the same id and key that from now on remembers signatures of its own."""
        clone = copy.copy(self)
        clone.wire, clone.metadata = self.wire.clone(), dict(self.metadata)
        return clone

    def msg_header(self, msg_type: str) -> dict[str, Any]:
        """A header for a new message."""
        return dict(self.wire.header(msg_type))

    def msg(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A new message as nested dicts, with `msg_id` and `msg_type` on top as well."""
        header = self.msg_header(msg_type) if header is None else header
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": dict(parent_header(parent)),
            "content": {} if content is None else content,
            "metadata": {**self.metadata, **(metadata or {})},
        }

    def sign(self, msg_list: Sequence[Any]) -> bytes:
        """The signature of header, parent header, metadata and content, packed; empty without a key."""
        return self.wire.sign(msg_list)

    def serialize(self, msg: Mapping[str, Any], ident: bytes | Sequence[bytes] | None = None) -> list[Any]:
        """The frames of `msg` without its buffers: identities, delimiter, signature, header, parent, metadata, content.

        Raises:
            TypeError: JSON can't say the message, or its content is neither a dict nor packed.
        """
        content: Any = msg.get("content")
        if content is None:
            content = {}
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            if not isinstance(content, Mapping):
                raise TypeError(f"content: expected a dict, got {type(content).__qualname__}")
            content = self.pack(content)
        parts = [*(self.pack(msg[name]) for name in ("header", "parent_header", "metadata")), content]
        idents = [] if ident is None else [ident] if isinstance(ident, bytes) else [*ident]
        return [*idents, DELIMITER, self.wire.sign(parts), *parts]

    def send(
        self,
        stream: Any,
        msg_or_type: Mapping[str, Any] | str,
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        ident: bytes | Sequence[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
        track: bool = False,
        header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Send a message, or a new one of a type.

        Args:
            stream: A socket or stream with `send_multipart`, or a callable that takes the frames.
            msg_or_type: A message, or the type of a new one; of a message the arguments up to `metadata` are ignored.
            content: The content.
            parent: The message, or its header, that this one answers.
            ident: The identity frames of the receiver.
            buffers: Contiguous buffers.
            track: Put a `zmq.MessageTracker` into the message's ``"tracker"`` (sockets only).
            header: A header that is there already.
            metadata: The metadata.

        Returns:
            The message; None where it was not sent because this is a fork of the process that made the session.

        Raises:
            TypeError: A buffer is none, or JSON can't say the message.
            ValueError: A buffer is not contiguous.
        """
        if isinstance(msg_or_type, str):
            msg = self.msg(msg_or_type, content=content, parent=parent, header=header, metadata=metadata)
        else:
            msg = cast("dict[str, Any]", msg_or_type)
            buffers = buffers or msg.get("buffers")
        if self.check_pid and os.getpid() != self.pid:
            log.warning("a message was not sent: it comes from a fork of the kernel (%s)", msg["header"]["msg_type"])
            return None
        views = [memoryview(buffer) for buffer in buffers or ()]
        for number, view in enumerate(views):
            if not view.contiguous:
                raise ValueError(f"buffers[{number}]: expected a contiguous buffer")
        frames = [*self.serialize(msg, ident), *(view if view.nbytes else b"" for view in views)]
        msg["tracker"] = self._send_frames(stream, frames, track)
        return msg

    def _send_frames(self, stream: Any, frames: list[Any], track: bool) -> Any:
        if not hasattr(stream, "send_multipart"):
            stream(frames)
            return None
        longest = max(len(frame) if isinstance(frame, bytes) else frame.nbytes for frame in frames)
        if track and longest >= self.copy_threshold:
            return stream.send_multipart(frames, copy=False, track=True)
        stream.send_multipart(frames, copy=longest < self.copy_threshold)
        return None

    def recv(
        self, socket: Any, mode: int = 1, content: bool = True, copy: bool = True
    ) -> tuple[list[bytes] | None, dict[str, Any] | None]:
        """The identities and the next message of `socket`; None and None where there is none.

        Args:
            socket: A socket with `recv_multipart`.
            mode: The flags of `recv_multipart`; 1 is `zmq.NOBLOCK`.
            content: Whether to unpack the content.
            copy: False for frames that are `zmq.Frame`.

        Raises:
            ValueError: The message can't be trusted or read.
        """
        try:
            frames = socket.recv_multipart(mode, copy=copy)
        except Exception as error:
            # zmq.Again; this room does not know zmq.
            if getattr(error, "errno", None) != errno.EAGAIN:
                raise
            return None, None
        idents, body = self.feed_identities(frames, copy)
        return idents, self.deserialize(body, content=content, copy=copy)

    def feed_identities(self, msg_list: Sequence[Any], copy: bool = True) -> tuple[list[bytes], list[Any]]:
        """The identities in front of the delimiter, and the frames behind it.

        Raises:
            ValueError: There is no delimiter.
        """
        at = [*(msg_list if copy else (frame.bytes for frame in msg_list))].index(DELIMITER)
        idents = [bytes(frame if copy else frame.bytes) for frame in msg_list[:at]]
        return idents, [*msg_list[at + 1 :]]

    def deserialize(self, msg_list: Sequence[Any], content: bool = True, copy: bool = True) -> dict[str, Any]:
        """The message in the frames behind the delimiter.

        Args:
            msg_list: Signature, header, parent header, metadata, content and buffers.
            content: False only looks: the content stays packed, and the message is not remembered as seen.
            copy: False for frames that are `zmq.Frame`.

        Raises:
            ValueError: The frames can't be trusted or read.
        """
        body: list[Any] = [frame if copy else frame.buffer for frame in msg_list]
        try:
            self.wire.verify(body, remember=content)
        except WireError as error:
            raise ValueError(str(error)) from error
        header = _with_date(self.unpack(body[1]))
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": _with_date(self.unpack(body[2])),
            "metadata": self.unpack(body[3]),
            "content": self.unpack(body[4]) if content else body[4],
            "buffers": [memoryview(buffer) for buffer in body[5:]],
        }


def _with_date(header: dict[str, Any]) -> dict[str, Any]:
    """`header` with its date as a datetime, as `jupyter_client` has it; a date that is none stays text."""
    try:
        header["date"] = datetime.datetime.fromisoformat(header["date"])
    except (KeyError, TypeError, ValueError):
        return header
    return header
