"""A client of raw sockets: it signs, sends, verifies and decodes by itself, sharing no code with the kernel."""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import zmq

CHANNELS: Final = ("shell", "control", "stdin", "iopub")
DELIMITER: Final = b"<IDS|MSG>"
USERNAME: Final = "stress"
KINDS: Final = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB}

Sock = zmq.Socket[bytes]


class BrokenError(Exception):
    """The kernel broke a promise; the message says which, and about what request."""


class Received(NamedTuple):
    """One message from the kernel."""

    msg_type: str
    parent: dict[str, Any]
    content: Any
    header: dict[str, Any]

    @property
    def foreign(self) -> bool:
        """Whether it answers somebody else: `async-kernel ps`, say, which asks every kernel of the machine."""
        return self.parent.get("username", USERNAME) != USERNAME


class Signer:
    """The signatures of one connection: HMAC-SHA256, or none without a key."""

    def __init__(self, key: bytes) -> None:
        self._mac = hmac.new(key, digestmod="sha256") if key else None

    def __call__(self, parts: list[bytes]) -> bytes:
        if self._mac is None:
            return b""
        mac = self._mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()


class Link:
    """One client: a session, an identity and four sockets."""

    def __init__(self, context: zmq.Context[Sock], connection_file: Path, name: str) -> None:
        info: dict[str, Any] = json.loads(connection_file.read_text("utf-8"))
        self.sign: Signer = Signer(info["key"].encode())
        # Random: the same request, sent by two runs to one kernel, would be refused as a replay.
        self.session: str = f"{name}-{os.urandom(8).hex()}"
        self.sockets: dict[str, Sock] = {name: self._connect(context, info, name) for name in CHANNELS}

    def _connect(self, context: zmq.Context[Sock], info: dict[str, Any], channel: str) -> Sock:
        sock = context.socket(KINDS[channel])
        for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
            sock.setsockopt(option, 0)
        if public := info.get("curve_publickey"):
            sock.curve_serverkey = public.encode()
            sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        if channel == "iopub":
            sock.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            # The answers to `input()` come to the stdin socket of the identity that asked on shell.
            sock.setsockopt(zmq.IDENTITY, self.session.encode())
        joint = ":" if info["transport"] == "tcp" else "-"
        sock.connect(f"{info['transport']}://{info['ip']}{joint}{info[f'{channel}_port']}")
        return sock

    def header(self, msg_id: str, msg_type: str, subshell: str | None = None) -> dict[str, Any]:
        """The header of a request."""
        header = {"msg_id": msg_id, "msg_type": msg_type, "session": self.session, "username": USERNAME}
        header |= {"version": "5.5", "date": "2026-01-01T00:00:00Z"}
        return header if subshell is None else {**header, "subshell_id": subshell}

    def frames(self, header: Any, content: Any, metadata: Any = None) -> list[bytes]:
        """The frames of a request, signed."""
        encode = msgspec.json.encode
        return self.signed([encode(header), b"{}", encode(metadata or {}), encode(content)])

    def answer(self, question: Received, content: Any) -> list[bytes]:
        """The frames of the answer to a question of the kernel's."""
        header, encode = (
            self.header(os.urandom(8).hex(), question.msg_type.replace("_request", "_reply")),
            msgspec.json.encode,
        )
        return self.signed([encode(header), encode(question.header), b"{}", encode(content)])

    def signed(self, parts: list[bytes]) -> list[bytes]:
        """`parts` (header, parent header, metadata, content) behind delimiter and signature."""
        return [DELIMITER, self.sign(parts), *parts]

    def send(self, channel: str, frames: list[bytes]) -> None:
        self.sockets[channel].send_multipart(frames)

    def read(self, channel: str) -> Iterator[list[bytes]]:
        """What has come."""
        sock = self.sockets[channel]
        while sock.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # pyright: ignore[reportOperatorIssue]
            yield sock.recv_multipart()

    def decode(self, frames: list[bytes]) -> Received:
        """A message, its signature checked.

        Raises:
            BrokenError: It is not signed as it should be, or is no message.
        """
        at = frames.index(DELIMITER)
        signature, *parts = frames[at + 1 : at + 6]
        if signature != self.sign(parts):
            raise BrokenError(f"a message of the kernel has a wrong signature: {frames!r:.500}")
        header, parent, _, content = (msgspec.json.decode(part) for part in parts)
        return Received(header["msg_type"], parent, content, header)

    def ask(self, msg_type: str, content: Any, channel: str = "shell", timeout: float = 30.0) -> Any:
        """The content of the reply to one request, nothing else being under way on that channel."""
        msg_id = os.urandom(8).hex()
        self.send(channel, self.frames(self.header(msg_id, msg_type), content))
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if self.sockets[channel].poll(int(left * 1000) + 1):
                reply = self.decode(self.sockets[channel].recv_multipart())
                if reply.parent.get("msg_id") == msg_id:
                    return reply.content
        raise BrokenError(f"no reply to {msg_type} on {channel} within {timeout:g} s")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the kernel, which JSON can say."""
        code = f"import json as _json; _value = _json.dumps({expression})"
        fields = {"code": code, "store_history": False, "user_expressions": {"value": "_value"}}
        answer = self.ask("execute_request", fields)
        if answer["status"] != "ok" or answer["user_expressions"]["value"]["status"] != "ok":
            raise BrokenError(f"{expression} failed: {answer!r:.500}")
        # `repr` of a str of ASCII without quotes of the other kind is a JSON text between apostrophes.
        return json.loads(
            answer["user_expressions"]["value"]["data"]["text/plain"][1:-1].encode().decode("unicode_escape")
        )

    def close(self) -> None:
        for each in self.sockets.values():
            each.close()
