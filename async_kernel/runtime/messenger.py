"""What leaves the kernel: replies, statuses and iopub messages, encoded and put into the transport's outboxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from async_kernel.interfaces import Transport
from async_kernel.protocol.exchange import Exchange, is_announced
from async_kernel.protocol.jsonable import pack
from async_kernel.protocol.messages import reply_type, topic
from async_kernel.protocol.wire import Wire
from async_kernel.typing import Content, Job, Message, MsgHeader, SocketID

__all__ = ["Messenger", "patiently"]

_NO_PARENT: Final = None


STATUS: Final = topic("status")
STATES: Final = {state: pack({"execution_state": state}) for state in ("busy", "idle")}
TRIES: Final = 20
TRY_SECONDS: Final = 0.05
T = TypeVar("T")


def patiently(make: Callable[[], T]) -> T:
    """What `make` returns; where there is no memory for it, it gets another chance for a second.

    A cell that takes all memory is about to give some back; a client whose reply is lost waits for ever.
    """
    for _ in range(TRIES):
        try:
            return make()
        except MemoryError:
            time.sleep(TRY_SECONDS)
    return make()


class Messenger:
    """Encodes with the kernel's `Wire` and sends over its `Transport`; every method may be called from any thread."""

    def __init__(self, wire: Wire, transport: Transport) -> None:
        self.wire: Wire = wire
        self.transport: Transport = transport
        self._latest: Mapping[str, Any] | None = None

    def publish(
        self,
        msg_type: str,
        content: Content,
        *,
        parent: Message[Any] | MsgHeader | None = _NO_PARENT,
        ident: bytes | list[bytes] | None = None,
        metadata: Content | None = None,
        buffers: Sequence[Any] | None = None,
        header: MsgHeader | None = None,
    ) -> None:
        """Publish on iopub; `ident` is the topic, by default that of the message type.

        Raises:
            TypeError: JSON can't say the content, or content or metadata are bytes (which `Wire` takes for JSON).
        """
        given: dict[str, Any] = {"content": content, "metadata": metadata}
        for name, value in given.items():
            if type(value) is bytes:
                raise TypeError(f"{msg_type}: {name}: expected a dict, got bytes")
        frames = self.wire.encode(
            msg_type,
            content,
            parent=parent,
            ident=topic(msg_type) if ident is None else ident,
            metadata=metadata,
            buffers=buffers,
            header=header,
        )
        # In the first millisecond of a request, most of what is published is followed by the reply and the idle.
        self.transport.send(SocketID.iopub, frames, hold=True)
        self._latest = parent

    def send(
        self, socket_id: SocketID, ident: list[bytes], content: Content, parent: Message[Any], header: MsgHeader
    ) -> None:
        """Send a message of the kernel's own, of that header, to one client (an `input_request`)."""
        frames = self.wire.encode(header["msg_type"], content, parent=parent, ident=ident, header=header)
        self.transport.send(socket_id, frames)

    def exchange(self, job: Job[Any]) -> Exchange:
        """The life of one request, its messages going out here."""
        msg = job["msg"]
        announced = is_announced(msg)

        def status(state: str) -> None:
            if announced:
                frames = patiently(lambda: self.wire.encode("status", STATES[state], parent=msg, ident=STATUS))
                self.transport.send(SocketID.iopub, frames, hold=state == "busy")
                self._latest = msg

        def reply(
            content: Content, metadata: Content | bytes | None = None, buffers: Sequence[Any] | None = None
        ) -> None:
            msg_type = reply_type(msg["header"]["msg_type"])
            if msg_type is None:
                raise ValueError(f"{msg['header']['msg_type']} has no reply")
            options: dict[str, Any] = {"ident": job["ident"], "metadata": metadata, "buffers": buffers}
            frames = patiently(lambda: self.wire.encode(msg_type, content, parent=msg, **options))
            self.transport.send(job["socket_id"], frames, hold=announced)  # The idle follows.

        return Exchange(job, status=status, reply=reply)

    def welcome(self, subscription: bytes) -> list[Any]:
        """The frames that greet a new subscriber (JEP 65): it knows then that it misses nothing from here on."""
        content = {"subscription": subscription.decode("utf-8", "replace")}
        return self.wire.encode("iopub_welcome", content, ident=subscription)

    def cut_notice(self, missed: int) -> list[Any] | None:
        """The frames that tell a subscriber, where its output goes on, that it has missed at least `missed` messages.

        It was cut because it read too slowly; nothing is said at the cut itself (0), which nobody who is cut would see.
        """
        if not missed:
            return None
        text = f"[async_kernel: this client read too slowly, {missed} or more messages of output are missing here]\n"
        content = {"name": "stderr", "text": text}
        return self.wire.encode("stream", content, parent=self._latest, ident=topic("stream"))
