"""The five sockets of a kernel: their kinds, options and endpoints."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import zmq

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.transport import ipc
from async_kernel.transport.iopub import HIGH_WATER
from async_kernel.typing import SocketID

__all__ = ["Endpoints", "new_curve_keys"]

_KINDS: Final = {
    SocketID.heartbeat: zmq.ROUTER,
    SocketID.control: zmq.ROUTER,
    SocketID.shell: zmq.ROUTER,
    SocketID.stdin: zmq.ROUTER,
    SocketID.iopub: zmq.XPUB,
}

# HANDOVER: a client that comes back under its identity replaces its former, perhaps half dead, connection.
# SNDHWM 0: a ROUTER whose queue is full drops replies without a word; their number is bounded by that of the requests.
_ROUTER_OPTIONS: Final = {zmq.ROUTER_HANDOVER: 1, zmq.SNDHWM: 0}

# MANUAL: every subscription is told, not only the first to a topic, so that each subscriber is welcomed; and it begins
# when `IopubChannel` says so, so that nothing comes before the welcome.
# NODROP: a full queue is told to the sender instead of losing the message.
_OPTIONS: Final = {
    SocketID.heartbeat: {},
    SocketID.control: _ROUTER_OPTIONS,
    SocketID.shell: _ROUTER_OPTIONS,
    SocketID.stdin: _ROUTER_OPTIONS,
    SocketID.iopub: {zmq.XPUB_MANUAL: 1, zmq.XPUB_NODROP: 1, zmq.SNDHWM: HIGH_WATER},
}

_REMEDIES: Final = {
    errno.EADDRINUSE: "End the process that uses it, or choose another port (0: a free one)",
    errno.EACCES: "Choose a port above 1023, or a folder that you may write to",
    errno.EADDRNOTAVAIL: "`ip` must be an address of this machine",
    errno.ENODEV: "`ip` must be an address of this machine",
}


_NO_CURVE: Final = "this ZMQ was built without CURVE: install a pyzmq wheel, or say `encryption: disabled`"


def new_curve_keys() -> tuple[bytes, bytes]:
    """A new public and secret key.

    Raises:
        SetupError: ZMQ has no CURVE here.
    """
    if not zmq.has("curve"):
        raise SetupError(_NO_CURVE)
    return zmq.curve_keypair()


class Endpoints:
    """The five sockets, bound by the thread that owns them; the connection info; and what to remove in the end.

    Args:
        info: Where to listen. A port of 0 becomes a free one.
    """

    __slots__ = ("_files", "_folder", "info", "sockets")

    def __init__(self, info: ConnectionInfo) -> None:
        self.info: ConnectionInfo = info
        "After `bind`, with the real ports."
        self.sockets: dict[SocketID, zmq.Socket[bytes]] = {}
        self._files: list[str] = []
        self._folder: Path | None = None

    def bind(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Make and bind the sockets.

        Raises:
            SetupError: One can't be bound: which, where, why, and what to do.
        """
        if self.info.transport == "ipc":
            self._prepare_ipc()
        for socket_id in SocketID:
            self._bind(context, socket_id)

    def close(self, linger: int) -> None:
        """Close the sockets; what is still to be sent is sent for at most `linger` milliseconds."""
        for sock in self.sockets.values():
            sock.close(linger)

    def remove_files(self) -> None:
        """Remove what the closed sockets may have left of their files, and the folder if it was made here."""
        for path in self._files:
            ipc.remove_dead(path)
        if self._folder is not None:
            ipc.remove_folder(self._folder)

    def _prepare_ipc(self) -> None:
        """Choose the numbers that are not given and make the folder."""
        if not zmq.has("ipc"):
            raise SetupError("the transport ipc does not exist on this system. Use tcp")
        prefix, ports = self.info.ip, self.info.ports
        for socket_id, port in ports.items():
            ports[socket_id] = port or ipc.free_number(prefix, set(ports.values()))
        self.info = self.info.replace(ports=ports)
        folder = Path(prefix).parent
        if ipc.make_folder(folder):
            self._folder = folder

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]], socket_id: SocketID) -> None:
        url = self.info.url(socket_id)
        self.sockets[socket_id] = sock = context.socket(_KINDS[socket_id])
        try:
            _set_options(sock, socket_id, self.info)
            if self.info.transport == "ipc":
                path = url.removeprefix("ipc://")
                ipc.check_path(path)
                with ipc.owner_only():
                    sock.bind(url)
                self._files.append(path)
            else:
                sock.bind(url)
                port = sock.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
                self.info = self.info.replace(ports={socket_id: int(port)})
        except zmq.ZMQError as error:
            remedy = _REMEDIES.get(error.errno or 0, "Look at `ip`, `transport` and the keys of the connection info")
            raise SetupError(f"can't bind the {socket_id.name} channel to {url}: {error.strerror}. {remedy}") from error


def _set_options(sock: zmq.Socket[bytes], socket_id: SocketID, info: ConnectionInfo) -> None:
    # Whatever happens, a socket never keeps the context from ending.
    sock.setsockopt(zmq.LINGER, 0)
    for option, value in _OPTIONS[socket_id].items():
        sock.setsockopt(option, value)
    if info.transport == "tcp" and ":" in info.ip:
        sock.setsockopt(zmq.IPV6, 1)
    if info.curve_secretkey is not None:
        if not zmq.has("curve"):
            raise SetupError(_NO_CURVE)
        sock.setsockopt(zmq.CURVE_SERVER, 1)
        sock.setsockopt(zmq.CURVE_SECRETKEY, info.curve_secretkey)
