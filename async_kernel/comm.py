"""Comms: the `comm` package's base classes, publishing through the running kernel.

While a kernel runs, `comm.create_comm` makes a `Comm` and `comm.get_comm_manager` returns the kernel's `CommManager`,
so that libraries such as ipywidgets work unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comm
from comm.base_comm import BaseComm
from comm.base_comm import CommManager as BaseCommManager

from async_kernel.interfaces import Publisher
from async_kernel.typing import Content

__all__ = ["Comm", "CommManager"]


class Comm(BaseComm):
    """One comm: a named conversation between the kernel and a frontend."""

    def publish_msg(
        self,
        msg_type: str,
        data: Content | None = None,
        metadata: Content | None = None,
        buffers: Sequence[Any] | None = None,
        **keys: Any,
    ) -> None:
        """Publish a `comm_open`, `comm_msg` or `comm_close` with `keys` in its content.

        Raises:
            RuntimeError: No kernel of this package is running.
        """
        manager = comm.get_comm_manager()
        if not isinstance(manager, CommManager):
            raise RuntimeError("a Comm needs a running kernel: make it in a cell, or inside `async with Kernel()`")
        content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
        manager.publish(msg_type, content, metadata=metadata, ident=self.topic, buffers=buffers)


class CommManager(BaseCommManager):
    """The comms and targets of one kernel.

    Args:
        publish: Publishes a comm's messages on iopub.
    """

    def __init__(self, publish: Publisher) -> None:
        super().__init__()
        self.publish: Publisher = publish

    def info(self, target_name: str | None = None) -> dict[str, dict[str, str]]:
        """The open comms by id, as `comm_info_reply` says them; with `target_name`, those of that target only."""
        return {
            comm_id: {"target_name": each.target_name}
            for comm_id, each in tuple(self.comms.items())
            if target_name is None or each.target_name == target_name
        }
