"""The file that tells a client where the kernel is, and what to do about the ones of dead kernels."""

from __future__ import annotations

import json
import os
import platform
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.transport import connection_file
from async_kernel.typing import SocketID

PORTS = {socket_id: 50_001 + n for n, socket_id in enumerate(SocketID)}


@pytest.fixture
def info() -> ConnectionInfo:
    return ConnectionInfo.new(kernel_name="async").replace(ports=PORTS)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_reads_what_jupyter_client_writes(tmp_path: Path, transport: str) -> None:
    """No Jupyter client could start the kernel."""
    path = tmp_path / "kernel.json"
    _, written = write_connection_file(
        str(path), transport=transport, ip=str(tmp_path / "k-ipc") if transport == "ipc" else "", key=b"secret"
    )
    info = connection_file.read(path)
    assert info.transport == transport
    assert info.ip == written.get("ip")
    assert info.key == b"secret"
    assert {f"{socket_id.value}_port": port for socket_id, port in info.ports.items()} == {
        name: port for name, port in written.items() if name.endswith("_port")
    }


def test_jupyter_client_reads_what_is_written(tmp_path: Path, info: ConnectionInfo) -> None:
    """`jupyter console --existing` could not find a kernel that was started by hand."""
    path = tmp_path / "kernel.json"
    connection_file.write(path, info)
    client: Any = BlockingKernelClient(connection_file=str(path))
    client.load_connection_file()
    read = client.get_connection_info()
    assert (read["ip"], read["key"], read["transport"]) == (info.ip, info.key, "tcp")
    assert [read[f"{socket_id.value}_port"] for socket_id in SocketID] == list(PORTS.values())


def test_what_is_written_is_read_again(tmp_path: Path, info: ConnectionInfo) -> None:
    """A kernel restarted with its own file would listen elsewhere."""
    path = tmp_path / "kernel.json"
    connection_file.write(path, info)
    assert connection_file.read(path) == info


def test_only_the_owner_may_read_it(tmp_path: Path, info: ConnectionInfo) -> None:
    """The key in it lets anybody run code as the user."""
    path = tmp_path / "kernel.json"
    path.write_text("{}")
    path.chmod(0o644)
    connection_file.write(path, info)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["kernel.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no connection file"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("\udcff\udcfe", "not JSON"),
        ("[1]", "must hold an object"),
        ('{"ip": "127.0.0.1", "key": "a"}', "_port"),
        ('{"shell_port": "no"}', "_port"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    """A traceback does not say which file is wrong and what about it."""
    path = tmp_path / "kernel.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SetupError) as caught:
        connection_file.read(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("field", ["shell_port", "key", "transport", "signature_scheme", "ip"])
def test_a_wrong_field_is_named(tmp_path: Path, info: ConnectionInfo, field: str) -> None:
    """Among a dozen fields one would have to guess."""
    path = tmp_path / "kernel.json"
    path.write_text(json.dumps(info.as_dict() | {field: [1.5]}))
    with pytest.raises(SetupError, match=field) as caught:
        connection_file.read(path)
    assert str(path) in str(caught.value)


def test_a_folder_in_its_place_is_named(tmp_path: Path, info: ConnectionInfo) -> None:
    """A wrong path would end in a traceback."""
    with pytest.raises(SetupError, match="Is a directory"):
        connection_file.read(tmp_path)
    with pytest.raises(SetupError, match="Is a directory"):
        connection_file.write(tmp_path, info)
    assert list(tmp_path.parent.glob(f".{tmp_path.name}*")) == []


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, info: ConnectionInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only runtime folder is a frequent mistake in containers."""
    (tmp_path / "file").touch()
    for folder in ("file", "missing"):
        with pytest.raises(SetupError, match="JUPYTER_RUNTIME_DIR"):
            connection_file.write(tmp_path / folder / "kernel.json", info)
    assert not (tmp_path / "missing").exists()

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom no folder refuses.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SetupError, match=r"Permission denied.*JUPYTER_RUNTIME_DIR"):
        connection_file.write(tmp_path / "kernel.json", info)


def test_only_ones_own_file_is_removed(tmp_path: Path, info: ConnectionInfo) -> None:
    """A client's file, or that of the kernel that came after, would vanish under it."""
    path = tmp_path / "kernel.json"
    connection_file.remove(path)
    connection_file.write(path, info)
    connection_file.remove(path)
    assert not path.exists()
    for text in (json.dumps(info.as_dict()), json.dumps(info.as_dict() | {"kernel_pid": 1}), "no JSON"):
        path.write_text(text)
        connection_file.remove(path)
        assert path.exists()


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_killed_kernel_is_cleaned_up(folder: Path) -> None:
    """The runtime folder would fill with files of kernels that are long dead, and clients would offer them."""
    script = """if 1:
        import sys
        from pathlib import Path
        from async_kernel.protocol.connection_info import ConnectionInfo
        from async_kernel.transport import connection_file
        from async_kernel.transport.zmq_transport import ZmqTransport
        folder = Path(sys.argv[1])
        channels = ZmqTransport(ConnectionInfo.new(transport="ipc", ip=str(folder / "k-ipc" / "c")))
        channels.start(print)
        connection_file.write(folder / "kernel-1.json", channels.info)
        print("ready", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "ready\n"
        assert connection_file.remove_stale(folder) == []
        kernel.send_signal(signal.SIGKILL)
        kernel.wait()
    assert len(list((folder / "k-ipc").iterdir())) == 5
    assert connection_file.remove_stale(folder) == [folder / "kernel-1.json"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_pid": os.getpid()},
        {"kernel_pid": None},
        {"kernel_pid": -1},
        {"kernel_host": "another machine"},
        {"shell_port": None},
    ],
)
def test_what_may_be_alive_is_left_alone(tmp_path: Path, info: ConnectionInfo, change: dict[str, Any]) -> None:
    """The file of a running kernel would be lost, or that of one on another machine with the same home."""
    path = tmp_path / "kernel.json"
    path.write_text(
        json.dumps(info.as_dict() | {"kernel_pid": dead_process(), "kernel_host": platform.node()} | change)
    )
    assert connection_file.remove_stale(tmp_path) == []
    assert path.exists()


def test_what_answers_is_left_alone(tmp_path: Path, opened: Callable[..., Any], kind: str) -> None:
    """A kernel whose process number is seen from another container looks dead by it alone."""
    path = tmp_path / "kernel.json"
    with opened(kind) as rig:
        data = rig.transport.info.as_dict() | {"kernel_pid": dead_process(), "kernel_host": platform.node()}
        path.write_text(json.dumps(data))
        assert connection_file.remove_stale(tmp_path) == []
    assert connection_file.remove_stale(tmp_path) == [path]
