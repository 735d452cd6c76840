"""What a person sees who starts a kernel at a terminal: its life, in colour, and nothing of what the cells print."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of, wait_for_file

pytestmark = pytest.mark.slow

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A kernel whose stderr is a terminal."""

    def __init__(self, folder: Path, **environment: str) -> None:
        master, self._slave = pty.openpty()
        self.file = folder / "k.json"
        environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "JPY_PARENT_PID")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "async_kernel", "run", "-f", str(self.file)],
            env={**environ, "TERM": "xterm-256color", "COLUMNS": "200", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._slave,
            text=True,
        )
        self.text = ""
        self._master = master
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for_file(self.file, self.process)
        self.kernel = RunningKernel(self.process, self.file)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has the other end any more
                return
            with self._more:
                self.text += data.decode()
                self._more.notify()

    def expect(self, text: str) -> None:
        """Wait until `text` is to be read, colours aside."""
        with self._more:
            assert self._more.wait_for(lambda: text in ESCAPE.sub("", self.text), TIMEOUT), self.text

    def close(self) -> str:
        """What the kernel has written to stdout."""
        self.kernel.client.stop_channels()
        os.close(self._slave)
        out, _ = self.process.communicate(timeout=TIMEOUT)
        self._reader.join(TIMEOUT)
        os.close(self._master)
        return out


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(**environment: str) -> Terminal:
        made.append(Terminal(tmp_path, **environment))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def test_a_life_at_a_terminal(terminal: Callable[..., Terminal]) -> None:
    """Without it a person has to guess whether the kernel runs, how to reach it, and what has become of it."""
    shown = terminal()
    shown.expect(f"connect with: jupyter console --existing {shown.file}")
    assert "\x1b[" in shown.text
    assert "╭" in shown.text
    for word in ("profile", "default", "asyncio", "tcp", "shell", "Ctrl-C"):
        assert word in shown.text
    code = "import asyncio\nasync def fail(): 1 / 0\ntask = asyncio.create_task(fail())\nprint('only in the cell')"
    assert "only in the cell" in text_of(shown.kernel.run(code)[1])
    shown.expect("failed in the background: task")
    msg_id = shown.kernel.client.execute("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    while shown.kernel.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    shown.process.send_signal(signal.SIGINT)
    shown.kernel.reply(msg_id)
    shown.expect("interrupt: 1 running request")
    shown.kernel.client.session.key = b"wrong"
    for _ in range(100):
        shown.kernel.client.execute("1")
    shown.expect("refused 1 message: signature 1")
    shown.process.terminate()
    shown.expect("stopped after ")
    assert shown.close() == ""
    text = ESCAPE.sub("", shown.text)
    assert "signal SIGTERM" in text
    assert "only in the cell" not in text
    # 20 in the kernel's log, and a line that says so; those that were still to be read when it stopped are not counted.
    assert text.count("the signature does not match") <= 20


def test_without_colour_it_is_plain(terminal: Callable[..., Terminal]) -> None:
    """Whoever sets NO_COLOR, or reads with a screen reader, gets lines."""
    shown = terminal(NO_COLOR="1")
    shown.expect("connect with: ")
    shown.process.terminate()
    shown.expect("async-kernel: stopped after ")
    shown.close()
    assert f"async-kernel: started (profile default, asyncio, tcp): {shown.file}" in shown.text
    assert "\x1b" not in shown.text
    assert "╭" not in shown.text
