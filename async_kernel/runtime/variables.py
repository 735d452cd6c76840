"""Context variables from cell to cell.

The cells of a queue run in one context: what one sets is there in the next. A cell that runs as a task or in a thread
starts with the values that the queue's last cell left, and keeps what it sets to itself: it may end at any time, so
what it would leave behind could not be relied on.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

from async_kernel.scheduling.context import addressee, chosen_subshell, current_job, current_pending, trackers
from async_kernel.typing import Job, RunMode

__all__ = ["Variables"]

OWN: Final[frozenset[ContextVar[Any]]] = frozenset({addressee, chosen_subshell, current_job, current_pending, trackers})
"""Each request's own."""


class Variables:
    """The context variables as the last cell of each queue has left them, by the id of its subshell."""

    def __init__(self) -> None:
        self._left: dict[str | None, Context] = {}

    def forget(self, subshell_id: str) -> None:
        """The subshell has ended."""
        self._left.pop(subshell_id, None)

    def begin(self, job: Job[Any]) -> None:
        """A cell runs in the current context."""
        if job.get("run_mode") is not RunMode.queue:
            for variable, value in self._left.get(job["msg"]["header"].get("subshell_id"), {}).items():
                if variable not in OWN:
                    variable.set(value)

    def end(self, job: Job[Any]) -> None:
        """It has ended."""
        if job.get("run_mode") is RunMode.queue:
            self._left[job["msg"]["header"].get("subshell_id")] = copy_context()
