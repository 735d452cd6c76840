"""The Debug Adapter Protocol's base protocol: bytes ↔ messages, without I/O.

A message is a header (`Content-Length: <bytes>` and fields that nobody needs, each line ending in CRLF), an empty line,
and so many bytes of JSON (https://microsoft.github.io/debug-adapter-protocol/overview#base-protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from async_kernel.errors import AsyncKernelError, ClientError
from async_kernel.protocol.jsonable import pack, shown, unpack

__all__ = ["MAX_BODY", "MAX_HEADER", "DapError", "DapParser", "check", "encode", "failure", "need", "success"]

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


THREAD: Final = ("threadId",)
REQUESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "attach": (),
    "completions": ("text", "column"),
    "configurationDone": (),
    "continue": THREAD,
    "copyToGlobals": ("srcVariableName", "dstVariableName", "srcFrameId"),
    "debugInfo": (),
    "disconnect": (),
    "dumpCell": ("code",),
    "evaluate": ("expression",),
    "exceptionInfo": THREAD,
    "goto": ("threadId", "targetId"),
    "gotoTargets": ("source", "line"),
    "initialize": (),
    "inspectVariables": (),
    "modules": (),
    "next": THREAD,
    "pause": THREAD,
    "richInspectVariables": ("variableName",),
    "scopes": ("frameId",),
    "setBreakpoints": ("source",),
    "setDebuggerProperty": (),
    "setExceptionBreakpoints": ("filters",),
    "setExpression": ("expression", "value"),
    "setFunctionBreakpoints": ("breakpoints",),
    "setVariable": ("variablesReference", "name", "value"),
    "source": ("source",),
    "stackTrace": THREAD,
    "stepIn": THREAD,
    "stepInTargets": ("frameId",),
    "stepOut": THREAD,
    "terminate": (),
    "threads": (),
    "variables": ("variablesReference",),
}
"The requests that are served, Jupyter's own included, each with the arguments that it needs."
WORDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    dict: "an object",
    int: "an integer",
    list: "a list",
    str: "a string",
}
FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("column", "count", "endColumn", "endLine", "frameId", "levels", "line", "moduleCount"), int),
    **dict.fromkeys(("sourceReference", "srcFrameId", "start", "startFrame", "startModule", "targetId"), int),
    **dict.fromkeys(("threadId", "variablesReference"), int),
    **dict.fromkeys(("adapterID", "clientID", "clientName", "code", "condition", "context", "dstVariableName"), str),
    **dict.fromkeys(("expression", "filter", "filterId", "granularity", "hitCondition", "locale", "logMessage"), str),
    **dict.fromkeys(("name", "path", "pathFormat", "srcVariableName", "text", "value", "variableName"), str),
    **dict.fromkeys(("justMyCode", "linesStartAt1", "columnsStartAt1", "singleThread", "sourceModified"), bool),
    **dict.fromkeys(("format", "source"), dict),
    **dict.fromkeys(("breakpoints", "exceptionOptions", "filterOptions", "filters", "lines", "pathMappings"), list),
    **dict.fromkeys(("rules",), list),
}
"What an argument is, wherever it stands: the protocol uses a name for one thing only."
ITEMS: Final[Mapping[str, tuple[type, tuple[str, ...]]]] = {
    "breakpoints": (dict, ()),
    "exceptionOptions": (dict, ("breakMode",)),
    "filterOptions": (dict, ("filterId",)),
    "filters": (str, ()),
    "lines": (int, ()),
    "pathMappings": (dict, ()),
    "rules": (dict, ("include",)),
}
"What is in a list, and what each object in it needs."
BREAKPOINTS: Final[Mapping[str, str]] = {"setBreakpoints": "line", "setFunctionBreakpoints": "name"}
"What a breakpoint needs."


class DapError(AsyncKernelError):
    """What came is not the Debug Adapter Protocol; after it nothing more can be read from that stream."""


class DapParser:
    """Reads a stream of messages, however it is cut into pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._length: int | None = None
        self._broken = ""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete with `data`.

        Raises:
            DapError: What came is malformed; messages before it in the same `data` are lost with it.
        """
        if self._broken:
            raise DapError(self._broken)
        self._data += data
        messages: list[dict[str, Any]] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except DapError as error:
            self._broken = str(error)
            self._data.clear()
            raise
        return messages

    def close(self) -> None:
        """The stream has ended.

        Raises:
            DapError: It has ended within a message.
        """
        if not self._broken and (self._data or self._length is not None):
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
        raise DapError(f"type: expected {', '.join(TYPES)}, got {shown(kind)}")
    name, expected = NEEDED[kind]
    value = message.get(name)
    if not isinstance(value, expected) or isinstance(value, bool):
        raise DapError(f"{kind}.{name}: expected {expected.__name__}, got {shown(value)}")
    return message


def encode(message: Mapping[str, Any]) -> bytes:
    """The bytes of one message.

    Raises:
        TypeError: JSON can't say it.
    """
    body = pack(message, "message")
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def check(command: str, arguments: Mapping[str, Any]) -> None:
    """Check what a client asks for: debugpy's own server dies of some arguments that are wrong.

    Raises:
        ClientError: It is no request that is served, or an argument is missing or wrong; the message names it.
    """
    if command not in REQUESTS:
        raise ClientError(f"unknown command {command!r}: expected one of {', '.join(REQUESTS)}")
    for name in REQUESTS[command]:
        need(command, arguments, name)
    _check_fields(command, arguments, "")
    for number, each in enumerate((arguments.get("breakpoints") or []) if command in BREAKPOINTS else []):
        need(command, each, BREAKPOINTS[command], f"breakpoints[{number}].{BREAKPOINTS[command]}")


def _check_fields(command: str, arguments: Mapping[str, Any], path: str) -> None:
    for name, value in arguments.items():
        if name in FIELDS and value is not None:
            need(command, arguments, name, f"{path}{name}")
            if isinstance(value, dict):
                _check_fields(command, value, f"{path}{name}.")
        if name not in ITEMS or not isinstance(value, list):
            continue
        kind, needed = ITEMS[name]
        for number, each in enumerate(value):
            here = f"{path}{name}[{number}]"
            if not isinstance(each, kind):
                raise ClientError(f"{command}: {here}: expected {WORDS[kind]}, got {shown(each)}")
            if isinstance(each, dict):
                if missing := [key for key in needed if key not in each]:
                    raise ClientError(f"{command}: {here}: expected {missing[0]}, got nothing")
                _check_fields(command, each, f"{here}.")


def need(command: str, arguments: Mapping[str, Any], name: str, place: str = "") -> Any:
    """An argument that a request must have.

    Raises:
        ClientError: It is missing, or of another type than it is in the protocol.
    """
    value, kind = arguments.get(name), FIELDS[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        got = shown(value) if name in arguments else "nothing"
        raise ClientError(f"{command}: {place or name}: expected {WORDS[kind]}, got {got}")
    return value


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
