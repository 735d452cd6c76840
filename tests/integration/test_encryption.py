"""`encryption:`: CURVE on every channel, with the client that Jupyter has."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.manager import start_new_kernel

from tests.kernels import TIMEOUT, RunningKernel, running, spawn, text_of

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]
TURNED_AWAY = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED


def mechanism(port: int) -> bytes:
    """How a channel wants to be talked to: what ZMTP 3 says in the greeting, before anything else."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as peer:
        peer.sendall(greeting)
        with peer.makefile("rb") as answer:
            return answer.read(64)[12:32].rstrip(b"\0")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_required_makes_keys_and_every_channel_uses_them(start_kernel: Start, backend: str) -> None:
    """Who listens on the wire, or connects without the connection file, learns nothing."""
    kernel = start_kernel("--backend", backend, "--set", "encryption=required")
    info = json.loads(kernel.connection_file.read_text())
    assert (info["transport"], len(info["curve_publickey"]), len(info["curve_secretkey"])) == ("tcp", 40, 40)
    assert kernel.client.hb_channel.is_beating()
    assert text_of(kernel.run("print(1)")[1]) == "1\n"
    msg_id = kernel.client.execute("print(input())", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=TIMEOUT)
    kernel.client.input("asked")
    assert text_of(kernel.collect(msg_id)[1]) == "asked\n"
    control = kernel.client.session.msg("kernel_info_request")
    kernel.client.control_channel.send(control)
    assert kernel.control_reply(control["header"]["msg_id"])["content"]["status"] == "ok"
    for channel in ("hb", "shell", "control", "stdin", "iopub"):
        assert mechanism(info[f"{channel}_port"]) == b"CURVE", channel


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--set", "encryption=required") as kernel:
        yield kernel


@pytest.mark.parametrize("has_a_key", [False, True])
def test_without_the_right_key_no_channel_says_a_word(encrypted: RunningKernel, has_a_key: bool) -> None:
    """Who has no key, or another one, is neither heard nor told anything: not even that the heart beats."""
    info = json.loads(encrypted.connection_file.read_text())
    kinds = {"hb": zmq.DEALER, "shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB}
    frames = encrypted.client.session.serialize(encrypted.client.session.msg("execute_request", {"code": "spied = 1"}))
    with zmq.Context[zmq.Socket[bytes]]() as context:
        for name, kind in kinds.items():
            with context.socket(kind) as sock:
                sock.linger = 0
                if has_a_key:
                    sock.curve_serverkey = zmq.curve_keypair()[0]
                    sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
                with sock.get_monitor_socket(TURNED_AWAY) as turned_away:
                    sock.connect(f"tcp://127.0.0.1:{info[f'{name}_port']}")
                    sock.subscribe(b"") if kind == zmq.SUB else sock.send_multipart(frames)
                    assert turned_away.poll(int(TIMEOUT * 1000)), f"{name}: the kernel did not turn it away"
                    assert text_of(encrypted.run("print('spied' in globals())")[1]) == "False\n"
                    assert not sock.poll(0), f"{name}: {sock.recv_multipart()}"
                    sock.disable_monitor()


def test_jupyter_starts_it_with_keys_of_its_own(
    kernelspecs: list[str], monkeypatch: pytest.MonkeyPatch, jupyter_home: Path
) -> None:
    """`auto`: the kernelspec says that it can, the manager makes keys, the kernel takes them."""
    manager, client = start_new_kernel(kernel_name="async", transport_encryption="required", startup_timeout=TIMEOUT)
    try:
        assert manager.curve_secretkey
        reply = client.execute_interactive("1", timeout=TIMEOUT)
        assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def refused(path: Path, *options: str) -> str:
    process = spawn(path, *options)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1), err
    return err


def test_what_would_not_be_private_does_not_start(tmp_path: Path) -> None:
    """The profile's author relies on it; the line that says so is named."""
    profile, given, own = tmp_path / "p.yaml", tmp_path / "given.json", tmp_path / "own.json"
    profile.write_text("description: x\nencryption: required\n")
    write_connection_file(str(given))
    assert f"{profile}:2:13: error: encryption: required, but the connection file has no CURVE" in refused(
        given, "--profile", str(profile)
    )
    assert "means every address" in refused(own, "--profile", str(profile), "--ip", "'::'")
    public, secret = zmq.curve_keypair()
    write_connection_file(str(given), curve_publickey=public, curve_secretkey=secret)
    assert "--set encryption=disabled: error: encryption: disabled, but" in refused(
        given, "--set", "encryption=disabled"
    )
    assert "no CURVE" in refused_plain(given, "secure")
    assert not own.exists()


def refused_plain(given: Path, profile: str) -> str:
    """What the profile says to a tcp connection file without keys."""
    write_connection_file(str(given))
    return refused(given, "--profile", profile)


def test_secure_is_ipc_for_its_owner_only(start_kernel: Start) -> None:
    """Started by hand it needs no keys: nobody else can open its sockets."""
    kernel = start_kernel("--profile", "secure")
    info = json.loads(kernel.connection_file.read_text())
    assert info["transport"] == "ipc"
    assert Path(info["ip"]).parent.stat().st_mode & 0o777 == 0o700
    assert text_of(kernel.run("print(1)")[1]) == "1\n"
