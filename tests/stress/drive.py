"""One run: a kernel process, its clients, and a window of requests that are under way at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import zmq

from tests.stress.judge import Judge
from tests.stress.link import BrokenError, Link, Received, Sock
from tests.stress.script import SETUP, Script, Step

PATIENCE: Final = 30.0
"Seconds without any message after which what has not come is lost."
PLAIN_MODES: Final = {"concurrent": "task", "threads": "thread"}
"How the profiles run a cell that does not say it; the others: one after another."


class Usage(NamedTuple):
    """What a kernel process holds."""

    resident: float
    "MiB."
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        process = psutil.Process(pid)
        return cls(process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())

    def __str__(self) -> str:
        return f"{self.resident:.1f} MiB, {self.threads} threads, {self.descriptors} descriptors"


class Target(NamedTuple):
    """A running kernel and those that are connected to it."""

    process: subprocess.Popen[bytes]
    links: list[Link]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def autopsy(self) -> str:
        """End the process; whether it was alive, where its threads were, and its log."""
        alive = self.process.poll() is None
        if alive:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks.
            self.process.wait(PATIENCE)
        state = "it was alive" if alive else f"it had ended: {self.process.returncode}"
        log, fatal, stacks = self.log.read_text("utf-8", "replace").partition("Fatal Python error")
        return f"the kernel's log ({state}):\n{log[-6000:]}{fatal}{stacks[-12_000:]}"


@contextmanager
def running(folder: Path, clients: int, *options: str) -> Generator[Target]:
    """A kernel process of the options of `async-kernel run`, with `clients` clients that are subscribed."""
    connection_file, log = folder / "kernel.json", folder / "kernel.log"
    command = [sys.executable, "-m", "async_kernel", "run", "-f", str(connection_file), *options]
    names = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    environment |= {name: str(folder / name.lower()) for name in names}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    context, links = zmq.Context[Sock](), list[Link]()
    try:
        deadline = time.monotonic() + PATIENCE
        while not connection_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BrokenError(f"the kernel does not start: {log.read_text('utf-8', 'replace')}")
            time.sleep(0.01)
        for number in range(clients):
            links.append(Link(context, connection_file, f"client{number}"))
            if not links[-1].sockets["iopub"].poll(int(PATIENCE * 1000)):
                raise BrokenError("no welcome on iopub")
        yield Target(process, links, log)
        links[0].ask("shutdown_request", {"restart": False}, "control")
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for each in links:
            each.close()
        context.term()


class Run:
    """Sends a script and hears what comes of it.

    Args:
        target: The kernel and the clients.
        script: What is sent.
    """

    def __init__(self, target: Target, script: Script) -> None:
        self.links, self.script, self.judge = target.links, script, Judge()
        self.recent: deque[Step] = deque(maxlen=60)
        "The latest requests, for the report."
        self._prefix = os.urandom(4).hex()
        self._checksums = [0] * len(self.links)
        self._poller = zmq.Poller()
        self._sources: dict[Any, tuple[int, str]] = {}
        for number, link in enumerate(self.links):
            for channel, sock in link.sockets.items():
                self._poller.register(sock, zmq.POLLIN)
                self._sources[sock] = (number, channel)

    def __call__(self) -> dict[str, int]:
        """Send everything and check everything; how many requests ended unusually, but as they may.

        Raises:
            BrokenError: A promise is broken.
        """
        self._align()
        self._checksums = [0] * len(self.links)
        chance, window = random.Random(f"window {self.script.seed}"), 1
        for step in self.script:
            if step.number % 100 == 0:
                window = chance.choice((1, 10, 50, 200, 400))
            while self.judge.open >= window or not self._may_go(step):
                self._turn()
            self._send(step)
        while self.judge.open:
            self._turn()
        counts = self.judge.finish()
        self._align()
        if len({*self._checksums}) > 1:
            raise BrokenError("the clients have not heard the same on iopub")
        if left := self.links[0].ask("list_subshell_request", {}, "control")["subshell_id"]:
            raise BrokenError(f"subshells are left: {left}")
        return counts

    def _may_go(self, step: Step) -> bool:
        """Whether the subshell that is meant has been made: its id is not known before."""
        return step.slot is None or step.slot in self.judge.ids

    def _send(self, step: Step) -> None:
        self.recent.append(step)
        msg_id, link = self.msg_id(step.number), self.links[step.client]
        subshell, content = None if step.slot is None else self.judge.ids[step.slot], step.content
        if step.msg_type == "delete_subshell_request" or (step.msg_type == "interrupt_request" and subshell):
            content, subshell = {"subshell_id": subshell}, None
        elif step.names is not None:
            content = {"msg_ids": [self.msg_id(step.names)]}
        header = link.header(msg_id, step.msg_type, subshell)
        self.judge.sent(msg_id, step, header)
        link.send(step.channel, link.frames(header, content))

    def msg_id(self, number: int) -> str:
        """The id of a request by its number."""
        return f"{self._prefix}-{number}"

    def _turn(self) -> None:
        """Wait for something, and hear all that has come."""
        ready = self._poller.poll(int(PATIENCE * 1000))
        if not ready:
            raise BrokenError(f"nothing came for {PATIENCE:g} s; {self.judge.missing()}")
        for sock, _ in ready:
            number, channel = self._sources[sock]
            link = self.links[number]
            for frames in link.read(channel):
                if channel == "iopub":
                    self._checksums[number] = zlib.crc32(b"".join(frames), self._checksums[number])
                    if number == 0 and not (message := link.decode(frames)).foreign:
                        self.judge.published(message)
                elif channel == "stdin":
                    self._answer(link, link.decode(frames))
                else:
                    self.judge.replied(number, channel, link.decode(frames))

    def _answer(self, link: Link, question: Received) -> None:
        """Answer `input()`."""
        link.send("stdin", link.answer(question, {"value": f"answer to {question.content['prompt']}"}))

    def _align(self) -> None:
        """Bring every client's iopub to the idle of one request; before the script, this prepares the kernel."""
        link = self.links[0]
        for code in (SETUP, "pass"):
            mark = f"mark {os.urandom(8).hex()}"
            link.send("shell", link.frames(link.header(mark, "execute_request"), {"code": code}))
            if not link.sockets["shell"].poll(int(PATIENCE * 1000)):
                raise BrokenError("no reply to a cell")
            if (reply := link.decode(link.sockets["shell"].recv_multipart())).content["status"] != "ok":
                raise BrokenError(f"a cell failed: {reply}")
            for number in range(len(self.links)):
                self._read_until(number, mark)

    def _read_until(self, number: int, msg_id: str) -> None:
        """Read a client's iopub up to the idle of a request."""
        link = self.links[number]
        while link.sockets["iopub"].poll(int(PATIENCE * 1000)):
            frames = link.sockets["iopub"].recv_multipart()
            self._checksums[number] = zlib.crc32(b"".join(frames), self._checksums[number])
            message = link.decode(frames)
            if message.parent.get("msg_id") == msg_id and message.content == {"execution_state": "idle"}:
                return
        raise BrokenError(f"client {number} hears nothing on iopub")


def play(seed: int, messages: int, profile: str, options: tuple[str, ...], folder: Path, clients: int = 3) -> str:
    """One run with a kernel of its own; what there is to say of it.

    Raises:
        BrokenError: A promise is broken; the message holds the latest requests.
    """
    with running(folder, clients, "--profile", profile, *options) as target:
        warm = Run(target, Script(seed + 1_000_000, min(messages, 2000), clients, PLAIN_MODES.get(profile, "queue")))
        run = Run(target, Script(seed, messages, clients, PLAIN_MODES.get(profile, "queue")))
        try:
            warm()
            before, began = Usage.of(target.pid), time.perf_counter()
            counts = run()
        except BrokenError as error:
            latest = "\n  ".join(map(str, run.recent or warm.recent))
            raise BrokenError(f"{error}\n\nthe latest requests:\n  {latest}\n\n{target.autopsy()}") from error
        seconds, after = time.perf_counter() - began, Usage.of(target.pid)
        counted = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"{messages} messages in {seconds:.1f} s ({counted}); before {before}, after {after}"
