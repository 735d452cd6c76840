"""Signals that nobody would notice: the main thread is in C code."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from async_kernel.runtime.signals import signals_handled, signals_watched
from tests.kernels import TIMEOUT

posix = pytest.mark.skipif(os.name != "posix", reason="signals are another thing there")


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[int] = []
    with signals_handled({signal.SIGTERM: lambda number, _: seen.append(number)}):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def elsewhere(number: int, until: threading.Event) -> None:
    """A signal that the main thread does not notice: another one gets it, again if the main thread was not yet in C."""

    def strike() -> None:
        for _ in range(20):
            signal.pthread_kill(threading.get_ident(), number)
            if until.wait(0.5):
                break

    threading.Thread(target=strike).start()


@posix
def test_a_signal_that_nobody_notices_is_told() -> None:
    """Ctrl-C at the wrong moment would do nothing, and a kernel that computes in C could not be ended."""
    told, noticed = threading.Event(), threading.Event()
    numbers: list[signal.Signals] = []

    def unheard(number: signal.Signals) -> None:
        numbers.append(number)
        told.set()

    with signals_watched({signal.SIGTERM: lambda *_: noticed.set()}, unheard):
        elsewhere(signal.SIGTERM, told)
        assert blocking(told), "it was not told"
        assert set(numbers) == {signal.SIGTERM}
        assert noticed.wait(TIMEOUT)
    assert signal.set_wakeup_fd(-1) == -1


def blocking(event: threading.Event) -> bool:
    """Wait for an event in C, where the main thread runs no handlers."""
    reader, writer = os.pipe()
    threading.Thread(target=lambda: os.write(writer, b"1" if event.wait(TIMEOUT) else b"0")).start()
    # A signal for another thread does not end this call.
    said = os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return said == b"1"


@posix
def test_a_signal_that_is_noticed_is_not_told_again() -> None:
    """Each Ctrl-C would count twice: the second time for the kernel, which nothing keeps from ending."""
    numbers: list[signal.Signals] = []
    seen: list[int] = []
    done = threading.Event()
    with signals_watched({signal.SIGTERM: lambda number, _: seen.append(number)}, numbers.append):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        threading.Timer(0.3, done.set).start()
        assert done.wait(TIMEOUT)
    assert (seen, numbers) == ([signal.SIGTERM] * 3, [])


@posix
def test_who_was_told_before_is_told_too() -> None:
    """trio and uvloop would not wake for a signal."""
    reader, writer = socket.socketpair()
    for each in (reader, writer):
        each.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    try:
        with signals_watched({signal.SIGTERM: lambda *_: None}, lambda _: None):
            signal.raise_signal(signal.SIGTERM)
            reader.settimeout(TIMEOUT)
            assert reader.recv(16) == bytes([signal.SIGTERM])
        assert signal.set_wakeup_fd(writer.fileno()) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


@posix
def test_a_handler_of_the_user_is_left_alone() -> None:
    """Who has set a handler is served by it."""
    numbers: list[signal.Signals] = []
    mine, told = threading.Event(), threading.Event()
    with signals_watched({signal.SIGTERM: lambda *_: None}, numbers.append):
        before = signal.signal(signal.SIGTERM, lambda *_: mine.set())
        threading.Timer(0.3, told.set).start()
        elsewhere(signal.SIGTERM, told)
        assert blocking(told)
        assert mine.wait(TIMEOUT)
        signal.signal(signal.SIGTERM, before)
    assert numbers == []


@posix
def test_signals_of_a_forked_child_are_its_own() -> None:
    """`Process.terminate` of multiprocessing would end the kernel, which has forked the process."""
    numbers: list[signal.Signals] = []
    with signals_watched({signal.SIGTERM: lambda *_: None}, numbers.append):
        if (pid := os.fork()) == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(signal.set_wakeup_fd(-1) != -1)
        assert os.waitpid(pid, 0)[1] == 0
        done = threading.Event()
        threading.Timer(0.3, done.set).start()
        assert done.wait(TIMEOUT)
    assert numbers == []
