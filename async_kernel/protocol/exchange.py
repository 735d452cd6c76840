"""The life of one request: RECEIVED → BUSY → (REPLIED) → IDLE.

This is where it is guaranteed that a request gets one busy, one idle and, where the protocol has one, one reply,
whatever its handler does (Jupyter messaging specification, "Request-Reply" and "Kernel status").
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, Self

from async_kernel.errors import AsyncKernelError
from async_kernel.protocol.messages import error_content, reply_type
from async_kernel.typing import Content, Job, Message, MsgType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

__all__ = ["MOVES", "UNANNOUNCED", "Exchange", "IllegalMoveError", "NoReplyError", "State", "is_announced"]


class State(enum.Enum):
    """Where an exchange is in its life."""

    RECEIVED = enum.auto()
    BUSY = enum.auto()
    REPLIED = enum.auto()
    IDLE = enum.auto()


MOVES: Final[Mapping[tuple[State, str], State]] = {
    (State.RECEIVED, "busy"): State.BUSY,
    (State.BUSY, "reply"): State.REPLIED,
    (State.BUSY, "idle"): State.IDLE,
    (State.REPLIED, "idle"): State.IDLE,
}
"""The legal moves: from a state, by what is sent, to the next state."""


UNANNOUNCED: Final[Content] = {"async_kernel.announce": False}
"""The metadata of a `kernel_info_request` that is answered without busy and idle: one who only looks how a kernel is
(`async-kernel ps --watch`, once a second) does not make it look busy to its notebooks."""


def is_announced(msg: Message[Any]) -> bool:
    """Whether busy and idle are published for this request."""
    if msg["header"]["msg_type"] != MsgType.kernel_info_request:
        return True
    return not UNANNOUNCED.items() <= msg["metadata"].items()


class IllegalMoveError(AsyncKernelError):
    """What was asked for is not the next step of the exchange (a second reply, a reply after idle)."""


class NoReplyError(AsyncKernelError):
    """The handler of a request that has a reply returned none."""


class Exchange:
    """One request, from busy to idle; a context manager that never swallows an exception.

    Entering publishes busy. Leaving sends, where the request has a reply and none was sent, an error reply made of the
    exception in flight, and publishes idle.

    Args:
        job: The request.
        status: Publishes ``"busy"`` or ``"idle"`` with the request as the parent.
        reply: Sends content, metadata and buffers as the reply to the request.
    """

    def __init__(
        self,
        job: Job[Any],
        *,
        status: Callable[[str], None],
        reply: Callable[[Content, Content | bytes | None, Sequence[Any] | None], None],
    ) -> None:
        self.job: Job[Any] = job
        self.msg_type: str = job["msg"]["header"]["msg_type"]
        self.reply_type: str | None = reply_type(self.msg_type)
        "The type of the reply; None where the request has none."
        self.state: State = State.RECEIVED
        self._status = status
        self._reply = reply

    @property
    def awaits_reply(self) -> bool:
        """Whether a reply may, and must, still be sent."""
        return self.reply_type is not None and self.state is State.BUSY

    def reply(
        self, content: Content | None, metadata: Content | bytes | None = None, buffers: Sequence[Any] | None = None
    ) -> None:
        """Send the reply; ``status: ok`` is added where the content has no status. What can't be sent is not a reply.

        Raises:
            IllegalMoveError: The request has no reply, or was replied to.
            NoReplyError: `content` is None.
        """
        next_state = self._next("reply")
        if content is None:
            raise NoReplyError(f"{self.msg_type}: the handler returned no reply")
        self._reply(content if "status" in content else {"status": "ok", **content}, metadata, buffers)
        self.state = next_state

    def fail(self, exc: BaseException, traceback: Sequence[str] | None = None) -> None:
        """Reply with an error made of `exc`; nothing is sent where the request has no reply.

        Raises:
            IllegalMoveError: The request was replied to.
        """
        if self.reply_type is not None:
            self.reply(error_content(exc, traceback))

    def __enter__(self) -> Self:
        self.state = self._next("busy")
        self._status("busy")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.awaits_reply:
                self.fail(exc or NoReplyError(f"{self.msg_type}: the handler returned no reply"))
        finally:
            self.state = self._next("idle")
            self._status("idle")

    def _next(self, move: str) -> State:
        state = MOVES.get((self.state, move))
        if state is None or (move == "reply" and self.reply_type is None):
            raise IllegalMoveError(f"{self.msg_type}: {move} is not a legal move in state {self.state.name}")
        return state
