"""What the content of each request holds, with the types and defaults of the messaging specification.

`parse` is the border: behind it a request's fields are what they say. Unknown fields are left out, and null in an
optional field stands for its default.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec

from async_kernel.errors import ContentError
from async_kernel.protocol.jsonable import shown
from async_kernel.typing import MsgType

if TYPE_CHECKING:
    from collections.abc import Mapping

# The structs of the other requests are named like them.
__all__ = ["ExecuteRequest", "Request", "parse"]

_NotNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a request."""


class KernelInfoRequest(Request, frozen=True):
    """`kernel_info_request`."""


class CommInfoRequest(Request, frozen=True):
    """`comm_info_request`: the comms of one target, or all."""

    target_name: str | None = None


class ConnectRequest(Request, frozen=True):
    """`connect_request`: the ports."""


class ExecuteRequest(Request, frozen=True):
    """`execute_request`: run a cell. What is silent is not stored in the history."""

    code: str
    silent: bool = False
    store_history: bool = True
    user_expressions: dict[str, str] = {}
    allow_stdin: bool = True
    stop_on_error: bool = True

    def __post_init__(self) -> None:
        # Specification: "If silent is true, store_history is forced to false."
        if self.silent:
            msgspec.structs.force_setattr(self, "store_history", False)


class _AtCursor(Request, frozen=True):
    code: str
    cursor_pos: _NotNegative = sys.maxsize
    "Where the cursor is: a number of Unicode characters, from 0 to the length of the code."

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "cursor_pos", min(self.cursor_pos, len(self.code)))


class CompleteRequest(_AtCursor, frozen=True):
    """`complete_request`. A cursor that is not given, or beyond the end, is at the end."""


class InspectRequest(_AtCursor, frozen=True):
    """`inspect_request`. A cursor that is not given, or beyond the end, is at the end."""

    detail_level: _NotNegative = 0


class IsCompleteRequest(Request, frozen=True):
    """`is_complete_request`."""

    code: str


class HistoryRequest(Request, frozen=True):
    """`history_request`."""

    hist_access_type: Literal["range", "tail", "search"] = "range"
    output: bool = False
    raw: bool = True
    session: int = 0
    start: int = 0
    stop: int | None = None
    n: _NotNegative | None = None
    pattern: str | None = None
    unique: bool = False


class CommOpen(Request, frozen=True):
    """`comm_open`."""

    comm_id: str
    target_name: str
    data: dict[str, Any] = {}
    target_module: str | None = None


class CommMsg(Request, frozen=True):
    """`comm_msg`."""

    comm_id: str
    data: dict[str, Any] = {}


class CommClose(Request, frozen=True):
    """`comm_close`."""

    comm_id: str
    data: dict[str, Any] = {}


class InterruptRequest(Request, frozen=True):
    """`interrupt_request`: everything that runs, or, an extension of ours, only what is named."""

    msg_ids: tuple[str, ...] = ()
    subshell_id: str | None = None


class ShutdownRequest(Request, frozen=True):
    """`shutdown_request`."""

    restart: bool = False


class DebugRequest(Request, frozen=True):
    """`debug_request`: a request of the Debug Adapter Protocol."""

    command: str
    arguments: dict[str, Any] = {}
    seq: int = 0
    type: str = "request"


class CreateSubshellRequest(Request, frozen=True):
    """`create_subshell_request` (JEP 91)."""


class DeleteSubshellRequest(Request, frozen=True):
    """`delete_subshell_request` (JEP 91)."""

    subshell_id: str


class ListSubshellRequest(Request, frozen=True):
    """`list_subshell_request` (JEP 91)."""


class UsageRequest(Request, frozen=True):
    """`usage_request`: what the kernel and its host use (an extension of ipykernel's)."""


_STRUCTS: Final[Mapping[str, type[Request]]] = {
    MsgType.kernel_info_request: KernelInfoRequest,
    MsgType.comm_info_request: CommInfoRequest,
    MsgType.connect_request: ConnectRequest,
    MsgType.execute_request: ExecuteRequest,
    MsgType.complete_request: CompleteRequest,
    MsgType.is_complete_request: IsCompleteRequest,
    MsgType.inspect_request: InspectRequest,
    MsgType.history_request: HistoryRequest,
    MsgType.comm_open: CommOpen,
    MsgType.comm_msg: CommMsg,
    MsgType.comm_close: CommClose,
    MsgType.interrupt_request: InterruptRequest,
    MsgType.shutdown_request: ShutdownRequest,
    MsgType.debug_request: DebugRequest,
    MsgType.create_subshell_request: CreateSubshellRequest,
    MsgType.delete_subshell_request: DeleteSubshellRequest,
    MsgType.list_subshell_request: ListSubshellRequest,
    MsgType.usage_request: UsageRequest,
}

_EXPECTED: Final[Mapping[str, str]] = {
    "user_expressions": "an object whose values are strings",
    "cursor_pos": "a number of characters, 0 or more",
    "detail_level": "0 or 1",
    "hist_access_type": "range, tail or search",
    "msg_ids": "a list of strings",
    "data": "an object",
    "arguments": "an object",
    "n": "an integer, 0 or more",
}
"""What a field of a type of its own holds, for error messages."""

_EXPECTED_BY_TYPE: Final[Mapping[Any, str]] = {bool: "true or false", int: "an integer", int | None: "an integer"}
"""What the other fields hold; a string where the type is not named."""


class _Verbatim(str):
    __slots__ = ()
    __repr__ = str.__str__


def _shown(value: object) -> _Verbatim:
    return _Verbatim(shown(value))


def parse(msg_type: str, content: object) -> Any:
    """The content of a request as the struct of its type.

    Raises:
        ContentError: A field is missing or wrong; the message names it.
        TypeError: `msg_type` is unknown.
    """
    struct = _STRUCTS.get(msg_type)
    if struct is None:
        raise TypeError(f"unknown message type {str.__str__(msg_type)!r}")
    try:
        return msgspec.convert(content, struct)
    except msgspec.ValidationError:
        if not isinstance(content, dict):
            raise ContentError(msg_type, "content", "an object", _shown(content)) from None
    given = {name: content[name] for name in struct.__struct_fields__ if content.get(name) is not None}
    try:
        return msgspec.convert(given, struct)
    except msgspec.ValidationError:
        raise _fault(msg_type, struct, content, given) from None


def _fault(msg_type: str, struct: type[Request], content: Mapping[str, Any], given: Mapping[str, Any]) -> ContentError:
    """Which field is missing or wrong: each is checked by itself."""
    field = next(field for field in msgspec.structs.fields(struct) if _is_wrong(field, given))
    got = _shown(content[field.name]) if field.name in content else _Verbatim("nothing")
    expected = _EXPECTED.get(field.name) or _EXPECTED_BY_TYPE.get(field.type, "a string")
    return ContentError(msg_type, field.name, expected, got)


def _is_wrong(field: msgspec.structs.FieldInfo, given: Mapping[str, Any]) -> bool:
    if field.name not in given:
        return field.required
    try:
        msgspec.convert(given[field.name], field.type)
    except msgspec.ValidationError:
        return True
    return False
