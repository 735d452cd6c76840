"""Ask kernels who they are: all at once, on their control channels, with a bounded wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from async_kernel.errors import WireError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.protocol.exchange import UNANNOUNCED
from async_kernel.protocol.wire import Wire
from async_kernel.typing import SocketID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zmq import Socket


__all__ = ["ask"]

K = TypeVar("K")


def ask(kernels: Mapping[K, ConnectionInfo], seconds: float = 1.0) -> dict[K, dict[str, Any]]:
    """The content of the `kernel_info_reply` of each of `kernels` that answers within `seconds`."""
    answers: dict[K, dict[str, Any]] = {}
    context = zmq.Context()
    try:
        poller = zmq.Poller()
        waiting: dict[Socket[bytes], tuple[K, Wire]] = {}
        for key, info in kernels.items():
            wire = Wire(info.key, info.signature_scheme)
            if (sock := _connect(context, info)) is not None:
                sock.send_multipart(wire.encode("kernel_info_request", {}, metadata=UNANNOUNCED))
                poller.register(sock, zmq.POLLIN)
                waiting[sock] = key, wire
        deadline = time.monotonic() + seconds
        while waiting and (left := deadline - time.monotonic()) > 0:
            for sock, _ in poller.poll(int(left * 1000) + 1):
                key, wire = waiting[sock]
                if (content := _content(wire, sock.recv_multipart())) is not None:
                    answers[key] = content
                    poller.unregister(sock)
                    sock.close()
                    del waiting[sock]
    finally:
        context.destroy(linger=0)
    return answers


def _connect(context: zmq.Context[Socket[bytes]], info: ConnectionInfo) -> Socket[bytes] | None:
    """A socket on the control channel; None where there can be none."""
    sock = context.socket(zmq.DEALER)
    sock.linger = 0
    try:
        if info.transport == "tcp" and ":" in info.ip:
            sock.ipv6 = True
        if info.curve_publickey is not None:
            # The kernel lets in whoever knows its public key; the client's own pair is made for this one question.
            sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
            sock.curve_serverkey = info.curve_publickey
        sock.connect(info.url(SocketID.control))
    except zmq.ZMQError:
        sock.close()
        return None
    return sock


def _content(wire: Wire, frames: list[bytes]) -> dict[str, Any] | None:
    """The content of a reply that can be trusted; None for anything else."""
    try:
        _, message = wire.decode(frames)
    except WireError:
        return None
    content = message["content"]
    return content if message["header"]["msg_type"] == "kernel_info_reply" and isinstance(content, dict) else None
