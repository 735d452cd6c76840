"""The connections behind a socket: which one of them does not move, and ending it, which ZMQ itself can't."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import zmq

__all__ = ["Connections"]

_EVENT: Final = struct.Struct("=hi")
"""The first frame of a monitor's message: the event and its value, a descriptor (zmq_socket_monitor(3))."""


class Connections:
    """The accepted connections of a bound socket (only the thread that owns the socket comes here).

    A connection whose messages wait in ZMQ for a peer that does not read has bytes in its send queue; all others have
    sent theirs, if nothing new was sent for a while. Only Linux tells; elsewhere no connection is ever found stuck.
    """

    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self._socket = sock
        self.monitor: Any = sock.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED)
        "To be polled for reading; `update` reads it."
        self._inodes: dict[int, int] = {}

    def update(self) -> None:
        """Take note of who has come and gone."""
        while self.monitor.get(zmq.EVENTS) & zmq.POLLIN:
            event, descriptor = _EVENT.unpack(self.monitor.recv_multipart()[0])
            self._inodes.pop(descriptor, None)
            if event == zmq.EVENT_ACCEPTED:
                with _own(descriptor) as own:
                    if own is not None:
                        self._inodes[descriptor] = os.fstat(own.fileno()).st_ino

    def end_stuck(self) -> int:
        """End the connections that have bytes waiting; returns how many. What is on its way may still arrive."""
        self.update()
        ended = 0
        for descriptor, inode in self._inodes.items():
            with _own(descriptor) as own:
                # ZMQ may have closed it by now, and somebody else opened another under its number.
                if own is not None and os.fstat(own.fileno()).st_ino == inode and _unsent(own):
                    own.shutdown(socket.SHUT_RDWR)
                    ended += 1
        return ended

    def close(self) -> None:
        """Stop watching, before the socket is closed."""
        self._socket.disable_monitor()
        self.monitor.close(0)


@contextmanager
def _own(descriptor: int) -> Generator[socket.socket | None]:
    """A socket of our own for the connection that ZMQ holds as `descriptor`; None where it is gone."""
    try:
        own = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        yield None
        return
    with own:
        yield own


if sys.platform == "linux":
    import fcntl
    import termios

    def _unsent(sock: socket.socket) -> int:
        """Bytes that the peer has not taken yet (SIOCOUTQ: tcp(7), unix(7))."""
        return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

else:

    def _unsent(sock: socket.socket) -> int:
        return 0
