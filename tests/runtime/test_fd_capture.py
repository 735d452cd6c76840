"""File descriptors 1 and 2: captured, and put back exactly."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from async_kernel.runtime.fd_capture import PIPE_BYTES, FdCapture
from async_kernel.scheduling.context import addressee
from async_kernel.typing import Job, SocketID

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no poll here")

JOB: Job[Any] = {"msg": {"header": {"msg_id": "1"}}, "socket_id": SocketID.shell, "ident": [], "received_time": 0.0}  # pyright: ignore


class Cell:
    """What was written to it, with the job that it was written for."""

    def __init__(self) -> None:
        self.text: dict[int, str] = {1: "", 2: ""}
        self.jobs: list[Any] = []

    def write(self, descriptor: int, text: str) -> None:
        self.text[descriptor] += text
        self.jobs.append(addressee.get())

    def capture(self, job: Job[Any] | None = JOB) -> FdCapture:
        return FdCapture({1: lambda text: self.write(1, text), 2: lambda text: self.write(2, text)}, lambda: job)


def state() -> Any:
    """What must be as it was: what the descriptors are, how many there are, and what Python's own streams do."""
    files = [(os.fstat(each).st_dev, os.fstat(each).st_ino, os.get_inheritable(each)) for each in (1, 2)]
    streams = [(id(each), each.fileno(), each.name) for each in (sys.__stdout__, sys.__stderr__) if each is not None]
    return files, streams, sorted(os.listdir("/proc/self/fd")), faulthandler.is_enabled(), threading.active_count()


def test_everything_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    """A program that has run a kernel prints where it printed before."""
    before = state()
    cell = Cell()
    with cell.capture():
        assert state()[0] != before[0]
        os.write(1, "né".encode())
    assert state() == before
    assert cell.text == {1: "né", 2: ""}
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_what_is_read_belongs_to_the_cell() -> None:
    """Also what a child process writes, in both streams, with characters that come in two pieces."""
    cell = Cell()
    with cell.capture() as capture:
        subprocess.run(["sh", "-c", "echo out; echo err > /dev/stderr"], check=True)
        os.write(1, b"\xe2\x82")
        capture.drain()
        os.write(1, b"\xac\xff")
        capture.drain()
        assert cell.text == {1: "out\n€�", 2: "err\n"}
    assert all(job is JOB for job in cell.jobs)


def test_pythons_own_streams_stay_where_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    """The log and the messages on the kernel's life are for the terminal; so is what no cell owns."""
    cell = Cell()
    stream = sys.__stderr__
    assert stream is not None
    with cell.capture(None) as capture:
        print("to the terminal", file=stream, flush=True)
        assert stream.fileno() > 2
        os.write(1, b"before the first cell")
        capture.drain()
    assert cell.text == {1: "", 2: ""}
    assert capfd.readouterr() == ("before the first cell", "to the terminal\n")


def test_more_than_a_pipe_holds() -> None:
    """A writer waits for the reader, who needs nothing of it."""
    cell = Cell()
    with cell.capture():
        os.write(1, b"x" * (3 * PIPE_BYTES))
    assert len(cell.text[1]) == 3 * PIPE_BYTES


def test_a_drain_ends_although_somebody_writes_for_ever() -> None:
    cell = Cell()
    with cell.capture() as capture:
        with subprocess.Popen(["yes"]) as child:
            while not cell.text[1]:
                capture.drain()
            child.kill()
        assert cell.text[1].startswith("y\ny\n")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_hold_the_ends_that_are_read() -> None:
    """Else what it writes when the kernel has gone would fill the pipe, and it would wait for ever."""
    cell = Cell()
    with cell.capture() as capture:
        readers = [stream.reader for stream in capture._streams]
        child = os.fork()
        if child == 0:
            closed = 0
            for reader in readers:
                try:
                    os.fstat(reader)
                except OSError:
                    closed += 1
            os.write(1, b"of the child")
            os._exit(closed)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert cell.text[1] == "of the child"
