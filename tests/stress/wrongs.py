"""Every field of every message, each with every wrong value: the table of what hostile clients say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from async_kernel.errors import ClientError
from async_kernel.protocol.content import _STRUCTS
from async_kernel.protocol.dap import FIELDS, REQUESTS, check
from async_kernel.protocol.messages import reply_type

JUNK: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        -1,
        0,
        2**53,
        2**70,
        -(2**70),
        1e308,
        0.5,
        "",
        "x",
        "x" * 1000,
        "é😀\0",
        [],
        [1],
        ["a"],
        [None],
        [[]],
    ),
    *({}, {"a": 1}, {"": {}}, {"msg_id": []}, [{}], "1", "../../etc/passwd", "%s%n", "${HOME}"),
)
GOOD: Final[dict[str, dict[str, Any]]] = {
    "execute_request": {"code": "1", "store_history": False, "allow_stdin": False},
    "complete_request": {"code": "pri", "cursor_pos": 3},
    "inspect_request": {"code": "print", "cursor_pos": 3},
    "is_complete_request": {"code": "1"},
    "history_request": {"hist_access_type": "tail", "n": 1},
    "comm_open": {"comm_id": "c", "target_name": "nobody"},
    "comm_msg": {"comm_id": "c"},
    "comm_close": {"comm_id": "c"},
    "debug_request": {"type": "request", "seq": 1, "command": "debugInfo", "arguments": {}},
    "delete_subshell_request": {"subshell_id": "nobody"},
}
"""What the other fields hold, while one holds what it should not."""
OF_TYPE: Final[dict[type, Any]] = {bool: True, dict: {}, int: 1, list: [], str: "x"}
HEADER_FIELDS: Final = ("session", "subshell_id", "username", "date", "version", "msg_type", "extra")
METADATA_FIELDS: Final = ("tags", "cellId", "deletedCells", "extra")
TYPES: Final = tuple(str(each.value) for each in _STRUCTS)  # pyright: ignore[reportAttributeAccessIssue]
CHANNELS: Final = ("shell", "control")


class Wrong(NamedTuple):
    """A message with one wrong value in it."""

    channel: str
    msg_type: str
    content: Any
    metadata: Any = None
    header: tuple[tuple[str, Any], ...] = ()
    "Fields of the header that are replaced."

    @property
    def replies(self) -> int:
        return int(reply_type(self.msg_type) is not None)


def every_wrong() -> list[Wrong]:
    """The table: a few thousand."""
    return [*_contents(), *_arguments(), *_headers(), *_metadata()]


def _contents() -> Iterator[Wrong]:
    for msg_type in TYPES:
        for field in ("", *_STRUCTS[msg_type].__struct_fields__):  # pyright: ignore[reportArgumentType]
            for junk in JUNK:
                whole = [junk] if isinstance(junk, dict) else junk
                content = {**GOOD.get(msg_type, {}), field: junk} if field else whole
                for channel in CHANNELS:
                    if not _acts(channel, msg_type, content):
                        yield Wrong(channel, msg_type, content)


def _acts(channel: str, msg_type: str, content: Any) -> bool:
    """Whether it would be obeyed, and end or change more than its own request."""
    if msg_type == "create_subshell_request":
        return channel == "control"  # It is good whatever it holds, and makes a thread.
    restart = content.get("restart") if isinstance(content, dict) else "no"
    return msg_type == "shutdown_request" and isinstance(restart, bool | None)


def _arguments() -> Iterator[Wrong]:
    """Of the debugger's requests."""
    for command, needed in REQUESTS.items():
        good = {name: OF_TYPE[FIELDS[name]] for name in needed}
        wrong = [junk for junk in JUNK if not isinstance(junk, dict)]
        # The protocol uses a name for one thing only: the optional ones are the same wherever they stand.
        fields = needed if command != "evaluate" else {*needed, *FIELDS}
        wrong += [{**good, field: junk} for field in sorted(fields) for junk in JUNK]
        wrong += [{name: good[name] for name in needed if name != left_out} for left_out in needed]
        for arguments in wrong:
            # A session that begins could pause what runs, as it should.
            if command not in ("initialize", "attach") or _is_refused(command, arguments):
                request = {"type": "request", "seq": 1, "command": command, "arguments": arguments}
                yield Wrong("control", "debug_request", request)


def _is_refused(command: str, arguments: Any) -> bool:
    if not isinstance(arguments, dict | None):
        return True
    try:
        check(command, arguments or {})
    except ClientError:
        return True
    return False


def _headers() -> Iterator[Wrong]:
    for msg_type in (*GOOD, "kernel_info_request", "nonsense"):
        for field in HEADER_FIELDS:
            for junk in JUNK:
                said = junk if field == "msg_type" else msg_type
                if isinstance(said, str):
                    for channel in CHANNELS:
                        yield Wrong(channel, said, GOOD.get(said, {}), None, ((field, junk),))


def _metadata() -> Iterator[Wrong]:
    for msg_type in GOOD:
        for field in METADATA_FIELDS:
            for junk in JUNK:
                for channel in CHANNELS:
                    yield Wrong(channel, msg_type, GOOD[msg_type], {field: junk})
