"""What one room needs of another, as Protocols: they are handed down, so that no lower floor imports a higher one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from async_kernel.typing import Content, Job, Message, NoValue, NoValueType, SocketID

__all__ = ["Frames", "Publisher", "Receive", "Transport"]

Frames: TypeAlias = Sequence[bytes | bytearray | memoryview]
"""The frames of one message as a socket sends or receives them, identities first."""

Receive: TypeAlias = Callable[[SocketID, list[Any], float], None]
"""Called in the transport's thread with the channel, the frames and the monotonic time of their arrival (seconds)."""


class Transport(Protocol):
    """Five channels to the clients. `send` may be called from any thread; `receive` is called in the transport's."""

    def start(self, receive: Receive) -> None:
        """Bind every channel and begin to receive.

        Raises:
            SetupError: A channel can't be bound (a taken port, a folder that can't be written).
        """
        ...

    def send(self, socket_id: SocketID, frames: Frames, *, hold: bool = False) -> None:
        """Put one message into the outbox of a channel. Order per channel is the order of the calls.

        With `hold` it may wait there for a millisecond: others are expected to follow at once.

        Blocks, for a bounded time, while the iopub outbox is full. After `close`, the message is dropped and logged.
        """
        ...

    def close(self, linger: float = 1.0) -> None:
        """Send what is in the outboxes for at most `linger` seconds, then close every socket. Idempotent."""
        ...


class Publisher(Protocol):
    """Publishes a message on iopub, from any thread."""

    def __call__(
        self,
        msg_or_type: Message[Any] | str,
        content: Content | None = None,
        metadata: Content | None = None,
        parent: Message[Any] | Job[Any] | NoValueType | None = NoValue,
        ident: bytes | list[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
    ) -> None:
        """`parent` defaults to the message that the current context belongs to, or to whom its output is addressed."""
        ...
