"""The heartbeat: echoed in C, without the GIL, so that it answers whatever the user's code does."""

from __future__ import annotations

import threading

import zmq

from async_kernel.threads import KernelThread

__all__ = ["Heartbeat"]


class Heartbeat:
    """Echoes every message of a bound ROUTER socket until the socket's context is terminated, in its own thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, sock: zmq.Socket[bytes]) -> None:
        """Begin to echo; from now on `sock` is the heartbeat's, which closes it in the end."""
        self._thread = KernelThread(target=_echo, args=(sock,), name="heartbeat")
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the end."""
        if self._thread is not None:
            self._thread.join(timeout)


def _echo(sock: zmq.Socket[bytes]) -> None:
    try:
        # With the same socket on both sides, what a client sends goes back to where it came from.
        zmq.proxy(sock, sock)
    except zmq.ContextTerminated:
        sock.close(linger=0)
