"""`async-kernel run --check`: a kernel of the profile is started, used and ended, by the client that Jupyter has."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from async_kernel.cli import render
from async_kernel.cli.start import arguments, tell
from async_kernel.config.layers import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["check"]

SECONDS: Final = 30.0
"For each step; a kernel takes a fraction of one, where nothing is wrong."
LOOK_SECONDS: Final = 0.5
"Meanwhile the kernel may have died: nobody answers then."
ENDLESS: Final = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)"


class CheckFailedError(Exception):
    """A step of the check went wrong; the text says how."""


def check(name: str, overrides: Sequence[Override]) -> int:
    """Start a kernel as `run` would, execute, interrupt and shut it down, and print a checklist.

    Args:
        name: The profile's name or path.
        overrides: What the command line says.

    Returns:
        0, or 1 where a step failed; what the kernel itself says of it follows on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="async-kernel-check-", ignore_cleanup_errors=True) as folder:
        trial = Trial(Path(folder), arguments(name, str(Path(folder, "kernel.json")), overrides))
        try:
            rows = _checked(trial)
        finally:
            said = trial.end()
    render.table(rows, {"check": "check", "detail": "detail", "state": "state"})
    failed = any(row["state"] == "failed" for row in rows)
    if failed and said:
        tell("the kernel said", said)
    return int(failed)


def _checked(trial: Trial) -> list[dict[str, str]]:
    """A row for each step; after one that fails, the others are not tried."""
    rows: list[dict[str, str]] = []
    for step in (trial.start, trial.answer, trial.execute, trial.interrupt, trial.shut_down):
        row = {"check": (step.__doc__ or "").rstrip("."), "detail": "", "state": "not tried"}
        if all(earlier["state"] == "ok" for earlier in rows):
            began = time.monotonic()
            try:
                row["detail"] = step() or f"{(time.monotonic() - began) * 1000:.0f} ms"
                row["state"] = "ok"
            except CheckFailedError as error:
                row["detail"], row["state"] = str(error), "failed"
        rows.append(row)
    return rows


class Trial:
    """One kernel process on trial, and its client.

    Args:
        folder: For its connection file and what it writes to stderr.
        command: What follows `python -m async_kernel`.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._file = folder / "kernel.json"
        self._command = [sys.executable, "-m", "async_kernel", *command]
        self._said = open(folder / "stderr", "w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - `end` closes it
        self._process: subprocess.Popen[Any] | None = None
        self._client: Any = None

    def start(self) -> str:
        """The kernel starts."""
        # With a parent to watch it neither outlives this process nor writes to the terminal.
        environ = {**os.environ, "JPY_PARENT_PID": str(os.getpid())}
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": self._said}
        self._process = subprocess.Popen(self._command, env=environ, **streams)
        deadline = time.monotonic() + SECONDS
        while not self._file.exists():
            self._alive()
            if time.monotonic() > deadline:
                raise CheckFailedError(f"no connection file after {SECONDS:g} s")
            self._ended(0.02)
        return ""

    def answer(self) -> str:
        """A client connects, and the heartbeat beats."""
        try:
            from jupyter_client.blocking.client import BlockingKernelClient
        except ImportError as error:
            raise CheckFailedError(f"jupyter_client can't be imported: {error}") from error
        self._client = BlockingKernelClient(connection_file=str(self._file))
        self._client.load_connection_file()
        self._client.start_channels()
        deadline = time.monotonic() + SECONDS
        while not self._ready():
            self._alive()
            if time.monotonic() > deadline:
                raise CheckFailedError(f"no answer to kernel_info_request within {SECONDS:g} s")
        encrypted = ", CURVE" if self._client.curve_publickey else ""
        return f"{self._client.transport}{encrypted}"

    def _ready(self) -> bool:
        try:
            self._client.wait_for_ready(timeout=LOOK_SECONDS)
        except RuntimeError:
            return False
        return True

    def execute(self) -> str:
        """A cell runs, and its output arrives."""
        msg_id = self._client.execute("print(6 * 7)", store_history=False, allow_stdin=False)
        if (text := self._printed(msg_id, lambda text: "\n" in text)) != "42\n":
            raise CheckFailedError(f"print(6 * 7) has printed {text!r}")
        self._expect(self._reply(msg_id), "status", "ok")
        return ""

    def interrupt(self) -> str:
        """A cell that runs for ever is interrupted."""
        msg_id = self._client.execute(ENDLESS, store_history=False, allow_stdin=False)
        self._printed(msg_id, lambda text: "begun" in text)
        self._client.control_channel.send(self._client.session.msg("interrupt_request", {}))
        self._expect(self._reply(msg_id), "ename", "KernelInterruptError")
        return ""

    def shut_down(self) -> str:
        """It shuts down, and leaves nothing behind."""
        process = self._process
        self._client.shutdown()
        if process is None or not self._ended(SECONDS):
            raise CheckFailedError(f"it still runs {SECONDS:g} s after the request")
        if process.returncode or self._file.exists():
            left = ", its connection file is left" if self._file.exists() else ""
            raise CheckFailedError(f"it ended with exit code {process.returncode}{left}")
        return ""

    def end(self) -> str:
        """End what is left of it; what it has written to stderr."""
        if self._client is not None:
            self._client.stop_channels()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with self._said as said:
            said.seek(0)
            return said.read().strip()

    def _ended(self, seconds: float) -> bool:
        try:
            if self._process is not None:
                self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise CheckFailedError(f"it ended with exit code {self._process.returncode}")

    def _printed(self, msg_id: str, enough: Callable[[str], bool]) -> str:
        text = ""
        while not enough(text):
            message = self._next(self._client.get_iopub_msg, msg_id)
            kind, content = message["msg_type"], message["content"]
            if content.get("execution_state") == "idle":
                self._expect(self._reply(msg_id), "status", "ok")
                raise CheckFailedError(f"the cell ended, and its output was {text!r}")
            text += content["text"] if kind == "stream" else ""
        return text

    def _reply(self, msg_id: str) -> dict[str, Any]:
        return self._next(self._client.get_shell_msg, msg_id)["content"]

    def _next(self, get: Callable[..., Any], msg_id: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                message = get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._alive()
                if time.monotonic() > deadline:
                    raise CheckFailedError(f"no answer within {SECONDS:g} s") from None
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return message

    @staticmethod
    def _expect(content: dict[str, Any], field: str, value: str) -> None:
        if content.get(field) != value:
            error = f"{content.get('ename')}: {content.get('evalue')}"
            raise CheckFailedError(f"expected {field} {value}, got {error if 'ename' in content else content}")
