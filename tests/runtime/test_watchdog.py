"""A kernel that is asked to end ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from async_kernel.runtime import watchdog
from tests.kernels import TIMEOUT

CODE = """
import threading
from async_kernel.runtime.watchdog import bound_shutdown
bound_shutdown(0.05, lambda: print("cleaned up", flush=True))
def stuck():
    threading.Event().wait()
stuck()
"""


def test_a_shutdown_that_hangs_is_ended_and_told_of() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (1, "cleaned up\n")
    assert "did not end within 0.05 s" in done.stderr
    assert "in stuck" in done.stderr


@pytest.mark.slow
def test_nobody_reads_what_is_told() -> None:
    """A program that has a kernel's stderr in a pipe and does not read it would have a kernel for ever."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"." * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=writing, timeout=TIMEOUT)
    finally:
        os.close(writing)
        os.close(reading)
    assert (done.returncode, done.stdout) == (1, b"cleaned up\n")


def test_there_is_no_thread_for_the_watch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A cell that has taken all memory could not be stopped by SIGTERM."""

    def full(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(watchdog.KernelThread, "start", full)
    watchdog.bound_shutdown(1, lambda: None)
    assert "nobody watches" in caplog.text
