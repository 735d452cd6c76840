"""Comms: the `comm` package's base classes, publishing through the running kernel.

While a kernel runs, `comm.create_comm` makes a `Comm` and `comm.get_comm_manager` returns the kernel's `CommManager`,
so that libraries such as ipywidgets work unchanged.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
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

    def handle_msg(self, msg: Any) -> None:
        """Call what `on_msg` registered, between the shell's events, as around a cell: figures are shown after it."""
        if self._msg_callback is None:
            return
        events = comm.get_comm_manager().events  # pyright: ignore[reportAttributeAccessIssue]  # ours: see publish_msg
        events("pre_execute")
        try:
            self._msg_callback(msg)
        finally:
            events("post_execute")


class CommManager(BaseCommManager):
    """The comms and targets of one kernel.

    What a handler raises is shown with its traceback on the stderr of the message that it handles. It is not left to
    the logging that cells may have configured otherwise.

    Args:
        publish: Publishes a comm's messages on iopub.
        events: Triggers the shell's events by name.
    """

    def __init__(self, publish: Publisher, events: Callable[[str], object] = lambda _name: None) -> None:
        super().__init__()
        self.publish: Publisher = publish
        self.events: Callable[[str], object] = events

    def info(self, target_name: str | None = None) -> dict[str, dict[str, str]]:
        """The open comms by id, as `comm_info_reply` says them; with `target_name`, those of that target only."""
        return {
            comm_id: {"target_name": each.target_name}
            for comm_id, each in self.comms.copy().items()  # in one step: other threads open and close
            if target_name is None or each.target_name == target_name
        }

    def comm_open(self, stream: Any, ident: Any, msg: Any) -> None:
        """A frontend opens a comm; where its target is unknown or fails, it is closed again."""
        comm_id, name = msg["content"]["comm_id"], msg["content"]["target_name"]
        if (target := self.targets.get(name)) is None:
            known = ", ".join(map(repr, self.targets)) or "none"
            tell(f"comm {comm_id}: there is no target {name!r} (registered: {known}); it is closed")
            self.publish("comm_close", {"comm_id": comm_id, "data": {}})
            return
        opened = Comm(comm_id=comm_id, primary=False, target_name=name)
        self.register_comm(opened)
        done = False
        try:
            done = handled(f"comm {comm_id}: the target {name!r} failed, it is closed", target, opened, msg)
        finally:
            if not done:  # Also where an interrupt has cut it short: a comm that hears nothing must not stay open.
                opened.close()

    def comm_msg(self, stream: Any, ident: Any, msg: Any) -> None:
        """A message to a comm."""
        comm_id = msg["content"]["comm_id"]
        if (found := self.comms.get(comm_id)) is None:
            tell(f"comm {comm_id}: a message, but it is not open")
        else:
            handled(f"comm {comm_id} (target {found.target_name!r}): its handler failed", found.handle_msg, msg)

    def comm_close(self, stream: Any, ident: Any, msg: Any) -> None:
        """A frontend closes a comm."""
        comm_id = msg["content"]["comm_id"]
        if (found := self.comms.pop(comm_id, None)) is None:
            tell(f"comm {comm_id}: it is closed already")
            return
        found._closed = True  # pyright: ignore[reportPrivateUsage]  # as the base class does: nothing is to be sent
        handled(f"comm {comm_id} (target {found.target_name!r}): its on_close failed", found.handle_close, msg)


def tell(text: str) -> None:
    """Write to the stderr of the message that is handled."""
    print(text, file=sys.stderr, flush=True)  # before the comm is closed


def handled(failure: str, func: Callable[..., object], *args: Any) -> bool:
    """Call what is the user's; False after showing what it raises, from its own frames on, below the line `failure`."""
    try:
        func(*args)
    except Exception as error:  # noqa: BLE001  # the user's own, and it is shown
        shown = traceback.format_exception(type(error), error, own_frames(error.__traceback__))
        tell(f"{failure}\n{''.join(shown).rstrip()}")
        return False
    return True


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames of this module at its beginning."""
    first = trace
    while first is not None and first.tb_frame.f_globals is globals():
        first = first.tb_next
    return first or trace
