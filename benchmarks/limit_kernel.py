"""The smallest honest kernel: what the wire itself costs, and so what no kernel in Python can be faster than.

One blocking loop for shell, one for control in a thread of its own, signed messages, bare `exec`, no IPython. It keeps
the promises that the benchmarks check (busy, reply and idle once each, in order, with their parent) and nothing else.

    python limit_kernel.py -f CONNECTION_FILE
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

DELIMITER = b"<IDS|MSG>"
INFO = {
    "status": "ok",
    "protocol_version": "5.5",
    "implementation": "limit",
    "implementation_version": "1",
    "language_info": {"name": "python", "version": sys.version.split()[0], "file_extension": ".py"},
    "banner": "",
    "help_links": [],
}


class Wire:
    """Frames to messages and back."""

    def __init__(self, key: bytes) -> None:
        self.mac = hmac.new(key, digestmod=hashlib.sha256)
        self.session = os.urandom(16).hex()
        self.count = 0

    def sign(self, parts: list[bytes]) -> bytes:
        mac = self.mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()

    def decode(self, frames: list[bytes]) -> tuple[list[bytes], bytes, str, dict[str, Any], list[bytes]]:
        """Identities, header as it came, message type, content and buffers."""
        at = frames.index(DELIMITER)
        parts = frames[at + 2 : at + 6]
        if not hmac.compare_digest(self.sign(parts), frames[at + 1]):
            raise ValueError("wrong signature")
        return frames[:at], parts[0], json.loads(parts[0])["msg_type"], json.loads(parts[3]), frames[at + 6 :]

    def encode(self, ident: list[bytes], msg_type: str, content: Any, parent: bytes) -> list[bytes]:
        self.count += 1
        header = {
            "msg_id": f"{self.session}_{self.count}",
            "session": self.session,
            "username": "limit",
            "date": datetime.now(UTC).isoformat(),
            "msg_type": msg_type,
            "version": "5.5",
        }
        parts = [json.dumps(header).encode(), parent, b"{}", json.dumps(content).encode()]
        return [*ident, DELIMITER, self.sign(parts), *parts]


class LimitComm:
    """What the `comm` package would give a target: a way to hear and a way to answer."""

    def __init__(self, kernel: LimitKernel, comm_id: str) -> None:
        self.kernel, self.comm_id = kernel, comm_id
        self.handler: Callable[[dict[str, Any]], None] = print

    def on_msg(self, handler: Callable[[dict[str, Any]], None]) -> None:
        self.handler = handler

    def send(self, data: Any, buffers: Sequence[bytes] = ()) -> None:
        content = {"comm_id": self.comm_id, "data": data}
        self.kernel.publish("comm_msg", content, self.kernel.parent, buffers)


class LimitKernel:
    """Five sockets, two loops, one namespace. It is its own `sys.stdout`, and its own manager of comms."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.context = zmq.Context()
        self.wire = Wire(info["key"].encode())
        self.sockets = {name: self.bind(kind, info, name) for name, kind in KINDS.items()}
        self.iopub_lock = threading.Lock()
        self.namespace: dict[str, Any] = {"__name__": "__main__", "display": self.display}
        self.targets: dict[str, Any] = {}
        self.comms: dict[str, LimitComm] = {}
        self.interruptible = False
        self.count = 0
        self.parent = b"{}"
        self.text: list[str] = []
        self.text_lock, self.unfinished = threading.Lock(), threading.local()

    def bind(self, kind: int, info: dict[str, Any], name: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        for option, value in ((zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.LINGER, 500)):
            socket.setsockopt(option, value)
        socket.bind(f"tcp://{info['ip']}:{info[f'{name}_port']}")
        return socket

    def run(self) -> None:
        threads = [threading.Thread(target=self.echo), threading.Thread(target=self.loop, args=("control",))]
        for thread in threads:
            thread.start()
        sys.stdout = self
        sys.modules["comm"] = cast("ModuleType", SimpleNamespace(get_comm_manager=lambda: self))
        signal.signal(signal.SIGINT, self.interrupted)
        with suppress(KeyboardInterrupt):
            self.loop("shell")
        with self.iopub_lock:
            for name in ("shell", "stdin", "iopub"):
                self.sockets[name].close()
        self.context.term()  # ends the heartbeat's proxy too
        os._exit(0)

    def echo(self) -> None:
        with self.sockets["hb"] as heartbeat, suppress(zmq.ContextTerminated):
            zmq.proxy(heartbeat, heartbeat)

    def loop(self, channel: str) -> None:
        """Answer what comes on `channel`, until a shutdown request has been answered."""
        msg_type = ""
        while msg_type != "shutdown_request":
            ident, header, msg_type, content, buffers = self.wire.decode(self.sockets[channel].recv_multipart())
            self.publish("status", {"execution_state": "busy"}, header)
            if msg_type.startswith("comm_"):
                self.parent = header
                getattr(self, msg_type)(content, buffers)
            elif handler := getattr(self, msg_type, None):
                reply = self.wire.encode(ident, msg_type.replace("request", "reply"), handler(content, header), header)
                self.sockets[channel].send_multipart(reply)
            self.publish("status", {"execution_state": "idle"}, header)
        self.sockets[channel].close()
        self.interruptible = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def interrupted(self, number: int, frame: object) -> None:
        if self.interruptible:
            raise KeyboardInterrupt

    def publish(self, msg_type: str, content: Any, parent: bytes, buffers: Sequence[bytes] = ()) -> None:
        with self.iopub_lock:
            frames = self.wire.encode([msg_type.encode()], msg_type, content, parent)
            self.sockets["iopub"].send_multipart([*frames, *buffers])

    def write(self, text: str) -> int:
        """Keep whole lines: `print` writes what ends a line by itself, and another thread may come between."""
        line = getattr(self.unfinished, "line", "") + text
        self.unfinished.line = "" if text.endswith("\n") else line
        if text.endswith("\n"):
            with self.text_lock:
                self.text.append(line)
            if len(self.text) >= 8192:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self.text_lock:
            text, self.text = "".join(self.text) + getattr(self.unfinished, "line", ""), []
            self.unfinished.line = ""
            if text:
                self.publish("stream", {"name": "stdout", "text": text}, self.parent)

    def display(self, data: Any, raw: bool = True) -> None:
        self.flush()
        self.publish("display_data", {"data": data, "metadata": {}}, self.parent)

    def register_target(self, name: str, opened: Callable[[LimitComm, Any], None]) -> None:
        self.targets[name] = opened

    def comm_open(self, content: Any, buffers: list[bytes]) -> None:
        comm = self.comms[content["comm_id"]] = LimitComm(self, content["comm_id"])
        self.targets[content["target_name"]](comm, content)

    def comm_msg(self, content: Any, buffers: list[bytes]) -> None:
        self.comms[content["comm_id"]].handler({"content": content, "buffers": buffers})

    def comm_close(self, content: Any, buffers: list[bytes]) -> None:
        del self.comms[content["comm_id"]]

    def interrupt_request(self, content: Any, header: bytes) -> Any:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return {"status": "ok"}

    def kernel_info_request(self, content: Any, header: bytes) -> Any:
        return INFO

    def shutdown_request(self, content: Any, header: bytes) -> Any:
        return {"status": "ok", "restart": content["restart"]}

    def execute_request(self, content: Any, header: bytes) -> Any:
        self.count += 1
        self.parent = header
        self.publish("execute_input", {"code": content["code"], "execution_count": self.count}, header)
        try:
            self.interruptible = True
            self.execute(content["code"])
            self.interruptible = False
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the code of a cell may raise anything)
            self.interruptible = False
            content = {
                "ename": type(error).__name__,
                "evalue": str(error),
                "traceback": traceback.format_exc().split("\n"),
            }
            self.flush()
            self.publish("error", content, header)
            return {"status": "error", "execution_count": self.count, **content}
        self.flush()
        return {"status": "ok", "execution_count": self.count, "user_expressions": {}, "payload": []}

    def execute(self, code: str) -> None:
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<cell>", "exec"), self.namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), self.namespace)
            if value is not None:
                self.flush()
                data = {"data": {"text/plain": repr(value)}, "metadata": {}, "execution_count": self.count}
                self.publish("execute_result", data, self.parent)


KINDS = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.PUB, "hb": zmq.ROUTER}

if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as connection_file:
        LimitKernel(json.load(connection_file)).run()
