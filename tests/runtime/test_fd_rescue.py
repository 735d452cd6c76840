"""The process that reads for a kernel that can't."""

from __future__ import annotations

import os
import select
import threading

import pytest

from async_kernel.runtime.fd_rescue import KEPT_BYTES, Rescue
from tests.kernels import TIMEOUT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no memory that processes can share so"),
]


def test_what_nobody_reads_is_kept_in_order_and_what_is_too_much_is_said() -> None:
    """C code that keeps the GIL would wait for ever in its `write`; one that never ends would fill the memory."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    data = bytes(range(256)) * (KEPT_BYTES // 256) + bytes(1 << 20)
    rescue = Rescue([reader], errors=2)
    try:
        rescue.start()
        thread = threading.Thread(target=write_all, args=(writer, data))
        thread.start()  # Nobody but that process reads: it can only end if that does.
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert rescue.waiting
        poll = select.poll()
        poll.register(rescue.answered, select.POLLIN)
        assert poll.poll(TIMEOUT * 1000), "who sleeps until there is something in the pipe sleeps for ever"
        pieces: list[bytes] = []
        while piece := rescue.turn(0):
            pieces.append(piece)
        kept = b"".join(pieces)
        assert kept[:KEPT_BYTES] == data[:KEPT_BYTES]
        assert "bytes are missing here" in kept[KEPT_BYTES:].decode()
        assert not rescue.waiting
        os.write(writer, b"again the kernel's to read")
        assert os.read(reader, 100) == b"again the kernel's to read"
    finally:
        rescue.close()
        os.close(reader)
    poll = select.poll()
    poll.register(writer, select.POLLERR)
    assert poll.poll(TIMEOUT * 1000), "the process has not ended: it still has the other end"
    os.close(writer)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
