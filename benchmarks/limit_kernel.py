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
from typing import Any

import zmq

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

    def decode(self, frames: list[bytes]) -> tuple[list[bytes], bytes, str, dict[str, Any]]:
        """Identities, header as it came, message type and content."""
        at = frames.index(DELIMITER)
        parts = frames[at + 2 : at + 6]
        if not hmac.compare_digest(self.sign(parts), frames[at + 1]):
            raise ValueError("wrong signature")
        return frames[:at], parts[0], json.loads(parts[0])["msg_type"], json.loads(parts[3])

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


class LimitKernel:
    """Five sockets, two loops, one namespace. It is its own `sys.stdout`."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.context = zmq.Context()
        self.wire = Wire(info["key"].encode())
        self.sockets = {name: self.bind(kind, info, name) for name, kind in KINDS.items()}
        self.iopub_lock = threading.Lock()
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.count = 0
        self.parent = b"{}"
        self.text: list[str] = []

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
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
            ident, header, msg_type, content = self.wire.decode(self.sockets[channel].recv_multipart())
            self.publish("status", {"execution_state": "busy"}, header)
            if handler := getattr(self, msg_type, None):
                reply = self.wire.encode(ident, msg_type.replace("request", "reply"), handler(content, header), header)
                self.sockets[channel].send_multipart(reply)
            self.publish("status", {"execution_state": "idle"}, header)
        self.sockets[channel].close()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def publish(self, msg_type: str, content: Any, parent: bytes) -> None:
        with self.iopub_lock:
            self.sockets["iopub"].send_multipart(self.wire.encode([msg_type.encode()], msg_type, content, parent))

    def write(self, text: str) -> int:
        self.text.append(text)
        if len(self.text) >= 16384:
            self.flush()
        return len(text)

    def flush(self) -> None:
        text, self.text = "".join(self.text), []
        if text:
            self.publish("stream", {"name": "stdout", "text": text}, self.parent)

    def kernel_info_request(self, content: Any, header: bytes) -> Any:
        return INFO

    def shutdown_request(self, content: Any, header: bytes) -> Any:
        return {"status": "ok", "restart": content["restart"]}

    def execute_request(self, content: Any, header: bytes) -> Any:
        self.count += 1
        self.parent = header
        self.publish("execute_input", {"code": content["code"], "execution_count": self.count}, header)
        try:
            self.execute(content["code"])
        except Exception as error:  # noqa: BLE001  (the code of a cell may raise anything)
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
