"""What tests of the other rooms rely on beyond the contract."""

from __future__ import annotations

import threading

import pytest

from async_kernel.transport.memory import MemoryTransport
from async_kernel.typing import SocketID


def test_waiting_for_what_another_thread_sends() -> None:
    """Tests would have to sleep."""
    transport = MemoryTransport()
    transport.start(lambda *_: None)
    thread = threading.Thread(target=transport.send, args=(SocketID.shell, [b"me", b"x"]))
    thread.start()
    assert transport.wait_sent(1) == [(SocketID.shell, [b"me", b"x"])]
    thread.join()
    with pytest.raises(TimeoutError, match="expected 2 messages, 1"):
        transport.wait_sent(2, timeout=0.01)


def test_nothing_is_received_before_the_start_or_after_the_end() -> None:
    """A test would pass though the kernel never opened its channels."""
    transport = MemoryTransport()
    with pytest.raises(RuntimeError, match="not started"):
        transport.inject(SocketID.shell, [b"me", b"x"])
    received: list[object] = []
    transport.start(lambda *args: received.append(args))
    transport.close()
    transport.inject(SocketID.shell, [b"me", b"x"])
    assert received == []
