"""What is published on iopub, and in whose name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from async_kernel.runtime.messenger import Messenger
from async_kernel.scheduling.context import current_job
from async_kernel.typing import Content, Job, Message, NoValue, NoValueType

__all__ = ["Publishing"]


class Publishing:
    """An `async_kernel.interfaces.Publisher` whose messages belong to the current context's request.

    What runs outside of every request (a plain thread, a finalizer) speaks for the latest execute request: no message
    leaves without a parent.
    """

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self.latest: Job[Any] | None = None
        "The execute request that was started last."

    def __call__(
        self,
        msg_or_type: Message[Any] | str,
        content: Content | None = None,
        metadata: Content | None = None,
        parent: Message[Any] | Job[Any] | NoValueType | None = NoValue,
        ident: bytes | list[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
    ) -> None:
        """Publish from any thread; see `Kernel.iopub_send`."""
        if parent is NoValue:
            parent = self.parent()
        options: dict[str, Any] = {"parent": parent, "ident": ident}
        if isinstance(msg_or_type, str):
            self._messenger.publish(msg_or_type, content or {}, metadata=metadata, buffers=buffers, **options)
            return
        msg = msg_or_type
        if not parent and msg["parent_header"]:
            options["parent"] = msg["parent_header"]
        self._messenger.publish(
            msg["header"]["msg_type"],
            msg["content"] if content is None else content,
            metadata=msg["metadata"] if metadata is None else metadata,
            buffers=msg["buffers"] if buffers is None else buffers,
            header=msg["header"],
            **options,
        )

    def parent(self) -> Job[Any] | None:
        """The request that the current context belongs to."""
        return current_job.get() or self.latest
