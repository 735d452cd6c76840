"""`comms:` where the handlers of comms run, when it is not between the awaits of the cells."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from async_kernel.typing import Job

__all__ = ["CommLane", "comm_lane"]

log = logging.getLogger("async_kernel")

Call: TypeAlias = Callable[[], Awaitable[None]]
CommLane: TypeAlias = Callable[[Call, "Job[Any]"], object]
"""Takes what handles a message to a comm, and the message: it is called after those of the same comm before it."""


class Threads(Protocol):
    """What is asked of the shell's `Caller`."""

    def get(self, *, name: str, protected: bool) -> Any: ...
    def to_thread(self, func: Callable[..., Any], /, *args: Any) -> Any: ...


def comm_lane(comms: str, shell: Threads) -> CommLane | None:
    """What runs the handlers of comms; None where that is left to the run modes.

    Args:
        comms: `shell`: on the shell's event loop. `subshell`: in one thread with a loop of its own, in order of
            arrival, so that they run while a cell blocks. `thread`: in the workers; those of one comm in order, so that
            a handler that takes long keeps no other comm waiting.
        shell: The caller of shell.
    """
    if comms == "subshell":
        return lambda call, job: shell.get(name="Comms", protected=True).queue_call(call, key="comms")
    return CommThreads(shell).put if comms == "thread" else None


class CommThreads:
    """Runs the messages of each comm one after another, in whatever worker is free; different comms at once."""

    def __init__(self, shell: Threads) -> None:
        self._shell = shell
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Call]] = {}

    def put(self, call: Call, job: Job[Any]) -> None:
        """Run `call` when what came before for its comm has ended."""
        content = job["msg"]["content"]  # Not checked yet: its handler says what is wrong with it.
        comm_id = str(content.get("comm_id")) if isinstance(content, dict) else ""
        with self._lock:
            queue = self._waiting.get(comm_id)
            if queue is not None:
                queue.append(call)
                return
            self._waiting[comm_id] = deque([call])
        self._shell.to_thread(self._run, comm_id)

    async def _run(self, comm_id: str) -> None:
        while (call := self._next(comm_id)) is not None:
            try:
                await call()
            except Exception:
                log.exception("a message to the comm %s was not handled", comm_id)

    def _next(self, comm_id: str) -> Call | None:
        with self._lock:
            queue = self._waiting[comm_id]
            if not queue:
                del self._waiting[comm_id]
                return None
            return queue.popleft()
