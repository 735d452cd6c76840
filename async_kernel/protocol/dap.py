"""The Debug Adapter Protocol's base protocol: bytes ↔ messages, without I/O.

A message is a header (`Content-Length: <bytes>` and fields that nobody needs, each line ending in CRLF), an empty line,
and so many bytes of JSON (https://microsoft.github.io/debug-adapter-protocol/overview#base-protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from async_kernel.errors import AsyncKernelError
from async_kernel.protocol.jsonable import pack, unpack

__all__ = ["MAX_BODY", "MAX_HEADER", "DapError", "DapParser", "encode", "failure", "success"]

MAX_HEADER: Final = 8192
"Bytes that a header may have."
MAX_BODY: Final = 1 << 28
"Bytes that a message may have: a wrong length would make us wait for ever."
LENGTH: Final = b"content-length"
END: Final = b"\r\n\r\n"
TYPES: Final = ("request", "response", "event")
NEEDED: Final[Mapping[str, tuple[str, type]]] = {
    "request": ("command", str),
    "response": ("request_seq", int),
    "event": ("event", str),
}
"What a message of each type is recognised by."


class DapError(AsyncKernelError):
    """What came is not the Debug Adapter Protocol; after it nothing more can be read from that stream."""


class DapParser:
    """Reads a stream of messages, however it is cut into pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._length: int | None = None
        self._broken: DapError | None = None

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete with `data`.

        Raises:
            DapError: What came is malformed; messages before it in the same `data` are lost with it.
        """
        if self._broken is not None:
            raise self._broken
        self._data += data
        messages: list[dict[str, Any]] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except DapError as error:
            self._broken = error
            raise
        return messages

    def close(self) -> None:
        """The stream has ended.

        Raises:
            DapError: It has ended within a message.
        """
        if self._broken is None and (self._data or self._length is not None):
            raise DapError(f"the stream ended within a message: {len(self._data)} bytes are left over")

    def _next(self) -> dict[str, Any] | None:
        if self._length is None:
            end = self._data.find(END)
            if (len(self._data) if end < 0 else end) > MAX_HEADER:
                raise DapError(f"expected a header of at most {MAX_HEADER} bytes, got {_shown(self._data)}")
            if end < 0:
                return None
            self._length = content_length(bytes(self._data[:end]))
            del self._data[: end + len(END)]
        if len(self._data) < self._length:
            return None
        body = bytes(self._data[: self._length])
        del self._data[: self._length]
        self._length = None
        return decode(body)


def content_length(header: bytes) -> int:
    """The number of bytes that a header announces.

    Raises:
        DapError: It says no such number, or more than one.
    """
    found: list[bytes] = []
    for line in header.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise DapError(f"expected header fields as `Name: value`, got {_shown(line)}")
        if name.strip().lower() == LENGTH:
            found.append(value.strip())
    if len(found) != 1 or not found[0].isdigit():
        raise DapError(f"expected one Content-Length with a number of bytes, got {_shown(header)}")
    if len(found[0]) > 12 or int(found[0]) > MAX_BODY:
        raise DapError(f"Content-Length: expected at most {MAX_BODY} bytes, got {_shown(found[0])}")
    return int(found[0])


def decode(body: bytes) -> dict[str, Any]:
    """One message.

    Raises:
        DapError: It is not JSON, or lacks what a message of its type has.
    """
    try:
        message = unpack(body)
    except ValueError as error:
        raise DapError(f"expected a message as JSON, got {_shown(body)}: {error}") from error
    if not isinstance(message, dict):
        raise DapError(f"expected a JSON object, got {_shown(body)}")
    kind = message.get("type")
    if kind not in TYPES:
        raise DapError(f"type: expected {', '.join(TYPES)}, got {kind!r}")
    name, expected = NEEDED[kind]
    value = message.get(name)
    if not isinstance(value, expected) or isinstance(value, bool):
        raise DapError(f"{kind}.{name}: expected {expected.__name__}, got {value!r:.100}")
    return message


def encode(message: Mapping[str, Any]) -> bytes:
    """The bytes of one message.

    Raises:
        TypeError: JSON can't say it.
    """
    body = pack(message, "message")
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def success(request: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The response to `request` that says it was done."""
    return {**_response(request), "success": True, "body": {} if body is None else dict(body)}


def failure(request: Mapping[str, Any], message: str) -> dict[str, Any]:
    """The response to `request` that says why it was not done."""
    return {
        **_response(request),
        "success": False,
        "message": message,
        "body": {"error": {"id": 1, "format": "{reason}", "variables": {"reason": message}, "showUser": True}},
    }


def _response(request: Mapping[str, Any]) -> dict[str, Any]:
    seq = request.get("seq", 0)
    return {"seq": seq, "type": "response", "request_seq": seq, "command": request.get("command", "")}


def _shown(data: bytes | bytearray) -> str:
    text = repr(bytes(data[:60]))
    return text if len(data) <= 60 else f"{text} and {len(data) - 60} bytes more"
