"""The iopub channel: an XPUB socket that greets each subscriber and loses nothing that a subscriber still reads.

Each subscriber has a queue of `HIGH_WATER` messages inside ZMQ. While one of them is full, messages wait in the backlog
and their senders are slowed down (`Quota`). A subscriber whose queue has not moved for `patience` seconds is cut: the
others go on without it. Its connection is ended, so that it comes back by itself when it reads again, and finds a
notice in the place of what it has missed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import zmq

from async_kernel.interfaces import Frames
from async_kernel.transport.channel import receive_message, send_message
from async_kernel.transport.connections import Connections
from async_kernel.transport.quota import Quota, Taken

__all__ = ["HIGH_WATER", "IopubChannel", "OnCut", "Welcome"]

Welcome: TypeAlias = Callable[[bytes], Frames | None]
"""Makes the frames that greet a subscriber, of the topic that it asked for."""

OnCut: TypeAlias = Callable[[int], Frames | None]
"""Told of a subscriber that does not read; see `IopubChannel`."""

HIGH_WATER: Final = 100
"""Messages that may wait inside ZMQ for one subscriber. Small, because ZMQ tells that a full queue moves only after
half of it has been read, and because text comes in batches of tens of KiB."""

_BIG_IN_FLIGHT: Final = 256 << 20
"""Bytes of big frames that may wait inside ZMQ: these would make `HIGH_WATER` messages far too much."""

_BIG_POLL: Final = 0.02
"""Seconds until it is looked again whether ZMQ is done with big frames (it wakes nobody when it is)."""

_NOBLOCK: Final = int(zmq.NOBLOCK)
"""A plain number: joining two of ZMQ's flags costs more than sending a frame."""

log = logging.getLogger("async_kernel")


class IopubChannel:
    """Publishes (only the thread that owns the socket comes here).

    Args:
        sock: A bound XPUB socket, as `sockets` makes it.
        quota: Gets back what the senders have taken.
        welcome: Makes the frames that greet a subscriber, of the topic it asked for; None: no greeting.
        on_cut: Called with 0 when a subscriber is cut, and, when somebody subscribes after that, with the number of
            messages published in between. The frames that it returns are published there.
        patience: Seconds without any progress after which a subscriber that does not read is cut.
    """

    def __init__(
        self,
        sock: zmq.Socket[bytes],
        quota: Quota,
        *,
        welcome: Welcome | None,
        on_cut: OnCut | None,
        patience: float,
    ) -> None:
        self.socket: zmq.Socket[bytes] = sock
        self.backlog: deque[tuple[Frames, Taken | None]] = deque()
        "Messages that wait for room inside ZMQ."
        self._quota = quota
        self._welcome = welcome
        self._on_cut = on_cut
        self._patience = patience
        self._stalled_since = 0.0
        self._missed: int | None = None
        "Messages published since a subscriber was cut; None: all have everything."
        self.connections: Connections = Connections(sock)
        self._big: deque[tuple[zmq.MessageTracker, int]] = deque()

    def receive(self) -> None:
        """Greet those who have subscribed, and publish what there is room for now."""
        while (frames := receive_message(self.socket)) is not None:
            # First byte 1: a subscription to the topic that follows; 0: its end (ZMTP 3, section SUB and XPUB).
            event = frames[0]
            topic = bytes(event[1:])
            if event[:1] != b"\1":
                self.socket.setsockopt(zmq.UNSUBSCRIBE, topic)
            else:
                self.socket.setsockopt(zmq.SUBSCRIBE, topic)
                self._add(self._welcome, topic)
                if self._missed is not None:
                    log.warning("an iopub subscriber that did not read has missed at least %d messages", self._missed)
                    self._add(self._on_cut, self._missed)
                    self._missed = None
        self.flush()

    def send(self, frames: Frames, taken: Taken | None) -> None:
        """Publish one message, or keep it until there is room; `taken` goes back to the quota when it has left."""
        self.backlog.append((frames, taken))
        if not self._stalled_since:
            self.flush()

    def flush(self) -> None:
        """Publish what waits, as long as there is room."""
        while self.backlog:
            frames, taken = self.backlog[0]
            if not self._publish(frames):
                now = time.monotonic()
                self._stalled_since = self._stalled_since or now
                if now - self._stalled_since < self._patience or self._cut(now):
                    return
                self._publish_lossy(frames)
            self._stalled_since = 0.0
            self.backlog.popleft()
            if taken is not None:
                self._quota.give(taken)
                if self._missed is not None:
                    self._missed += 1

    @property
    def stalled(self) -> bool:
        """Whether a message waits for a subscriber that does not read."""
        return self._stalled_since > 0

    def timeout(self) -> float:
        """While stalled: seconds until `receive` should be called again at the latest."""
        if self._big:
            return _BIG_POLL
        return max(0.0, self._stalled_since + self._patience - time.monotonic())

    def close(self) -> None:
        """Stop watching the subscribers."""
        self.connections.close()

    def _publish(self, frames: Frames) -> bool:
        """Whether there was room for `frames` in every queue."""
        if self._big and self._big_in_flight() > _BIG_IN_FLIGHT:
            return False
        try:
            send_message(self.socket, frames, _NOBLOCK, self._big)
        except zmq.Again:
            return False
        return True

    def _publish_lossy(self, frames: Frames) -> None:
        """Publish to those who have room; ZMQ forgets the others until they have."""
        self.socket.setsockopt(zmq.XPUB_NODROP, 0)
        send_message(self.socket, frames, _NOBLOCK, self._big)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)

    def _big_in_flight(self) -> int:
        self._big = deque((tracker, size) for tracker, size in self._big if not tracker.done)
        return sum(size for _, size in self._big)

    def _cut(self, now: float) -> bool:
        """End the connections that do not move; whether there are any, so that there will be room."""
        ended = self.connections.end_stuck()
        log.warning("an iopub subscriber has read nothing for %g s: going on without it", self._patience)
        self._stalled_since = now
        self._missed = self._missed or 0
        self._add(self._on_cut, 0)
        return ended > 0

    def _add(self, make: Callable[[Any], Frames | None] | None, about: object) -> None:
        if make is not None and (frames := make(about)) is not None:
            self.backlog.append((frames, None))
