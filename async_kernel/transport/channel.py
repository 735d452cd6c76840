"""One ROUTER channel: shell, control or stdin. Only the thread that owns the socket comes here."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any, Final

import zmq

from async_kernel.interfaces import Frames
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

__all__ = ["BIG", "NO_MEMORY", "Channel", "frozen", "receive_message", "send_message"]

BIG: Final = 1 << 20
"""Bytes from which a frame is handed to ZMQ, or taken from it, without a copy; below, a copy costs less than the
bookkeeping of shared memory."""

NO_MEMORY: Final = 0.05
"""Seconds until it is tried again where there is no memory: a cell has taken it all, and may give some back."""

_KEEP: Final = 1 << 16
"""Bytes from which a received frame stays where ZMQ has put it."""

# The methods of the base class, without the conveniences that pyzmq's subclass adds: half the time per frame.
_send = zmq.backend.Socket.send
_recv = zmq.backend.Socket.recv

_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_SNDMORE: Final = int(zmq.SNDMORE)


def receive_message(sock: zmq.Socket[bytes]) -> list[Any] | None:
    """The next message, or None where none is waiting. Its small frames are bytes, its big ones read-only views."""
    if not int(sock.get(_EVENTS)) & _POLLIN:
        return None
    frames: list[Any] = []
    while True:
        # The parts of a message arrive together: none of these blocks.
        frame: Any = _recv(sock, 0, False)
        frames.append(frame.bytes if len(frame) < _KEEP else frame.buffer.toreadonly())
        if not frame.more:
            return frames


def send_message(
    sock: zmq.Socket[bytes],
    frames: Frames,
    flags: int = 0,
    in_flight: deque[tuple[zmq.MessageTracker, int]] | None = None,
) -> None:
    """Send `frames` as one message; trackers and sizes of its big frames are appended to `in_flight`.

    Raises:
        zmq.Again: `flags` has NOBLOCK and there is no room. Nothing has been sent: once ZMQ has taken the first frame,
            it takes the others.
        MemoryError: ZMQ has no memory for the first frame. Nothing has been sent.
    """
    last = len(frames) - 1
    more_follow = flags | _SNDMORE
    n = 0
    try:
        for n, frame in enumerate(frames):
            more = flags if n == last else more_follow
            if len(frame) < BIG:
                _send(sock, frame, more)
            elif in_flight is None:
                _send(sock, frame, more, False)
            else:
                in_flight.append((_send(sock, frame, more, False, True), len(frame)))
    except zmq.ZMQError as error:
        if error.errno != errno.ENOMEM:
            raise
        if n == 0:
            raise MemoryError("ZMQ has no memory for a message") from error
        _finish(sock, frames[n:], flags)


def _finish(sock: zmq.Socket[bytes], frames: Frames, flags: int) -> None:
    """Send the rest of a message, whenever there is memory for it: a client can't do with half of one."""
    while frames:
        try:
            _send(sock, frames[0], flags if len(frames) == 1 else flags | _SNDMORE)
        except zmq.ZMQError as error:
            if error.errno != errno.ENOMEM:
                raise
            time.sleep(NO_MEMORY)
        else:
            frames = frames[1:]


def frozen(frames: Frames) -> Frames:
    """`frames` as they are now: what its owner could still change, or what isn't a row of bytes, is copied.

    Raises:
        TypeError: A frame has no bytes.
        ValueError: There is no frame.
    """
    if not frames:
        raise ValueError("a message without frames can't be sent")
    for frame in frames:
        if type(frame) is not bytes:
            return tuple([frame if type(frame) is bytes else _frozen(frame) for frame in frames])
    return tuple(frames)


def _frozen(frame: bytes | bytearray | memoryview) -> bytes | memoryview:
    view = memoryview(frame)
    if view.readonly and view.c_contiguous and view.nbytes:
        return view.cast("B")
    return view.tobytes()


class Channel:
    """A ROUTER socket.

    A message to a client that has gone is dropped by ZMQ; one to a client that does not read waits in memory: the
    number of replies is bounded by the number of requests.
    """

    __slots__ = ("socket", "socket_id")

    def __init__(self, socket_id: SocketID, sock: zmq.Socket[bytes]) -> None:
        self.socket_id: SocketID = socket_id
        self.socket: zmq.Socket[bytes] = sock

    def receive(self, limit: int) -> Sequence[list[Any]]:
        """At most `limit` messages that are waiting."""
        messages: list[list[Any]] = []
        while len(messages) < limit and (frames := receive_message(self.socket)) is not None:
            messages.append(frames)
        return messages

    def send(self, frames: Frames) -> None:
        """Send one message; the first frame is the identity of the client."""
        send_message(self.socket, frames)
