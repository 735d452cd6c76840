"""The loop of the thread that owns the sockets: wait, receive, send. Nothing here is called by another thread."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import zmq

from async_kernel.interfaces import Receive
from async_kernel.transport.channel import NO_MEMORY, Channel
from async_kernel.transport.iopub import IopubChannel
from async_kernel.transport.outbox import NAP, Outbox
from async_kernel.typing import SocketID

__all__ = ["IoLoop"]

log = logging.getLogger("async_kernel")

_RECEIVE_LIMIT: Final = 16
"""Messages taken from one channel before control gets its turn again."""

_SEND_LIMIT: Final = 64
"""Messages sent before it is looked again for received ones."""

_POLLIN: Final = int(zmq.POLLIN)
_FOREVER: Final = -1


class IoLoop:
    """Receives from the clients and sends what the outbox holds.

    The poll is level-triggered: a message that waits is seen, whatever was done with its socket before.

    Args:
        channels: Control, stdin and shell, in the order in which they get their turn.
        iopub: The channel for publishing.
        outbox: What other threads want sent.
        receive: Gets each message.
    """

    def __init__(self, channels: list[Channel], iopub: IopubChannel, outbox: Outbox, receive: Receive) -> None:
        self._channels: dict[Any, Channel] = {channel.socket: channel for channel in channels}
        self._by_id = {channel.socket_id: channel for channel in channels}
        self._iopub = iopub
        self._outbox = outbox
        self._wake = outbox.wake
        self._receive = receive
        self._closing = False
        self._expecting = False
        "Whether a request has just been received, whose first messages may come in a moment."
        wake = (self._wake.fileno(), _POLLIN)
        # ZMQ never says that an XPUB socket with a full queue can send again: `has_out` of `dist_t` is always true, so
        # that POLLOUT would spin. But a queue that moves makes the socket's descriptor readable.
        room = (int(iopub.socket.getsockopt(zmq.FD)), _POLLIN)
        routers: list[tuple[Any, int]] = [(channel.socket, _POLLIN) for channel in channels]
        watch = (iopub.connections.monitor, _POLLIN)
        self._sources = [*routers, (iopub.socket, _POLLIN), watch, wake]
        self._sources_stalled = [*routers, room, watch, wake]
        self._sources_draining = [room, wake]

    def serve(self) -> None:
        """Until the outbox is closed and everything before that is sent, or waits for a subscriber."""
        while not self._closing:
            try:
                self._turn(self._sources_stalled if self._iopub.stalled else self._sources, _FOREVER)
            except MemoryError:
                time.sleep(NO_MEMORY)

    def drain(self, deadline: float) -> None:
        """Send what is left, until `deadline` (monotonic seconds); nothing is received any more."""
        while (left := deadline - time.monotonic()) > 0 and (len(self._outbox) or self._iopub.backlog):
            self._turn(self._sources_draining, math.ceil(left * 1000))
        if unsent := len(self._outbox) + len(self._iopub.backlog):
            log.warning("%d messages could not be sent before the transport was closed", unsent)

    def _turn(self, sources: Sequence[tuple[Any, int]], timeout: int) -> None:
        nap, self._expecting = self._expecting, False
        self._wake.fall_asleep(nap=nap)
        if nap:
            timeout = NAP if timeout == _FOREVER else min(timeout, NAP)
        # What came into the outbox before the line above woke nobody.
        if len(self._outbox):
            timeout = 0
        elif self._iopub.stalled:
            due = math.ceil(self._iopub.timeout() * 1000)
            timeout = due if timeout == _FOREVER else min(due, timeout)
        ready: list[Any] = [source for source, _ in zmq.zmq_poll(sources, timeout)]
        self._wake.wake_up(self._wake.fileno() in ready)
        for source in ready:
            if (channel := self._channels.get(source)) is not None:
                self._deliver(channel)
                self._expecting = True
            elif source is self._iopub.socket:
                self._iopub.receive()
            elif source is self._iopub.connections.monitor:
                self._iopub.connections.update()
        self._send()
        if self._iopub.stalled:
            self._iopub.receive()

    def _deliver(self, channel: Channel) -> None:
        for frames in channel.receive(_RECEIVE_LIMIT):
            try:
                self._receive(channel.socket_id, frames, time.monotonic())
            except Exception:
                log.exception("a message on the %s channel could not be handled", channel.socket_id.name)

    def _send(self) -> None:
        for _ in range(min(_SEND_LIMIT, len(self._outbox))):
            outgoing = self._outbox.pop()
            if outgoing is None:
                self._closing = True
            elif outgoing.socket_id is SocketID.iopub:
                self._iopub.send(outgoing.frames, outgoing.taken)
            else:
                try:
                    self._by_id[outgoing.socket_id].send(outgoing.frames)
                except MemoryError:
                    self._outbox.put_back(outgoing)
                    raise
