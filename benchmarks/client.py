"""A lean client: raw sockets, frames kept as they come, everything checked after the clock has stopped.

`jupyter_client`'s `Session` signs the requests before the clock starts and parses the answers after it has stopped, so
the client's own share of a measured time is small and the same for every kernel.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = ("shell", "control", "iopub", "stdin", "hb")
DELIMITER = b"<IDS|MSG>"


class WrongAnswerError(Exception):
    """A kernel's answer is missing, late or not what was asked for: this is a failure, not a time."""


class TimeLimitError(Exception):
    """A kernel has had all the time that a measure gives it; unlike a wrong answer, this ends every attempt."""


class UnsupportedError(Exception):
    """A kernel does not claim to do what is measured: this is neither a failure nor a time."""


@dataclass
class Request:
    """One signed request, ready to be sent."""

    msg_id: str
    msg_type: str
    frames: list[bytes]


@dataclass
class Answer:
    """What came for the requests of one measurement: raw frames in the order of their arrival."""

    shell: list[list[bytes]] = field(default_factory=list[list[bytes]])
    iopub: list[list[bytes]] = field(default_factory=list[list[bytes]])
    control: list[list[bytes]] = field(default_factory=list[list[bytes]])
    seconds: float = 0.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; chosen together, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Client:
    """The client of one kernel. It writes the connection file and is connected before the kernel is started."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], connection_file: Path) -> None:
        ports = dict(zip((f"{name}_port" for name in CHANNELS), free_ports(len(CHANNELS)), strict=True))
        info: dict[str, Any] = {"transport": "tcp", "ip": "127.0.0.1", "key": "benchmark", **ports}
        connection_file.write_text(json.dumps({**info, "signature_scheme": "hmac-sha256", "kernel_name": ""}), "utf-8")
        connection_file.chmod(0o600)
        self.session = Session(key=b"benchmark")
        self.context, self.ports = context, {name: ports[f"{name}_port"] for name in CHANNELS}
        self.sockets = {
            name: self.connect(kind, name)
            for name, kind in (("shell", zmq.DEALER), ("control", zmq.DEALER), ("iopub", zmq.SUB))
        }
        self.sockets["iopub"].setsockopt(zmq.SUBSCRIBE, b"")

    def connect(self, kind: int, channel: str, **options: int | bytes) -> zmq.Socket[bytes]:
        """One more socket of the client; `options` are ZMQ's, by their names."""
        socket = self.context.socket(kind)
        # The default of 100 ms for reconnecting would be the resolution of every start-up time.
        settings: dict[str, int | bytes] = {"LINGER": 0, "SNDHWM": 0, "RCVHWM": 0, "RECONNECT_IVL": 2}
        for name, value in (settings | options).items():
            socket.setsockopt(getattr(zmq, name), value)
        socket.connect(f"tcp://127.0.0.1:{self.ports[channel]}")
        return socket

    def close(self) -> None:
        for each in self.sockets.values():
            each.close()

    def request(self, msg_type: str, /, subshell: str | None = None, **content: Any) -> Request:
        message = self.session.msg(msg_type, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        return Request(message["msg_id"], msg_type, self.session.serialize(message))

    def execute(self, code: str, **content: Any) -> Request:
        fields: dict[str, Any] = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        fields.update(content, code=code)
        fields.setdefault("stop_on_error", True)
        return self.request("execute_request", **fields)

    def send(self, request: Request, channel: str = "shell") -> None:
        self.sockets[channel].send_multipart(request.frames)

    def discard(self, seconds: float = 0.0) -> None:
        """Throw away what is still to be read, until nothing has come for `seconds`."""
        for each in self.sockets.values():
            while each.poll(int(seconds * 1000)):
                each.recv_multipart()

    def run(self, requests: list[Request], timeout: float = 20.0) -> Answer:
        """Send `requests` on shell; take the time until the last reply and the last idle are here."""
        answer = Answer()
        started = time.perf_counter()
        for request in requests:
            self.send(request)
        self.collect(answer, requests[-1], len(requests), started + timeout)
        answer.seconds = time.perf_counter() - started
        return answer

    def collect(self, answer: Answer, last: Request, replies: int, deadline: float) -> None:
        """Read until `replies` replies and the idle of the request `last` are here."""
        shell, iopub, msg_id = self.sockets["shell"], self.sockets["iopub"], last.msg_id.encode()
        poller = zmq.Poller()
        poller.register(shell, zmq.POLLIN)
        poller.register(iopub, zmq.POLLIN)
        idle = False
        while len(answer.shell) < replies or not idle:
            if not poller.poll(max(0, int((deadline - time.perf_counter()) * 1000))):
                raise WrongAnswerError(f"{len(answer.shell)} of {replies} replies in time, idle: {idle}")
            with suppress(zmq.Again):
                while len(answer.shell) < replies:
                    answer.shell.append(shell.recv_multipart(zmq.NOBLOCK))
            with suppress(zmq.Again):
                while not idle:
                    answer.iopub.append(iopub.recv_multipart(zmq.NOBLOCK))
                    idle = is_idle(answer.iopub[-1], msg_id)

    def gather(self, requests: list[Request], timeout: float = 20.0, *, replies: bool = True) -> Answer:
        """What `run` does for requests that may be answered in any order; without `replies`: for comm messages."""
        answer = Answer()
        started = time.perf_counter()
        deadline = started + timeout
        for request in requests:
            self.send(request)
        shell, iopub = self.sockets["shell"], self.sockets["iopub"]
        poller = zmq.Poller()
        poller.register(shell, zmq.POLLIN)
        poller.register(iopub, zmq.POLLIN)
        idle, wanted = 0, len(requests) if replies else 0
        while len(answer.shell) < wanted or idle < len(requests):
            ready = dict(poller.poll(max(0, int((deadline - time.perf_counter()) * 1000))))
            if not ready:
                raise WrongAnswerError(f"{len(answer.shell)} of {wanted} replies, {idle} of {len(requests)} idle")
            if shell in ready:
                answer.shell.append(shell.recv_multipart())
            if iopub in ready:
                answer.iopub.append(iopub.recv_multipart())
                idle += is_idle(answer.iopub[-1], b"")
        answer.seconds = time.perf_counter() - started
        return answer

    def check_each(self, answer: Answer, requests: list[Request]) -> list[dict[str, Any]]:
        """Every request has one busy, one idle and, where there are any, one ok reply; what was published."""
        by_id = {request.msg_id: request for request in requests}
        if answer.shell:
            asked = dict(by_id)
            for reply in map(self.parse, answer.shell):
                self.content_of(reply, asked.pop(reply["parent_header"].get("msg_id"), requests[0]))
        published = [self.parse(frames) for frames in answer.iopub]
        states = sorted(
            (m["parent_header"].get("msg_id"), m["content"]["execution_state"]) for m in published if is_state(m)
        )
        if states != sorted((msg_id, state) for msg_id in by_id for state in ("busy", "idle")):
            raise WrongAnswerError(
                f"{len(requests)} requests need one busy and one idle each, got {len(states)} states"
            )
        return published

    def ask(self, request: Request, channel: str, timeout: float = 20.0) -> dict[str, Any]:
        """The content of the checked reply."""
        self.send(request, channel)
        if not self.sockets[channel].poll(int(timeout * 1000)):
            raise WrongAnswerError(f"no {request.msg_type} reply on {channel} in {timeout} s")
        return self.check_reply(self.sockets[channel].recv_multipart(), request)

    def reply(self, request: Request, channel: str, timeout: float = 20.0) -> float:
        """Send `request` on `channel`; the seconds until its reply is here. Only the reply is read and checked."""
        started = time.perf_counter()
        self.send(request, channel)
        if not self.sockets[channel].poll(int(timeout * 1000)):
            raise WrongAnswerError(f"no {request.msg_type} reply on {channel} in {timeout} s")
        frames = self.sockets[channel].recv_multipart()
        seconds = time.perf_counter() - started
        self.check_reply(frames, request)
        return seconds

    def wait_busy(self, request: Request, timeout: float = 20.0) -> None:
        """Wait until the kernel says that it works on `request`."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and self.sockets["iopub"].poll(int(left * 1000)):
            message = self.parse(self.sockets["iopub"].recv_multipart())
            if message["parent_header"].get("msg_id") == request.msg_id:
                return
        raise WrongAnswerError("no busy in time")

    def parse(self, frames: list[bytes]) -> dict[str, Any]:
        """A message, its signature checked."""
        _, parts = self.session.feed_identities(frames)
        return self.session.deserialize(parts)

    def check_reply(self, frames: list[bytes], request: Request) -> dict[str, Any]:
        """The content of a reply, which must be the one to `request`, and ok."""
        return self.content_of(self.parse(frames), request)

    def content_of(self, message: dict[str, Any], request: Request) -> dict[str, Any]:
        content = message["content"]
        expected = request.msg_type.replace("_request", "_reply")
        if message["parent_header"].get("msg_id") != request.msg_id or message["msg_type"] != expected:
            raise WrongAnswerError(f"expected the {expected} of {request.msg_id}, got {message['msg_type']}")
        if content.get("status") != "ok":
            raise WrongAnswerError(f"{expected}: {content.get('ename')}: {content.get('evalue')}")
        return content

    def check(self, answer: Answer, requests: list[Request], also: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Every request has one busy, one ok reply and one idle, replies in order; `also(iopub messages)` is true.

        A kernel may say that it is busy with a request before it is idle of the one before: each has its own state.
        """
        for frames, request in zip(answer.shell, requests, strict=True):
            self.check_reply(frames, request)
        published = [self.parse(frames) for frames in answer.iopub]
        states: dict[str, list[str]] = {request.msg_id: [] for request in requests}
        for message in filter(is_state, published):
            states.setdefault(message["parent_header"].get("msg_id"), []).append(message["content"]["execution_state"])
        if wrong := [each for each in states.values() if each != ["busy", "idle"]]:
            raise WrongAnswerError(f"busy and idle of {len(wrong)} of {len(requests)} requests are missing or wrong")
        if not also(published):
            raise WrongAnswerError("what was published is not what the code asked for")


def is_state(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "status"


def is_idle(frames: list[bytes], msg_id: bytes) -> bool:
    """Whether `frames` are the idle of the request `msg_id`, found without parsing: this runs while the clock does."""
    header, parent, _, content = frames[frames.index(DELIMITER) + 2 :][:4]
    return msg_id in parent and b'"idle"' in content and b'"status"' in header
