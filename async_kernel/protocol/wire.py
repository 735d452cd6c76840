"""Frames ↔ messages: signing, verifying, replay detection, JSON.

Source: Jupyter messaging specification, "The Wire Protocol". A `Wire` may be used by any thread.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
import time
from collections import Counter
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from async_kernel.errors import WireError
from async_kernel.protocol.jsonable import pack, pack_finite, shown, unpack
from async_kernel.protocol.messages import PROTOCOL_VERSION
from async_kernel.typing import Content, Message, MsgHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DELIMITER", "Frame", "Wire", "is_signature_scheme", "new_id", "parent_header"]

Frame: TypeAlias = bytes | bytearray | memoryview
"""One frame of a message."""

DELIMITER: Final = b"<IDS|MSG>"
"""The frame between the identities and the signature."""

COPY_BELOW: Final = 65536
"""A buffer of fewer bytes is copied when it is encoded, so that its owner may reuse it at once."""

_SCHEMES: Final = frozenset(f"hmac-{name}" for name in hashlib.algorithms_guaranteed if not name.startswith("shake"))


def is_signature_scheme(name: str) -> bool:
    """Whether `name` is ``hmac-<hash>`` with a hash that every Python has."""
    return name in _SCHEMES


def new_id() -> str:
    """A random id: 16 bytes as hexadecimal text."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:]}"


def parent_header(parent: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The header in `parent`, which is a job, a message, a header, or empty."""
    if not parent:
        return {}
    if "msg_id" in parent and "header" not in parent:
        return parent
    return parent["msg"]["header"] if "msg" in parent else parent["header"]


def _signer(key: bytes, scheme: str) -> Callable[[Sequence[Frame]], bytes]:
    """HMAC (RFC 2104) with both key blocks hashed once: half the time of copying an `hmac.HMAC`."""
    if not is_signature_scheme(scheme):
        raise ValueError(f"signature_scheme: expected one of {', '.join(sorted(_SCHEMES))}, got {scheme!r}")
    if not key:
        return lambda parts: b""
    name = scheme.removeprefix("hmac-")
    size = hashlib.new(name).block_size
    block = (hashlib.new(name, key).digest() if len(key) > size else key).ljust(size, b"\0")
    inner = hashlib.new(name, bytes(byte ^ 0x36 for byte in block))
    outer = hashlib.new(name, bytes(byte ^ 0x5C for byte in block))

    def sign(parts: Sequence[Frame]) -> bytes:
        try:
            inside, outside = inner.copy(), outer.copy()
        except ValueError as error:  # OpenSSL has no other word for it.
            raise MemoryError("no memory to sign a message") from error
        if len(parts[-1]) < COPY_BELOW:
            inside.update(b"".join(parts))  # Each update costs more than the bytes of a small message.
        else:
            for part in parts:
                inside.update(part)
        outside.update(inside.digest())
        return outside.hexdigest().encode()

    return sign


class Wire:
    """Encodes and decodes the messages of one kernel.

    Args:
        key: What messages are signed with. Empty: they are neither signed nor verified.
        signature_scheme: ``hmac-sha256``, ``hmac-sha512``, ``hmac-md5`` or another hash of `hashlib`.
        session: The id in the headers of our messages; random by default.
        username: The name in the headers of our messages; by default the name of the user.
        digest_history: How many signatures, at least, are remembered to detect a replay.
        check_replay: Whether a message that was decoded before is refused.

    Raises:
        ValueError: `signature_scheme` is unknown.
    """

    def __init__(
        self,
        key: bytes,
        signature_scheme: str = "hmac-sha256",
        *,
        session: str | None = None,
        username: str | None = None,
        digest_history: int = 65536,
        check_replay: bool = True,
    ) -> None:
        self.session: str = new_id() if session is None else session
        self.username: str = os.environ.get("USER", "username") if username is None else username
        self.refused: Counter[str] = Counter()
        "How many messages were refused, by the reason of `WireError`."
        self.digest_history: int = digest_history
        self.check_replay: bool = check_replay
        self._digests: set[bytes] = set()
        self._older_digests: set[bytes] = set()
        self._count = itertools.count()
        self._second: tuple[int, str] = (-1, "")
        self._heads: tuple[str, str, dict[str, tuple[str, str]]] = ("", "", {})
        "A session, a username and, by type, the JSON of their headers: before and after the numbers of the id."
        self._key: bytes = bytes(key)
        self._scheme: str = signature_scheme
        self._sign = _signer(self._key, signature_scheme)

    @property
    def key(self) -> bytes:
        """What messages are signed with; empty: they are not."""
        return self._key

    @property
    def signature_scheme(self) -> str:
        """``hmac-<hash>``."""
        return self._scheme

    def set_key(self, key: bytes, signature_scheme: str | None = None) -> None:
        """Sign and verify from now on with `key`.

        Raises:
            ValueError: `signature_scheme` is unknown.
        """
        scheme = self._scheme if signature_scheme is None else signature_scheme
        self._sign = _signer(bytes(key), scheme)
        self._key, self._scheme = bytes(key), scheme

    @property
    def digests(self) -> set[bytes]:
        """The signatures remembered to detect a replay."""
        return self._digests | self._older_digests

    def clone(self) -> Wire:
        """A wire of the same id and key that from now on remembers signatures of its own."""
        clone = copy.copy(self)
        clone._digests, clone._older_digests, clone.refused = self.digests, set(), Counter()
        return clone

    def sign(self, parts: Sequence[Frame]) -> bytes:
        """The signature of header, parent header, metadata and content; empty without a key."""
        return self._sign(parts)

    def header(self, msg_type: str) -> MsgHeader:
        """A header for a new message of ours."""
        return unpack(self._new_header(msg_type))

    def verify(self, body: Sequence[Frame], *, remember: bool = True) -> None:
        """Check number and signature of the frames after the delimiter, and that they were not seen before.

        Raises:
            WireError: They can't be trusted.
        """
        if len(body) < 5:
            raise self._refuse("frames", f"expected at least 5 frames after the delimiter, got {len(body)}")
        if not self._key:
            return
        signature = bytes(body[0])
        if not compare_digest(signature, self._sign(body[1:5])):
            raise self._refuse(
                "signature", "the signature does not match" if signature else "the message is not signed"
            )
        if not (self.check_replay and self.digest_history):
            return
        if signature in self._digests or signature in self._older_digests:
            raise self._refuse("replay", "a message with this signature came before")
        if remember:
            self._digests.add(signature)
            if len(self._digests) >= self.digest_history:
                self._older_digests, self._digests = self._digests, set()

    def decode(self, frames: Sequence[Frame]) -> tuple[list[bytes], Message[Any]]:
        """The identities and the message in `frames`.

        Returns:
            The identities, and the message; its buffers are memoryviews, and its content is whatever the JSON says:
            `async_kernel.protocol.content.parse` checks it.

        Raises:
            WireError: The frames can't be trusted or read. It is counted in `refused`.
        """
        try:
            at = frames.index(DELIMITER)
        except ValueError:
            raise self._refuse("frames", f"no delimiter in {len(frames)} frames") from None
        body = frames[at + 1 :]
        self.verify(body)
        header: Any = self._object("header", body[1])
        for field in ("msg_id", "msg_type"):
            if not isinstance(header.get(field), str):
                raise self._refuse("json", f"header: {field}: expected a string, got {shown(header.get(field))}")
        if len(body[1]) > _LONG and _has_brackets(body[1]) and _is_deep(header):
            raise self._refuse("json", f"header: nested more than {_DEPTH} levels deep")
        message: Message[Any] = {
            "header": header,
            "parent_header": self._object("parent header", body[2]),
            "metadata": self._object("metadata", body[3]),
            "content": self._json("content", body[4]),
            "buffers": [memoryview(buffer) for buffer in body[5:]],
        }
        return [bytes(ident) for ident in frames[:at]], message

    def encode(
        self,
        msg_type: str,
        content: Content | bytes | None,
        *,
        parent: Mapping[str, Any] | None = None,
        ident: bytes | Sequence[bytes] | None = None,
        metadata: Content | bytes | None = None,
        buffers: Sequence[Any] | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> list[Frame]:
        """The frames of a message, signed.

        Args:
            msg_type: The type, for a new header.
            content: The content; None is an empty one, and bytes are the JSON of one.
            parent: The job, message or header that this one answers.
            ident: Where to: the identity frames of the requester, or the topic of a broadcast.
            metadata: The metadata, likewise.
            buffers: Contiguous buffers, sent as they are. Large ones are not copied: leave them alone until then.
            header: A header that is there already.

        Raises:
            TypeError: JSON can't say the content, or a buffer is none; the message names the path to the object.
            ValueError: A buffer is not contiguous.
        """
        parts: list[Frame] = [
            self._new_header(msg_type) if header is None else pack_finite(header, "header"),
            pack_finite(parent_header(parent), "header") if parent else b"{}",
            metadata if type(metadata) is bytes else pack(metadata, "metadata") if metadata else b"{}",
            content if type(content) is bytes else pack(content, "content") if content else b"{}",
        ]
        frames: list[Frame] = [] if ident is None else [ident] if isinstance(ident, bytes) else [*ident]
        frames += (DELIMITER, self._sign(parts), *parts)
        if buffers:
            frames += [_buffer(number, buffer) for number, buffer in enumerate(buffers)]
        return frames

    def _new_header(self, msg_type: str) -> bytes:
        """The JSON of `header`, of which only the id and the date are made anew."""
        session, username, heads = self._heads
        if session is not self.session or username is not self.username or len(heads) >= _MOST_HEADS:
            self._heads = session, username, heads = self.session, self.username, {}
        if (head := heads.get(msg_type)) is None:
            fields = {"msg_type": msg_type, "username": username, "session": session, "version": PROTOCOL_VERSION}
            before, after = pack({"msg_id": f"{session}_"}).decode()[:-2], pack(fields).decode()[1:-1]
            head = heads[msg_type] = before, f'",{after},"date":"'
        before, after = head
        return f'{before}{os.getpid()}_{next(self._count)}{after}{self._date()}"}}'.encode()

    def _date(self) -> str:
        """The time now as ISO 8601 in UTC with microseconds."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        at, text = self._second
        if at != seconds:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            # The pair is replaced whole: another thread sees the old one or the new one.
            self._second = (seconds, text)
        return f"{text}.{nanoseconds // 1000:06d}Z"

    def _object(self, name: str, frame: Frame) -> Any:
        if frame == b"{}":
            return {}
        value = self._json(name, frame)
        kind = type(value)
        if kind is not dict:
            raise self._refuse("json", f"{name}: expected an object, got {shown(value)}")
        return value

    def _json(self, name: str, frame: Frame) -> Any:
        try:
            return unpack(frame)
        except ValueError as error:
            raise self._refuse("json", f"{name}: {error}") from None

    def _refuse(self, reason: str, message: str) -> WireError:
        self.refused[reason] += 1
        return WireError(reason, message)


_MOST_HEADS: Final = 100
"Types whose headers are kept; the protocol has fewer."

_LONG: Final = 500
"Bytes of a header above which it is looked for depth; those of Jupyter's clients have 200."

_DEPTH: Final = 100
"Levels of a header. All that answers a request repeats its header: what can just be read could not be said again."


def _has_brackets(frame: Frame) -> bool:
    """Whether there are enough for so many levels; to look through a huge flat list would take seconds."""
    text = bytes(frame)
    return text.count(b"[") + text.count(b"{") > _DEPTH


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        children = (child for each in level for child in (each.values() if isinstance(each, dict) else each))
        level = [child for child in children if isinstance(child, dict | list)]
    return bool(level)


def _buffer(number: int, buffer: Any) -> Frame:
    if type(buffer) is bytes:
        return buffer
    view = memoryview(buffer)
    if not view.contiguous:
        raise ValueError(f"buffers[{number}]: expected a contiguous buffer")
    return bytes(view) if view.nbytes < COPY_BELOW else view
