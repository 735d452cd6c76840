"""The words of the trade: channels, message types, run modes, tags and the shape of a message.

Sources: the Jupyter messaging specification (channels, message types, headers) and JEP 91 (subshells).
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar, final

if TYPE_CHECKING:
    import logging

__all__ = [
    "Backend",
    "CallerCreateOptions",
    "CallerState",
    "Content",
    "ExecuteContent",
    "HandlerType",
    "Job",
    "KernelName",
    "Message",
    "MsgHeader",
    "MsgType",
    "NoValue",
    "NoValueType",
    "PendingCreateOptions",
    "RunMode",
    "SocketID",
    "Tags",
]

T = TypeVar("T")

Content: TypeAlias = dict[str, Any]
"""The content of a message: a mapping that JSON can say."""


@final
class NoValueType:
    """The type of `NoValue`; it has one instance and is false."""

    _instance: NoValueType | None = None

    def __new__(cls) -> NoValueType:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "NoValue"

    def __bool__(self) -> Literal[False]:
        return False


NoValue: Final = NoValueType()
"""Stands for "not given" where `None` is a value."""


class Backend(enum.StrEnum):
    """The anyio backend of an event loop."""

    asyncio = "asyncio"
    trio = "trio"


class SocketID(enum.StrEnum):
    """The five channels of a kernel; `<value>_port` is the key of its port in a connection file."""

    heartbeat = "hb"
    shell = "shell"
    stdin = "stdin"
    control = "control"
    iopub = "iopub"


class RunMode(enum.StrEnum):
    """How the handler of a message is run.

    A run mode equals its name, its `str` (the comment that a cell's first line may hold) and its `repr`::

        RunMode.task == "task" == "# task" == "RunMode.task"
    """

    queue = "queue"
    "One after another, in order of arrival, per channel and per subshell."
    task = "task"
    "At once, as a task of the channel's event loop."
    thread = "thread"
    "At once, in a worker thread with an event loop of its own of the same backend."
    direct = "direct"
    "As soon as it is received, in the scheduler itself; for short, urgent handlers only."

    def __str__(self) -> str:
        return f"# {self.value}"

    def __repr__(self) -> str:
        return f"RunMode.{self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str.__str__(other) in (self.value, f"# {self.value}", f"RunMode.{self.value}")

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class MsgType(enum.StrEnum):
    """Every request that the kernel handles."""

    kernel_info_request = "kernel_info_request"
    comm_info_request = "comm_info_request"
    connect_request = "connect_request"
    execute_request = "execute_request"
    complete_request = "complete_request"
    is_complete_request = "is_complete_request"
    inspect_request = "inspect_request"
    history_request = "history_request"
    comm_open = "comm_open"
    comm_msg = "comm_msg"
    comm_close = "comm_close"
    # On the control channel only:
    interrupt_request = "interrupt_request"
    shutdown_request = "shutdown_request"
    debug_request = "debug_request"
    create_subshell_request = "create_subshell_request"
    delete_subshell_request = "delete_subshell_request"
    list_subshell_request = "list_subshell_request"
    usage_request = "usage_request"


def _tag_name(tag: str) -> str:
    return str.__str__(tag).partition("=")[0].strip().replace("_", "-")


class Tags(enum.StrEnum):
    """Cell tags the shell obeys. `-` and `_` are the same, and what follows `=` is the tag's value.

    A member equals every tag of its name, whatever its value: ``Tags.timeout == "timeout=0.5"``.
    """

    raises_exception = "raises-exception"
    suppress_error = "suppress-error"
    stop_on_error = "stop-on-error"
    timeout = "timeout"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _tag_name(other) == self.value

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def get_string(self, tag: str, default: str = "") -> str:
        """The text after `=` in `tag`, or `default` where there is none."""
        _, mark, text = tag.partition("=")
        return text.strip() if mark else default

    def get_bool(self, tag: str, default: bool = True) -> bool:
        """The value of `tag` as a bool; `default` where it has none.

        Raises:
            ValueError: The value is not one of true, false, yes, no, on, off, 1, 0.
        """
        text = self.get_string(tag)
        if not text:
            return default
        try:
            return _BOOLS[text.lower()]
        except KeyError:
            raise ValueError(f"tag {tag!r}: expected true or false, got {text!r}") from None

    def get_float(self, tag: str, default: float = 0.0) -> float:
        """The value of `tag` as a number; `default` where it has none.

        Raises:
            ValueError: The value is not a number.
        """
        text = self.get_string(tag)
        if not text:
            return default
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"tag {tag!r}: expected a number, got {text!r}") from None


_BOOLS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class KernelName(enum.StrEnum):
    """The names of the two standard kernelspecs, by backend."""

    asyncio = "async"
    trio = "async-trio"


class CallerState(enum.Enum):
    """The life of a `Caller`."""

    initial = enum.auto()
    start_sync = enum.auto()
    running = enum.auto()
    stopping = enum.auto()
    stopped = enum.auto()


class MsgHeader(TypedDict):
    """The header of a message (Jupyter messaging specification, "General Message Format")."""

    msg_id: str
    session: str
    username: str
    date: str
    msg_type: str
    version: str
    subshell_id: NotRequired[str | None]


class Message(TypedDict, Generic[T]):
    """One message, decoded. `parent_header` is empty where the message answers nothing."""

    header: MsgHeader
    parent_header: MsgHeader
    metadata: Content
    content: T
    buffers: list[memoryview] | list[bytes]


class Job(TypedDict, Generic[T]):
    """A message as it came: what, on which channel, from whom (the ROUTER's identity frames), when."""

    msg: Message[T]
    socket_id: SocketID
    ident: list[bytes]
    received_time: float
    "Monotonic seconds; strictly increasing over the jobs of a kernel, so it is the order of arrival too."
    run_mode: NotRequired[RunMode]
    "How it is run; set when it is."


class ExecuteContent(TypedDict):
    """The content of an `execute_request`."""

    code: str
    silent: bool
    store_history: bool
    user_expressions: dict[str, str]
    allow_stdin: bool
    stop_on_error: bool


class CallerCreateOptions(TypedDict):
    """The options of `Caller`."""

    name: NotRequired[str]
    log: NotRequired[logging.LoggerAdapter[Any] | logging.Logger]
    backend: NotRequired[Backend | Literal["asyncio", "trio"]]
    backend_options: NotRequired[dict[str, Any] | None]
    protected: NotRequired[bool]
    zmq_context: NotRequired[Any]


class PendingCreateOptions(TypedDict):
    """The options of `Pending`."""

    name: NotRequired[str]


HandlerType: TypeAlias = Callable[[Job[Any]], Awaitable[Content | None]]
"""What handles a request: returns the content of the reply, or None where the request has no reply."""
