"""Sockets that are files: whose they are, how long their names may be, what happens to those of the dead."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.transport import ipc
from async_kernel.transport.zmq_transport import ZmqTransport
from async_kernel.typing import SocketID


def ignore(*_: Any) -> None:
    """Receives."""


def test_only_the_owner_gets_in(opened: Callable[..., Any], folder: Path) -> None:
    """Anybody on the machine could run code as the user."""
    with opened("ipc") as rig:
        made = folder / "sockets"
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        paths = sorted(made.iterdir())
        assert [path.name for path in paths] == [f"c-{n}" for n in range(1, 6)]
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in paths)
        assert set(rig.transport.info_ports.values()) == {1, 2, 3, 4, 5}
    assert not made.exists()


def test_a_folder_that_was_there_stays(folder: Path) -> None:
    """The runtime folder of all kernels would be removed with the last one, or its mode changed."""
    folder.chmod(0o755)
    (folder / "c-2").touch()
    transport = ZmqTransport(ConnectionInfo.new(transport="ipc", ip=str(folder / "c")))
    transport.start(ignore)
    assert sorted(transport.info_ports.values()) == [1, 3, 4, 5, 6]
    assert all(stat.S_IMODE((folder / f"c-{n}").stat().st_mode) & 0o077 == 0 for n in (1, 3, 4, 5, 6))
    transport.close()
    assert [path.name for path in folder.iterdir()] == ["c-2"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_living_kernels_socket_is_not_taken(opened: Callable[..., Any], folder: Path) -> None:
    """ZMQ would take it without a word, and the other kernel would never be reached again."""
    with opened("ipc") as rig:
        other = ZmqTransport(rig.transport.info)
        with pytest.raises(SetupError, match="another process listens"):
            other.start(ignore)
        assert len(list((folder / "sockets").iterdir())) == 5
        client = rig.client()
        client.send(SocketID.shell, b"still there?")
        assert rig.next()[1] == [b"client", b"still there?"]


def test_a_dead_kernels_socket_is_replaced(folder: Path) -> None:
    """A kernel that was killed could not be restarted with its connection file."""
    path = folder / "c-1"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    info = ConnectionInfo.new(transport="ipc", ip=str(folder / "c")).replace(ports={SocketID.shell: 1})
    transport = ZmqTransport(info)
    transport.start(ignore)
    assert transport.info_ports[SocketID.shell] == 1
    assert ipc.is_alive(str(path))
    transport.close()
    assert list(folder.iterdir()) == []


def test_a_file_in_the_way_is_not_removed(folder: Path) -> None:
    """ZMQ would delete it."""
    (folder / "c-1").write_text("precious")
    info = ConnectionInfo.new(transport="ipc", ip=str(folder / "c")).replace(ports={SocketID.iopub: 1})
    with pytest.raises(SetupError, match="c-1: it is a file"):
        ZmqTransport(info).start(ignore)
    assert (folder / "c-1").read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["c-1"]
    assert not ipc.remove_dead(str(folder / "c-1"))


def test_a_path_that_is_too_long_is_named(folder: Path) -> None:
    """The system's message, `File name too long`, does not say which, nor how long it may be."""
    prefix = folder / ("x" * (ipc.MAX_PATH - len(str(folder)) - 3))
    info = ConnectionInfo.new(transport="ipc", ip=str(prefix))
    longest = ZmqTransport(info)
    longest.start(ignore)
    longest.close()
    with pytest.raises(SetupError, match=r"108 bytes, 107 are allowed.*shorter"):
        ZmqTransport(info.replace(ip=f"{prefix}x")).start(ignore)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    """A wrong `ip` would end in a traceback."""
    (folder / "file").touch()
    for place in (folder / "file", folder / "file" / "deeper"):
        with pytest.raises(SetupError, match="for the ipc sockets"):
            ZmqTransport(ConnectionInfo.new(transport="ipc", ip=str(place / "c"))).start(ignore)


def test_what_can_be_told_of_a_socket(folder: Path) -> None:
    """A living kernel taken for dead would lose its sockets."""
    path = str(folder / "s")
    assert not ipc.is_alive(path)
    assert ipc.remove_dead(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert ipc.is_alive(path)
        assert not ipc.remove_dead(path)
    assert not ipc.is_alive(path)
    assert ipc.remove_dead(path)
    assert not (folder / "s").exists()
    assert ipc.is_alive("x" * 200), "what can't be asked is not called dead"
