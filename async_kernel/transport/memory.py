"""The channels in lists: the same contract as over ZMQ, for tests without sockets or threads."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from async_kernel.interfaces import Frames, Receive
from async_kernel.transport.channel import frozen
from async_kernel.transport.iopub import Welcome
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MemoryTransport"]

log = logging.getLogger("async_kernel")


class MemoryTransport:
    """An `async_kernel.interfaces.Transport` whose clients are in the same process.

    `receive` is called in the thread that calls `inject`, never twice at once.

    Args:
        welcome: As for `ZmqTransport`.
    """

    def __init__(self, *, welcome: Welcome | None = None) -> None:
        self.sent: list[tuple[SocketID, list[Any]]] = []
        "Every message that was sent, in order: the channel and its frames, identities or topic first."
        self._welcome = welcome
        self._receive: Receive | None = None
        self._closed = False
        # Reentrant: what receives may send.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)

    def start(self, receive: Receive) -> None:
        """Begin to receive.

        Raises:
            RuntimeError: It was started before.
        """
        if self._receive is not None:
            raise RuntimeError("the transport was started before")
        self._receive = receive

    def send(self, socket_id: SocketID, frames: Frames, *, hold: bool = False) -> None:
        """Append one message to `sent`; before `start` and after `close` it is dropped and logged.

        Raises:
            TypeError: A frame is not bytes-like.
            ValueError: There are no frames.
        """
        del hold
        message = list(frozen(frames))
        with self._lock:
            if self._closed or self._receive is None:
                log.warning("dropped a message on the %s channel: the transport is not open", socket_id.name)
                return
            self.sent.append((socket_id, message))
            self._news.notify_all()

    def close(self, linger: float = 1.0) -> None:
        """Receive and send nothing any more. Idempotent."""
        with self._lock:
            self._closed = True

    def inject(self, socket_id: SocketID, frames: Sequence[Any]) -> None:
        """Be a client that sends `frames`, whose first one is its identity.

        Raises:
            RuntimeError: The transport was not started.
        """
        if self._receive is None:
            raise RuntimeError("the transport was not started")
        with self._lock:
            if self._closed:
                return
            try:
                self._receive(socket_id, list(frames), time.monotonic())
            except Exception:
                log.exception("a message on the %s channel could not be handled", socket_id.name)

    def subscribe(self, topic: bytes = b"") -> None:
        """Be a client that subscribes on iopub."""
        with self._lock:
            if self._welcome is not None and (greeting := self._welcome(topic)) is not None:
                self.send(SocketID.iopub, greeting)

    def wait_sent(self, count: int, timeout: float = 10.0) -> list[tuple[SocketID, list[Any]]]:
        """`sent`, as soon as it has at least `count` messages.

        Raises:
            TimeoutError: It has fewer after `timeout` seconds.
        """
        with self._news:
            if not self._news.wait_for(lambda: len(self.sent) >= count, timeout):
                raise TimeoutError(f"expected {count} messages, {len(self.sent)} were sent")
            return list(self.sent)
