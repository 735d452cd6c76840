"""Where requests arrive: verified, decoded, put in order; `kernel_info` is answered before there is a kernel.

Nothing that this module imports needs an event loop or IPython: the sockets are bound and the first question of every
client is answered while these are still being imported.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from async_kernel.errors import WireError
from async_kernel.interfaces import Transport
from async_kernel.protocol.wire import Wire
from async_kernel.runtime.messenger import Messenger, patiently
from async_kernel.typing import Content, Job, MsgType, SocketID

__all__ = ["Reception", "Report", "tell_nobody"]

log = logging.getLogger("async_kernel")

FLOOD: Final = 20
FLOOD_SECONDS: Final = 10.0
"""Of the messages that are refused within this time, so many are logged."""

Report = Callable[[str, Mapping[str, Any]], None]
"""Told of the kernel's life, in any thread and in signal handlers: what has happened, and what there is to say of it.

`started` (connection_file, info), `interrupted` (count), `refused` (reason), `failed` (what, error), `stopped` (uptime,
reason).
"""


def tell_nobody(_event: str, _facts: Mapping[str, Any]) -> None:
    """The `Report` where nobody wants to know."""


class Reception:
    """Receives for the kernel, and in its place until it is attached.

    Args:
        wire: Verifies and decodes.
        transport: The channels; started here.
        kernel_info: The content of `kernel_info_reply`, or None where only the kernel may answer (it overrides it).
        tell: Told of what is refused, and by the kernel of the rest of its life.
    """

    def __init__(
        self,
        wire: Wire,
        transport: Transport,
        kernel_info: Callable[[], Content] | None,
        tell: Report = tell_nobody,
    ) -> None:
        self.tell: Report = tell
        self.messenger: Messenger = Messenger(wire, transport)
        self._wire = wire
        self._transport = transport
        self._kernel_info = kernel_info
        self._handler: Callable[[Job[Any]], None] | None = None
        self._attaching = threading.Lock()
        self._waiting: list[Job[Any]] = []
        self._latest = 0.0
        self._refused = 0
        self._refused_since = float("-inf")

    def open(self) -> None:
        """Bind the channels, begin to receive and announce that the kernel is starting.

        Raises:
            SetupError: A channel can't be bound.
        """
        self._transport.start(self.receive)
        self.messenger.publish("status", {"execution_state": "starting"})

    def receive(self, socket_id: SocketID, frames: Sequence[Any], received_time: float) -> None:
        """Take one message from the transport (in its thread); what can't be trusted is counted, logged and dropped."""
        try:
            ident, msg = patiently(lambda: self._wire.decode(frames))
        except WireError as error:
            self.refuse(error.reason, "dropped a message on the %s channel: %s", socket_id.name, error)
            return
        # Strictly increasing, so that it orders even what arrives within one tick of the clock.
        self._latest = max(received_time, self._latest + 1e-6)
        job = Job(msg=msg, socket_id=socket_id, ident=ident, received_time=self._latest)
        if self._handler is None:
            with self._attaching:
                if self._handler is None:
                    self._receive_early(job)
                    return
        self._handler(job)

    def attach(self, handler: Callable[[Job[Any]], None]) -> None:
        """From now on `handler` gets each job, those that waited for it first and in order."""
        with self._attaching:
            for job in self._waiting:
                handler(job)
            self._waiting.clear()
            self._handler = handler

    def refuse(self, reason: str, text: str, *args: object) -> None:
        """A message is refused: tell it, and log it, unless there is a flood of them.

        Args:
            reason: A word to count by.
            text: What the log says; `args` are put into it.
        """
        self.tell("refused", {"reason": reason})
        now = time.monotonic()
        if now - self._refused_since > FLOOD_SECONDS:
            if self._refused > FLOOD:
                log.warning("%d more messages were refused since then", self._refused - FLOOD)
            self._refused_since, self._refused = now, 0
        self._refused += 1
        if self._refused <= FLOOD:
            log.warning(text, *args)
        if self._refused == FLOOD:
            log.warning("what else is refused within %g s is only counted", FLOOD_SECONDS)

    def _receive_early(self, job: Job[Any]) -> None:
        if self._kernel_info is not None and job["msg"]["header"]["msg_type"] == MsgType.kernel_info_request:
            with self.messenger.exchange(job) as exchange:
                exchange.reply(self._kernel_info())
        else:
            self._waiting.append(job)
