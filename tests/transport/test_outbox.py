"""The hand-over to the thread that owns the sockets: no message is forgotten, whatever happens to the sender."""

from __future__ import annotations

import select

import pytest

from async_kernel.transport.outbox import Outbox, Outgoing, Wake
from async_kernel.typing import SocketID


def is_readable(wake: Wake) -> bool:
    return bool(select.select([wake.fileno()], [], [], 0)[0])


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


def test_control_goes_first_and_order_is_kept(outbox: Outbox) -> None:
    """An interrupt's reply would wait behind a flood of output."""
    for n in range(3):
        outbox.put(Outgoing(SocketID.iopub, [b"%d" % n]))
        outbox.put(Outgoing(SocketID.control, [b"c%d" % n]))
        outbox.put(Outgoing(SocketID.shell, [b"s%d" % n]))
    outbox.close()
    outbox.put(Outgoing(SocketID.shell, [b"late"]))
    taken = [outbox.pop() for _ in range(len(outbox))]
    outbox.wake.close()
    assert [item and item.frames[0] for item in taken] == [
        *(b"c0", b"c1", b"c2"),
        *(b"0", b"s0", b"1", b"s1", b"2", b"s2"),
        *(None, b"late"),
    ]


def test_one_wake_per_sleep(outbox: Outbox) -> None:
    """Each print would cost a system call."""
    wake = outbox.wake
    wake.wake()
    assert not is_readable(wake), "awake: it looks for work anyway"
    for _ in range(3):
        wake.fall_asleep()
        for _ in range(1000):
            wake.wake()
        assert wake._reader.recv(10) == b"\0"
        wake.wake_up(readable=False)
    wake.close()
    wake.wake()


def test_what_is_held_ends_a_sleep_but_no_nap(outbox: Outbox) -> None:
    """The owner looks by itself soon after a nap; in a longer sleep it would never see the message."""
    wake = outbox.wake
    wake.fall_asleep(nap=True)
    outbox.put(Outgoing(SocketID.iopub, [b"busy"]), hold=True)
    assert not is_readable(wake)
    outbox.put(Outgoing(SocketID.iopub, [b"idle"]))
    assert is_readable(wake)
    wake.wake_up(readable=True)
    wake.fall_asleep()
    outbox.put(Outgoing(SocketID.iopub, [b"busy"]), hold=True)
    assert is_readable(wake)
    wake.close()


def test_an_interrupted_sender_leaves_no_false_sign(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a Ctrl-C at the wrong moment the kernel would never answer again."""
    wake = outbox.wake

    class Interrupted:
        def send(self, _: bytes) -> None:
            raise KeyboardInterrupt

    wake.fall_asleep()
    writer = wake._writer
    monkeypatch.setattr(wake, "_writer", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        outbox.put(Outgoing(SocketID.shell, [b"a"]))
    monkeypatch.setattr(wake, "_writer", writer)
    outbox.put(Outgoing(SocketID.shell, [b"b"]))
    assert is_readable(wake)
    wake.wake_up(readable=True)
    assert not is_readable(wake)
    assert len(outbox) == 2
    wake.close()


def test_what_could_not_be_sent_is_the_next(outbox: Outbox) -> None:
    """Where memory was short for a moment, replies neither vanish nor overtake each other."""
    for n in range(2):
        outbox.put(Outgoing(SocketID.shell, [b"%d" % n]))
    first = outbox.pop()
    assert first is not None
    outbox.put_back(first)
    taken = [outbox.pop() for _ in range(len(outbox))]
    outbox.wake.close()
    assert [item and item.frames[0] for item in taken] == [b"0", b"1"]
