"""Clients of a transport, over ZMQ and in memory, behind one face, so that the contract is tested once for all."""

from __future__ import annotations

import queue
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from async_kernel.interfaces import Receive, Transport
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.transport.memory import MemoryTransport
from async_kernel.transport.zmq_transport import ZmqTransport
from async_kernel.typing import SocketID

TIMEOUT = 10.0


class Client(ABC):
    """A frontend: sends on the ROUTER channels and receives on all."""

    identity: bytes

    @abstractmethod
    def send(self, socket_id: SocketID, *frames: bytes) -> None: ...

    @abstractmethod
    def recv(self, socket_id: SocketID) -> list[bytes]:
        """The next message without the identity, within a bounded time."""

    @abstractmethod
    def subscribe(self, topic: bytes = b"") -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class ZmqClient(Client):
    def __init__(self, info: ConnectionInfo, identity: bytes, *, server_key: bytes | None = None) -> None:
        self.identity = identity
        self._info = info
        self._server_key = server_key
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._sockets: dict[SocketID, zmq.Socket[bytes]] = {}

    def socket(self, socket_id: SocketID, options: dict[int, int] | None = None) -> zmq.Socket[bytes]:
        if socket_id not in self._sockets:
            sock = self._context.socket(zmq.SUB if socket_id is SocketID.iopub else zmq.DEALER)
            sock.setsockopt(zmq.IDENTITY, self.identity)
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.RCVTIMEO, round(TIMEOUT * 1000))
            sock.setsockopt(zmq.SNDTIMEO, round(TIMEOUT * 1000))
            sock.setsockopt(zmq.RCVHWM, 0)
            for option, value in (options or {}).items():
                sock.setsockopt(option, value)
            if self._server_key is not None:
                public, secret = zmq.curve_keypair()
                sock.setsockopt(zmq.CURVE_PUBLICKEY, public)
                sock.setsockopt(zmq.CURVE_SECRETKEY, secret)
                sock.setsockopt(zmq.CURVE_SERVERKEY, self._server_key)
            sock.connect(self._info.url(socket_id))
            self._sockets[socket_id] = sock
        return self._sockets[socket_id]

    def send(self, socket_id: SocketID, *frames: bytes) -> None:
        self.socket(socket_id).send_multipart(frames)

    def recv(self, socket_id: SocketID) -> list[bytes]:
        return self.socket(socket_id).recv_multipart()

    def subscribe(self, topic: bytes = b"") -> None:
        self.socket(SocketID.iopub).setsockopt(zmq.SUBSCRIBE, topic)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._context.term()


class MemoryClient(Client):
    def __init__(self, transport: MemoryTransport, identity: bytes) -> None:
        self.identity = identity
        self._transport = transport
        self._read = dict.fromkeys(SocketID, 0)
        self._topics: list[bytes] = []

    def send(self, socket_id: SocketID, *frames: bytes) -> None:
        self._transport.inject(socket_id, [self.identity, *frames])

    def recv(self, socket_id: SocketID) -> list[bytes]:
        while True:
            n = self._read[socket_id]
            sent_on, frames = self._transport.wait_sent(n + 1, TIMEOUT)[n]
            self._read[socket_id] += 1
            if sent_on is not socket_id:
                continue
            if socket_id is not SocketID.iopub:
                if frames[0] == self.identity:
                    return frames[1:]
            elif any(frames[0].startswith(topic) for topic in self._topics):
                return frames

    def subscribe(self, topic: bytes = b"") -> None:
        self._topics.append(topic)
        self._transport.subscribe(topic)

    def close(self) -> None: ...


class Rig:
    """A started transport, what it has received, and clients of it."""

    def __init__(self, transport: Transport, connect: Callable[[bytes], Client]) -> None:
        self.transport = transport
        self.received: queue.Queue[tuple[SocketID, list[Any], float]] = queue.Queue()
        self.receive: Receive = lambda socket_id, frames, t: self.received.put((socket_id, frames, t))
        self._connect = connect
        self._clients: list[Client] = []

    def start(self) -> None:
        # By a lambda, so that a test may set another `receive` afterwards.
        self.transport.start(lambda socket_id, frames, t: self.receive(socket_id, frames, t))

    def client(self, identity: bytes = b"client") -> Client:
        self._clients.append(self._connect(identity))
        return self._clients[-1]

    def next(self) -> tuple[SocketID, list[Any], float]:
        return self.received.get(timeout=TIMEOUT)

    def close(self) -> None:
        self.transport.close()
        for client in self._clients:
            client.close()


def welcome(topic: bytes) -> list[bytes]:
    return [topic, b"welcome"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for the sockets in it, unlike `tmp_path`."""
    path = Path(tempfile.mkdtemp(prefix="ak-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def new_info(folder: Path) -> Callable[[str], ConnectionInfo]:
    def make(kind: str) -> ConnectionInfo:
        if kind == "ipc":
            return ConnectionInfo.new(transport="ipc", ip=str(folder / "sockets" / "c"))
        return ConnectionInfo.new(transport="tcp")

    return make


@pytest.fixture
def opened(new_info: Callable[[str], ConnectionInfo]) -> Callable[..., Any]:
    """`with opened("tcp", **options) as rig`: options are those of `ZmqTransport`."""

    @contextmanager
    def open_rig(kind: str, **options: Any) -> Generator[Rig]:
        if kind == "memory":
            memory = MemoryTransport(welcome=welcome)
            rig = Rig(memory, lambda identity: MemoryClient(memory, identity))
        else:
            options.setdefault("welcome", welcome)
            channels = ZmqTransport(options.pop("info", None) or new_info(kind), **options)
            rig = Rig(channels, lambda identity: ZmqClient(channels.info, identity))
        rig.start()
        try:
            yield rig
        finally:
            rig.close()

    return open_rig


@pytest.fixture(params=["memory", "tcp", "ipc"])
def rig(request: pytest.FixtureRequest, opened: Callable[..., Any]) -> Iterator[Rig]:
    with opened(request.param) as started:
        yield started


@pytest.fixture(params=["tcp", "ipc"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def connect() -> Iterator[Callable[..., ZmqClient]]:
    """Makes `ZmqClient`s that are closed in the end."""
    clients: list[ZmqClient] = []

    def make(info: ConnectionInfo, identity: bytes = b"client", **options: Any) -> ZmqClient:
        clients.append(ZmqClient(info, identity, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
