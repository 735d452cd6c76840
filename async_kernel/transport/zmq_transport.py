"""The channels over ZMQ: one thread owns the sockets of shell, control, stdin and iopub; nobody else touches them.

Other threads put what they send into an outbox and wake the owner.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import zmq

from async_kernel.errors import SetupError
from async_kernel.interfaces import Frames, Receive
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.threads import KernelThread
from async_kernel.transport.channel import Channel, frozen
from async_kernel.transport.heartbeat import Heartbeat
from async_kernel.transport.io_loop import IoLoop
from async_kernel.transport.iopub import IopubChannel, OnCut, Welcome
from async_kernel.transport.outbox import Outbox, Outgoing
from async_kernel.transport.quota import Quota
from async_kernel.transport.sockets import Endpoints
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ZmqTransport"]

log = logging.getLogger("async_kernel")

P = ParamSpec("P")
T = TypeVar("T")

_ROUTERS: Final = (SocketID.control, SocketID.stdin, SocketID.shell)

_GRACE: Final = 2.0
"""Seconds that closing may take beyond `linger`."""


class ZmqTransport:
    """Five channels over tcp or ipc: an `async_kernel.interfaces.Transport`.

    In a process forked from the one that made it, it does nothing: `send` drops the message, `close` returns at once,
    and no socket, lock or descriptor is touched. What such a child prints has to reach the kernel by another way.

    Args:
        info: Where to listen. A port of 0 is chosen at start.
        welcome: Called with the topic that a new subscriber of iopub asked for; returns the frames that greet it.
        on_cut: Called with 0 when an iopub subscriber that has read nothing for `patience` seconds is cut off, and when
            somebody subscribes after that (it, as a rule) with the number of messages published in between (it has
            missed those, and perhaps some that were on their way to it). The frames that it returns, or None, are
            published there.
        patience: Seconds.

    `welcome` and `on_cut` are called in the transport's thread.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        *,
        welcome: Welcome | None = None,
        on_cut: OnCut | None = None,
        patience: float = 10.0,
    ) -> None:
        self.info: ConnectionInfo = info
        "Where the channels are; after `start`, with the real ports."
        self._welcome = welcome
        self._on_cut = on_cut
        self._patience = patience
        self._pid = os.getpid()
        self._quota = Quota()
        self._outbox: Outbox | None = None
        self._thread: threading.Thread | None = None
        self._bound = threading.Event()
        self._error: SetupError | None = None
        self._owner = 0
        "The number of the thread that owns the sockets."
        self._deadline = 0.0
        "When everything must be sent (monotonic seconds); set by `close`."

    @property
    def info_ports(self) -> dict[SocketID, int]:
        """The ports by channel; after `start`, the real ones."""
        return self.info.ports

    def start(self, receive: Receive) -> None:
        """Bind every channel and begin to receive; `receive` is called in the transport's thread.

        Raises:
            SetupError: A channel can't be bound.
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError("the transport was started before")
        outbox = Outbox()
        self._thread = KernelThread(target=self._run, args=(outbox, receive), name="transport")
        self._thread.start()
        self._bound.wait()
        if self._outbox is None:
            self._thread.join()
            raise self._error or RuntimeError("the transport's thread has failed")

    def send(self, socket_id: SocketID, frames: Frames, *, hold: bool = False) -> None:
        """Put one message into the outbox of a channel (any thread). Order per channel is the order of the calls.

        With `hold` it may wait there for a millisecond: others are expected to follow at once.

        Waits, for a bounded time, while this thread has too much waiting on iopub. Before `start` and after `close` the
        message is dropped and logged; in a forked child it is dropped.

        Raises:
            TypeError: A frame is not bytes-like.
            ValueError: There are no frames.
        """
        if os.getpid() != self._pid:
            return
        frames = frozen(frames)
        outbox = self._outbox
        if outbox is None or outbox.closing:
            log.warning("dropped a message on the %s channel: the transport is not open", socket_id.name)
        elif socket_id is SocketID.iopub:
            # The transport's own thread can't wait for itself.
            own = threading.get_ident() == self._owner
            taken = self._quota.take(frames, 0 if own else self._patience + 1)
            outbox.put(Outgoing(socket_id, frames, taken), hold=hold)
        else:
            outbox.put(Outgoing(socket_id, frames), hold=hold)

    def close(self, linger: float = 1.0) -> None:
        """Send what is in the outboxes for at most `linger` seconds, then close every socket. Idempotent.

        Called in the transport's own thread it returns at once, and the thread ends by itself.
        """
        if os.getpid() != self._pid or self._outbox is None or self._thread is None:
            return
        if not self._outbox.closing:
            self._deadline = time.monotonic() + linger
            self._outbox.close()
        if threading.get_ident() != self._owner:
            self._thread.join(linger + _GRACE)
            if self._thread.is_alive():
                log.warning("the transport was not closed within %g s", linger + _GRACE)

    def _run(self, outbox: Outbox, receive: Receive) -> None:
        """The life of the thread that owns the sockets."""
        self._owner = threading.get_ident()
        endpoints, heartbeat, context = Endpoints(self.info), Heartbeat(), zmq.Context[zmq.Socket[bytes]]()
        with contextlib.ExitStack() as at_end:
            # Last things first. Terminating the context waits for what lingers, and makes the heartbeat end.
            at_end.callback(self._bound.set)
            at_end.callback(outbox.wake.close)
            at_end.callback(endpoints.remove_files)
            at_end.callback(heartbeat.join, _GRACE)
            at_end.callback(context.term)
            at_end.callback(lambda: endpoints.close(self._left()))
            try:
                endpoints.bind(context)
            except SetupError as error:
                self._error = error
                return
            self.info = endpoints.info
            heartbeat.start(endpoints.sockets.pop(SocketID.heartbeat))
            self._outbox = outbox
            at_end.callback(self._quota.lift)
            at_end.callback(setattr, outbox, "closing", True)
            iopub = IopubChannel(
                endpoints.sockets[SocketID.iopub],
                self._quota,
                welcome=_guarded(self._welcome),
                on_cut=_guarded(self._on_cut),
                patience=self._patience,
            )
            at_end.callback(iopub.close)
            loop = IoLoop([Channel(i, endpoints.sockets[i]) for i in _ROUTERS], iopub, outbox, receive)
            self._bound.set()
            loop.serve()
            self._quota.lift()
            loop.drain(self._deadline)

    def _left(self) -> int:
        """Milliseconds that the sockets may take to send what they hold."""
        # Not nothing: who has used up the time is one that does not read, but the others read.
        return max(100, round((self._deadline - time.monotonic()) * 1000))


def _guarded(func: Callable[P, T | None] | None) -> Callable[P, T | None] | None:
    """`func`, whose failure is logged instead of ending the transport's thread."""
    if func is None:
        return None

    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return func(*args, **kwargs)
        except Exception:
            log.exception("%r failed in the transport's thread", func)
            return None

    return guarded
