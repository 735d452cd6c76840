"""What a connection file holds, as Jupyter writes and reads it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from async_kernel.errors import SetupError
from async_kernel.protocol.connection_info import ConnectionInfo, ConnectionInfoError
from async_kernel.typing import SocketID

PORTS: dict[str, Any] = {"hb_port": 1, "shell_port": 2, "stdin_port": 3, "control_port": 4, "iopub_port": 5}
CURVE = {"curve_publickey": "p" * 40, "curve_secretkey": "s" * 40}


def test_file_written_by_jupyter_client_is_read(tmp_path: Path) -> None:
    """No Jupyter program could start a kernel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, written = write_connection_file(
            str(tmp_path / "kernel.json"), ip="127.0.0.1", key=b"secret", kernel_name="async", **PORTS
        )
    info = ConnectionInfo.parse(json.loads(Path(path).read_text("utf-8")))
    assert info.key == b"secret"
    assert info.signature_scheme == written.get("signature_scheme")
    assert info.ports == {SocketID(name.removesuffix("_port")): port for name, port in PORTS.items()}
    assert info.kernel_name == "async"
    assert info.transport == "tcp"
    assert info.url(SocketID.iopub) == "tcp://127.0.0.1:5"


def test_dict_is_loaded_by_jupyter_client() -> None:
    """`jupyter console --existing` could not connect."""
    info = ConnectionInfo.new(kernel_name="async").replace(ports={SocketID.shell: 5001, SocketID.heartbeat: 5002})
    client = BlockingKernelClient()
    client.load_connection_info(json.loads(json.dumps(info.as_dict())))
    assert client.session.key == info.key
    assert client.session.signature_scheme == "hmac-sha256"
    assert (client.shell_port, client.hb_port, client.ip, client.transport) == (5001, 5002, "127.0.0.1", "tcp")


@pytest.mark.parametrize(
    "info",
    [
        ConnectionInfo(),
        ConnectionInfo.new(transport="ipc", ip="/tmp/x/kernel-1-ipc"),
        ConnectionInfo(**PORTS, key=b"\xff\x00key", signature_scheme="hmac-sha512"),
        ConnectionInfo(curve_publickey=b"p" * 40, curve_secretkey=b"s" * 40, kernel_name="é"),
    ],
)
def test_dict_and_back(info: ConnectionInfo) -> None:
    """A kernel restarted from its own file would have another key or other ports."""
    assert ConnectionInfo.parse(json.loads(json.dumps(info.as_dict()))) == info
    assert ConnectionInfo.parse(info.as_dict()) == info


def test_urls() -> None:
    """Sockets would be bound where no client looks."""
    ipc = ConnectionInfo(transport="ipc", ip="/run/k-ipc", **PORTS)
    assert ipc.url(SocketID.heartbeat) == "ipc:///run/k-ipc-1"
    for ip, host in (
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("*", "0.0.0.0"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("my.host", "my.host"),
    ):
        assert ConnectionInfo(ip=ip, shell_port=7).url(SocketID.shell) == f"tcp://{host}:7"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shell_port": None}, "shell_port: expected a port, 0 to 65535, got None"),
        ({"shell_port": "1"}, "shell_port: expected a port, 0 to 65535, got '1'"),
        ({"hb_port": True}, "hb_port: expected a port, 0 to 65535, got True"),
        ({"hb_port": 65536}, "hb_port: expected a port, 0 to 65535, got 65536"),
        ({"hb_port": -1}, "hb_port: expected a port"),
        ({"transport": "udp"}, "transport: expected tcp or ipc, got 'udp'"),
        ({"transport": 3}, "transport: expected a string, got 3"),
        ({"ip": 127}, "ip: expected a string, got 127"),
        ({"signature_scheme": "sha256"}, "signature_scheme: expected hmac-<hash>, e.g. hmac-sha256, got 'sha256'"),
        ({"key": 17}, "key: expected a string, got <class 'int'>"),
        ({"curve_publickey": "short"}, "curve_publickey: expected 40 characters of Z85, got '5 bytes'"),
        ({"curve_publickey": "p" * 40}, "curve_secretkey: expected both curve keys, or none, it is missing"),
        ({"curve_secretkey": "p" * 40}, "curve_publickey: expected both curve keys, or none, it is missing"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], sentence: str) -> None:
    """A kernel that does not start would not say why."""
    with pytest.raises(ConnectionInfoError) as caught:
        ConnectionInfo.parse({**PORTS, **change})
    assert str(caught.value).startswith(f"connection info: {sentence}")
    assert caught.value.field == sentence.partition(":")[0]
    assert isinstance(caught.value, SetupError)


@pytest.mark.parametrize("port", PORTS)
def test_missing_port_is_named(port: str) -> None:
    """A connection file that lacks ports would start a kernel that nobody finds."""
    with pytest.raises(ConnectionInfoError, match=f"{port}: expected a port, 0 to 65535, it is missing"):
        ConnectionInfo.parse({name: number for name, number in PORTS.items() if name != port})


def test_defaults_of_optional_fields() -> None:
    """Old connection files would be refused."""
    info = ConnectionInfo.parse({**PORTS, "key": "", "signature_scheme": "", "ip": None, "unknown": 1})
    assert info == ConnectionInfo(**PORTS)
    assert info.key == b""
    assert ConnectionInfo.parse({**PORTS, "key": b"k", "ip": Path("/x"), "transport": "ipc"}).ip == "/x"


def test_key_is_random_and_never_shown() -> None:
    """Anybody who reads a log could run code in the kernel."""
    info = ConnectionInfo.new().replace(curve_publickey=b"p" * 40, curve_secretkey=b"s" * 40)
    assert info.key != ConnectionInfo.new().key
    assert len(info.key) >= 32
    assert info.key.decode() not in repr(info)
    assert "s" * 40 not in f"{info} {info!r}"
    with pytest.raises(ConnectionInfoError) as caught:
        ConnectionInfo.parse({**PORTS, "curve_publickey": "secret", "key": ["secret"]})
    assert "secret" not in str(caught.value)


def test_new_refuses_an_unknown_transport() -> None:
    """A misspelt transport would be bound as ipc."""
    with pytest.raises(ConnectionInfoError, match="transport: expected tcp or ipc, got 'udp'"):
        ConnectionInfo.new(transport="udp")


def test_is_frozen_and_replace_makes_a_copy() -> None:
    """Ports would change under a running transport."""
    info = ConnectionInfo()
    with pytest.raises(AttributeError):
        info.hb_port = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert info.replace(ip="::1", ports={SocketID.heartbeat: 9}).hb_port == 9
    assert info == ConnectionInfo()
