"""What waits to be sent: filled by any thread, emptied by the one that owns the sockets, which is woken for it."""

from __future__ import annotations

import socket
from collections import deque
from typing import Final, NamedTuple

from async_kernel.interfaces import Frames
from async_kernel.transport.quota import Taken
from async_kernel.typing import SocketID

__all__ = ["NAP", "Outbox", "Outgoing", "Wake"]

NAP: Final = 1
"Milliseconds."


class Wake:
    """Wakes one sleeping thread, at most once per sleep.

    Only the owner says whether it sleeps, by the number of the sleep; a sender notes which sleep it has ended. A sender
    that is interrupted between any two steps (a signal's exception in user code) therefore leaves nothing that could
    make a later sender believe that the owner was woken.

    The owner says `fall_asleep`, looks once more for work, waits until `fileno` is readable and says `wake_up`. A
    sender makes its work visible before it calls `wake`.

    While a request is being handled, the owner only takes a nap: it wakes up by itself within `NAP` and looks. What is
    followed by more at once need not wake it then: one change of threads sends it all.
    """

    __slots__ = ("_ended", "_nap", "_reader", "_sleep", "_sleeps", "_writer")

    def __init__(self) -> None:
        # Against an eventfd a socket pair costs nothing that can be measured in a round trip or in a flood, and
        # Windows can poll it too.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._sleeps = 0
        self._sleep = 0
        "The number of the present sleep; 0 while awake."
        self._nap = 0
        "The number of the latest sleep that was a nap."
        self._ended = 0
        "The latest sleep that somebody has ended."

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._reader.fileno()

    def wake(self, *, hold: bool = False) -> None:
        """Make the owner look for work (any thread); `hold`: where it takes a nap, at the end of that."""
        sleep = self._sleep
        if sleep and sleep != self._ended and not (hold and sleep == self._nap):
            try:
                self._writer.send(b"\0")
            except OSError:
                # It has ended; or the buffer is full, and it can't but wake up.
                return
            self._ended = sleep

    def fall_asleep(self, *, nap: bool = False) -> None:
        """Say that from now on work needs a `wake` (the owner); `nap`: for `NAP` at most."""
        self._sleeps += 1
        if nap:
            self._nap = self._sleeps
        self._sleep = self._sleeps

    def wake_up(self, readable: bool) -> None:
        """Say that work is looked for again (the owner); `readable`: whether `fileno` was."""
        self._sleep = 0
        if readable:
            self._reader.recv(4096)

    def close(self) -> None:
        """Close the descriptors (the owner); from now on `wake` does nothing."""
        self._sleep = 0
        self._reader.close()
        self._writer.close()


class Outgoing(NamedTuple):
    """One message and where it goes."""

    socket_id: SocketID
    frames: Frames
    taken: Taken | None = None
    "What it took of its sender's quota (iopub)."


class Outbox:
    """Two queues: control's is emptied first, so that its replies wait for no flood; order per channel is kept."""

    __slots__ = ("_others", "_urgent", "closing", "wake")

    def __init__(self) -> None:
        self.wake: Wake = Wake()
        self.closing: bool = False
        "Whether `close` was called."
        self._urgent: deque[Outgoing] = deque()
        self._others: deque[Outgoing | None] = deque()

    def put(self, outgoing: Outgoing, *, hold: bool = False) -> None:
        """Add a message and wake the owner (any thread); `hold`: as `Wake.wake` understands it."""
        # One append: whatever interrupts the sender, a message is in the queue as a whole or not at all.
        (self._urgent if outgoing.socket_id is SocketID.control else self._others).append(outgoing)
        self.wake.wake(hold=hold)

    def pop(self) -> Outgoing | None:
        """The next message to send; None: `close` was called (the owner; IndexError where there is nothing)."""
        return (self._urgent or self._others).popleft()

    def put_back(self, outgoing: Outgoing) -> None:
        """Let `pop` return it again, as the next of its queue (the owner)."""
        (self._urgent if outgoing.socket_id is SocketID.control else self._others).appendleft(outgoing)

    def close(self) -> None:
        """Ask the owner to send what is there by now and end (any thread)."""
        self.closing = True
        self._others.append(None)
        self.wake.wake()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)
