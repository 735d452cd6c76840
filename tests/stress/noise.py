"""What reaches the ports of a kernel from programs that are no Jupyter clients, and from some that have no key."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any, Final

import zmq

from tests.stress.link import Sock

PORTS: Final = ("hb", "shell", "control", "stdin", "iopub")
KINDS: Final = {"hb": zmq.DEALER, "shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.XSUB}
GREETING: Final = b"\xff" + bytes(8) + b"\x7f"
"The beginning of ZMTP."
STARTS: Final = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    GREETING,
    GREETING + b"\x03\x00NULL" + bytes(48),
    GREETING + b"\x03\x00CURVE" + bytes(48) + b"\x04\xff" + b"\x7f" + b"\xff" * 7,
    GREETING + b"\x03\x00NULL" + bytes(48) + b"\x04\x19\x05READY" + b"\xff" * 20,
    GREETING + b"\x03\x00NULL" + bytes(48) + b"\x02" + b"\x7f" + b"\xff" * 7 + b"x" * 100,
)


def make_noise(connection_file: Path, seed: int, rounds: int) -> int:
    """Bytes that are not ZMTP, and messages on heartbeat and iopub that nobody sends; how many were sent.

    Nothing is to be heard of them: that the kernel is as before is for others to check.
    """
    chance, info = random.Random(seed), json.loads(connection_file.read_text("utf-8"))
    context: zmq.Context[Sock] = zmq.Context()
    socks = {name: _connect(context, info, name) for name in PORTS}
    try:
        for _ in range(rounds):
            for name in PORTS:
                _talk(info, name, chance.choice(STARTS) + chance.randbytes(chance.randrange(100)))
                socks[name].send_multipart(_frames(chance, name), zmq.NOBLOCK)
    except zmq.Again:
        pass  # A client without the CURVE key is never let in: what it says stays with it.
    finally:
        context.destroy(linger=0)
    return rounds * len(PORTS) * 2


def _connect(context: zmq.Context[Sock], info: dict[str, Any], name: str) -> Sock:
    """A socket that does not encrypt."""
    sock = context.socket(KINDS[name])
    sock.connect(f"{info['transport']}://{info['ip']}{_joint(info)}{info[f'{name}_port']}")
    return sock


def _joint(info: dict[str, Any]) -> str:
    return ":" if info["transport"] == "tcp" else "-"


def _talk(info: dict[str, Any], name: str, data: bytes) -> None:
    """Say `data` where ZMTP is expected, and go."""
    tcp, port = info["transport"] == "tcp", info[f"{name}_port"]
    with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as peer:
        peer.connect((info["ip"], port) if tcp else f"{info['ip']}-{port}")
        peer.sendall(data)


def _frames(chance: random.Random, name: str) -> list[bytes]:
    if name == "iopub":  # Subscriptions, half subscriptions, and what a subscriber can't say.
        return [chance.choice((b"\1", b"\0", b"\2", b"")) + chance.randbytes(chance.randrange(300))]
    return [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(1, 6))]
