"""What the running code belongs to: context variables, which every call copies from its caller to its callee.

`current_job` is the one that the rest of the package uses: whose output it is, which cell it belongs to; `addressee`
says so in its place where the user has said where the output goes, and `chosen_subshell` in which shell it runs. The
other two are this room's own: they say which `Pending` the code runs for and who keeps track of the Pendings it makes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import ref

from async_kernel.typing import Job, NoValue, NoValueType

__all__ = [
    "Diverted",
    "Tracker",
    "addressee",
    "chosen_subshell",
    "current_job",
    "current_pending",
    "current_subshell_id",
    "trackers",
]


class Tracker(Protocol):
    """Is told of every Pending that is made in a context where it is among the `trackers`."""

    def add(self, pending: Any, /) -> None:
        """Keep track of `pending`; called in the thread that makes it."""
        ...


class Diverted(dict[str, Any]):
    """In the place of an `addressee`: what is published for it is kept, not sent.

    Args:
        job: Whose the rest is.
        keep: Given the type and the content of each message; False: it is sent, for `job`.
    """

    def __init__(self, job: Job[Any] | None, keep: Callable[[str, dict[str, Any]], bool]) -> None:
        super().__init__(job or {})
        self.job = job
        self.keep = keep


current_job: ContextVar[Job[Any] | None] = ContextVar("current_job", default=None)
"""The Job that the running code belongs to, and prints to; None outside of every request."""

chosen_subshell: ContextVar[str | NoValueType | None] = ContextVar("chosen_subshell", default=NoValue)
"""The subshell that the running code chose, whatever its Job says; None is the main shell, NoValue no choice."""

addressee: ContextVar[Any] = ContextVar("addressee", default=None)
"""The Job (or `Diverted`) that output is published for, where that is not the current one (`Kernel.output_to`)."""

current_pending: ContextVar[ref[Any] | None] = ContextVar("current_pending", default=None)
"""The Pending whose function or coroutine is running (weak: a Pending holds its context); `Caller.current_pending`."""

trackers: ContextVar[tuple[Tracker, ...]] = ContextVar("trackers", default=())
"""Who keeps track of the Pendings made in this context, outermost first."""


def current_subshell_id() -> str | None:
    """The subshell that the running code belongs to (JEP 91); None for the main shell, and outside of every request."""
    chosen = chosen_subshell.get()
    if not isinstance(chosen, NoValueType):
        return chosen
    job = current_job.get()
    return None if job is None else job["msg"]["header"].get("subshell_id")
