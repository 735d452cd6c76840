"""A kernel in a process of its own, and a real client for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

TIMEOUT = 20.0


class RunningKernel:
    """A kernel process with a client."""

    def __init__(self, process: subprocess.Popen[str], connection_file: Path) -> None:
        self.process = process
        self.connection_file = connection_file
        self.client = BlockingKernelClient(connection_file=str(connection_file))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def run(self, code: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Execute code; its reply, and all that it published between busy and idle."""
        return self.collect(self.client.execute(code, **options))

    def collect(self, msg_id: str, timeout: float = TIMEOUT) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The reply to a request, and all that it published between busy and idle."""
        return self.reply(msg_id, timeout), self.published(msg_id, timeout)

    def reply(self, msg_id: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """The reply to a request on shell; others are passed over."""
        return self._next(self.client.get_shell_msg, msg_id, timeout)

    def control_reply(self, msg_id: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """The reply to a request on control."""
        return self._next(self.client.get_control_msg, msg_id, timeout)

    def published(self, msg_id: str, timeout: float = TIMEOUT) -> list[dict[str, Any]]:
        """What a request published between busy and idle."""
        messages: list[dict[str, Any]] = []
        while True:
            message = self._next(self.client.get_iopub_msg, msg_id, timeout)
            if message["msg_type"] == "status":
                if message["content"]["execution_state"] == "idle":
                    return messages
            else:
                messages.append(message)

    def begun(self, msg_id: str) -> str:
        """Wait until a request has printed something; its id."""
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == msg_id:
                return msg_id

    def interrupt(self, **content: Any) -> None:
        """Interrupt what runs, or only what `content` names."""
        message = self.client.session.msg("interrupt_request", content)
        self.client.control_channel.send(message)
        assert self.control_reply(message["header"]["msg_id"])["content"]["status"] == "ok"

    def stop(self) -> None:
        """End the process if it lives, and close the client."""
        self.client.stop_channels()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self.process.communicate()

    @staticmethod
    def _next(get: Callable[..., dict[str, Any]], msg_id: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            message = get(timeout=max(0.0, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == msg_id:
                return message


def spawn(connection_file: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """`async-kernel run -f FILE options...`."""
    return subprocess.Popen(
        [sys.executable, "-m", "async_kernel", "run", "-f", str(connection_file), *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(connection_file: Path, *options: str, **environment: str) -> Generator[RunningKernel]:
    """A kernel of `async-kernel run -f FILE options...` with a client; it is ended afterwards."""
    process = spawn(connection_file, *options, **environment)
    wait_for_file(connection_file, process)
    kernel = RunningKernel(process, connection_file)
    try:
        yield kernel
    finally:
        kernel.stop()


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the kernel has written its connection file."""
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no connection file"
        os.sched_yield()


def wait_for_ports(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the kernel listens where a connection file says that was there before it (tcp)."""
    info = json.loads(path.read_text())
    deadline = time.monotonic() + TIMEOUT
    for name in ("hb", "shell", "control", "stdin", "iopub"):
        while True:
            try:
                socket.create_connection((info["ip"], info[f"{name}_port"]), TIMEOUT).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, f"nobody listens on {name}"
                os.sched_yield()


def wait_for_log(kernel: RunningKernel) -> Path:
    """Wait until a kernel has begun its log, which it does when it is ready; the log, in `JUPYTER_RUNTIME_DIR`."""
    path = Path(os.environ["JUPYTER_RUNTIME_DIR"], "async-kernel", f"{kernel.connection_file.stem}.log")
    deadline = time.monotonic() + TIMEOUT
    while not (path.exists() and f'"pid": {kernel.process.pid}' in path.read_text()):
        assert kernel.process.poll() is None, kernel.process.communicate()
        assert time.monotonic() < deadline, "no log"
        os.sched_yield()
    return path


def text_of(messages: list[dict[str, Any]], name: str = "stdout") -> str:
    """What was printed to a stream."""
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == name)
