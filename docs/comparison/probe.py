"""What a kernel does, asked by a client: one line for each row of the comparison page.

    python docs/comparison/probe.py PYTHON -m ipykernel_launcher -f FILE

What follows is the kernel's command line; FILE is replaced by a new connection file. Needs jupyter_client.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

SECONDS = 4.0
THREAD = "import threading, time\nthreading.Timer(0.5, print, ['late']).start()"
ECHO = """
import comm
def opened(channel, msg):
    def handle(message):
        if message["content"]["data"].get("fail"): raise ValueError("bad")
        channel.send({"seen": 1}, buffers=message["buffers"])
    channel.on_msg(handle)
comm.get_comm_manager().register_target("echo", opened)"""
TK = "import tkinter\ntcl = tkinter.Tcl()\ntcl.after(50, lambda: open(NAME, 'w').close())\nNone"


class Probe:
    """A kernel and its client; each method named `row_…` answers one row with a word."""

    def __init__(self, command: list[str], folder: Path) -> None:
        file, _ = write_connection_file(str(folder / "kernel.json"), key=os.urandom(16).hex().encode())
        argv = [part.replace("FILE", file) for part in command]
        self.folder = folder
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = BlockingKernelClient(connection_file=file)
        self.client.load_connection_file()
        self.client.start_channels(hb=False)
        self._wait()

    def _wait(self) -> None:
        for _ in range(60):  # It may not have bound its channels yet.
            self.client.kernel_info()
            try:
                self.client.get_shell_msg(timeout=0.5)
            except Empty:
                continue
            time.sleep(0.3)
            while True:
                try:
                    self.client.get_shell_msg(timeout=0.1)
                except Empty:
                    return
        raise SystemExit("the kernel does not answer")

    def published(self, msg_id: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """What a request has published until its idle, or until the time is over."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self.client.get_iopub_msg(timeout=left)
            except Empty:
                break
            if message["parent_header"].get("msg_id") == msg_id:
                found.append(message)
                if message["content"].get("execution_state") == "idle":
                    break
        return found

    def comes(self, kind: str, seconds: float = 1.0) -> bool:
        """Whether a message of that type comes in the time, whatever it belongs to."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                if self.client.get_iopub_msg(timeout=left)["msg_type"] == kind:
                    return True
            except Empty:
                break
        return False

    def run(self, code: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Execute a cell."""
        return self.published(self.client.execute(code), seconds)

    def comm(self, kind: str, data: dict[str, Any], **content: Any) -> str:
        """Send a message of a comm; its id."""
        msg = self.client.session.msg(kind, {"comm_id": "c", "data": data, **content})
        self.client.shell_channel.send(msg)
        return msg["header"]["msg_id"]

    def row_await_at_the_top_of_a_cell(self) -> bool:
        return "done" in text(self.run("import anyio\nawait anyio.sleep(0)\nprint('done')", 20))

    def row_await_trio(self) -> bool:
        return "done" in text(self.run("import trio\nawait trio.sleep(0)\nprint('done')", 20))

    def row_a_cell_runs_beside_another(self) -> bool:
        first = self.client.execute("# task\nimport anyio\nwait = True\nwhile wait: await anyio.sleep(0.01)")
        time.sleep(0.5)
        self.client.execute("# task\nwait = False")
        if "idle" in str(self.published(first, 2)):
            return True
        self.interrupt()
        return False

    def row_a_cell_in_a_thread(self) -> bool:
        said = text(self.run("# thread\nimport threading\nprint('in', threading.current_thread().name)", 20))
        return "in " in said and "MainThread" not in said

    def row_comm_while_a_cell_awaits(self) -> bool:
        self.run(ECHO)
        self.comm("comm_open", {}, target_name="echo")
        time.sleep(0.5)
        self.client.execute("import anyio\nawait anyio.sleep(3)")
        time.sleep(0.5)
        self.comm("comm_msg", {})
        return self.comes("comm_msg", 2)

    def row_what_a_comm_handler_sends_belongs_to_its_message(self) -> bool:
        self.run(ECHO)
        self.published(self.comm("comm_open", {}, target_name="echo"))
        return "comm_msg" in kinds(self.published(self.comm("comm_msg", {})))

    def row_the_error_of_a_comm_handler_reaches_the_client(self) -> bool:
        return "ValueError" in str(self.published(self.comm("comm_msg", {"fail": 1})))

    def row_an_unknown_target_is_closed(self) -> bool:
        self.comm("comm_open", {}, comm_id="d", target_name="nobody")
        return self.comes("comm_close", 3)

    def row_an_unknown_target_is_said_to_the_client(self) -> bool:
        return "stream" in kinds(self.published(self.comm("comm_open", {}, comm_id="d", target_name="nobody")))

    def row_output_of_a_thread_goes_to_the_cell_that_started_it(self) -> bool:
        first = self.client.execute(THREAD)
        self.published(first)
        self.client.execute("import time; time.sleep(1)")
        return "late" in text(self.published(first, 2))

    def row_output_of_a_child_process(self) -> bool:
        return "child" in text(self.run("import subprocess, time\nsubprocess.run(['echo', 'child'])\ntime.sleep(0.3)"))

    def row_interrupt_of_a_cell_that_awaits(self) -> bool:
        cell = self.client.execute("import anyio\nprint('begun', flush=True)\nawait anyio.sleep(30)")
        self.comes("stream", 10)
        self.interrupt()
        return "error" in kinds(self.published(cell, 10))

    def row_gui_of_an_unknown_name_is_an_error(self) -> bool:
        return "nope" in "".join(
            str(m["content"]) for m in self.run("%gui nope") if m["msg_type"] in {"error", "stream"}
        )

    def row_gui_tk_lives_between_cells(self) -> bool:
        return self._tk("")

    def row_gui_tk_lives_while_a_cell_awaits(self) -> bool:
        return self._tk("import anyio\nawait anyio.sleep(1)")

    def _tk(self, after: str) -> bool:
        file = self.folder / f"tk{len(after)}"
        self.run("%gui tk")
        if after:
            self.run(
                TK.replace("NAME", repr(str(file))) + f"\n{after}\nimport os\nseen = os.path.exists({str(file)!r})"
            )
            return "True" in text(self.run("print(seen)"))
        self.run(TK.replace("NAME", repr(str(file))))
        time.sleep(1)
        return file.exists()

    def interrupt(self) -> None:
        """By message and by signal, whichever it obeys."""
        self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        time.sleep(0.3)
        self.process.send_signal(signal.SIGINT)


def kinds(messages: list[dict[str, Any]]) -> set[str]:
    """The types of the messages."""
    return {message["msg_type"] for message in messages}


def text(messages: list[dict[str, Any]]) -> str:
    """What was printed."""
    return "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream")


def main(command: list[str]) -> int:
    for name in [name for name in vars(Probe) if name.startswith("row_")]:
        with tempfile.TemporaryDirectory() as folder:  # A kernel for each: none suffers from the row before.
            probe = Probe(command, Path(folder))
            try:
                if name.startswith("row_the_error"):
                    probe.row_what_a_comm_handler_sends_belongs_to_its_message()
                answer = "yes" if getattr(probe, name)() else "no"
            finally:
                probe.client.stop_channels()
                probe.process.kill()
                probe.process.wait()
        print(f"{name.removeprefix('row_').replace('_', ' ')}: {answer}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
