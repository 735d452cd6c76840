"""What was accepted and has not ended: the cells, and the messages to comms, that an interrupt or `%cancel` may end."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from async_kernel.errors import KernelInterruptError
from async_kernel.runtime.dispatch import COMM_TYPES, subshell_of
from async_kernel.scheduling.caller import Caller
from async_kernel.typing import Content, Job, MsgType, RunMode

__all__ = ["Entry", "Jobs"]

TRACKED: Final = frozenset({MsgType.execute_request, *COMM_TYPES})
BUSY_SWITCH_INTERVAL: Final = 0.0005
"Seconds for which a cell keeps the GIL while another thread wants it; Python's own 0.005 makes answers wait."


class Cell(Protocol):
    """What a job asks of the cell that runs for it."""

    result: Any
    scope: Any

    def interrupt(self) -> None: ...


class Entry:
    """One request that was accepted.

    Attributes:
        number: Its number in the order of arrival, for `%cancel`.
        job, mode: The request and how it is run.
        accepted, began: When (`time.monotonic`: the clock may be set meanwhile); `began` is None while it waits.
        thread, caller: Where it runs.
        done: It does not run any more.
        revoked: It was cancelled before it began.
    """

    __slots__ = ("accepted", "began", "caller", "cells", "done", "job", "mode", "number", "revoked", "thread")

    def __init__(
        self, number: int, job: Job[Any], mode: RunMode | None, cells: Callable[[Job[Any]], Cell | None]
    ) -> None:
        self.number = number
        self.job = job
        self.mode = mode
        self.cells = cells
        self.accepted = time.monotonic()
        self.began: float | None = None
        self.thread: int | None = None
        self.caller: Caller | None = None
        self.done = False
        self.revoked = False

    @property
    def msg_id(self) -> str:
        """The id of the request."""
        return self.job["msg"]["header"]["msg_id"]

    @property
    def awaits(self) -> bool:
        """Whether its cell may be awaiting something; cells without an `await` never do."""
        cell = self.cells(self.job)
        return cell is None or cell.scope is not None

    def check(self) -> None:
        """Call it before the request is served.

        Raises:
            KernelInterruptError: It was cancelled while it waited.
        """
        if self.revoked:
            raise KernelInterruptError("cancelled before it began")

    def cancel(self) -> bool:
        """Cancel what its cell awaits (in the loop's thread); False where there is no cell (yet)."""
        cell = self.cells(self.job)
        if cell is None or self.done:
            return False
        cell.interrupt()
        return True

    def post(self, func: Callable[[], object]) -> None:
        """Call `func` in the loop that runs it, soon."""
        if self.caller is not None:
            with contextlib.suppress(RuntimeError):  # It is stopped, and what ran in it is cancelled.
                self.caller.call_direct(func)

    def describe(self) -> Content:
        """What `%jobs` says of it."""
        cell = self.cells(self.job)
        result = None if cell is None else cell.result
        header, content = self.job["msg"]["header"], self.job["msg"]["content"]
        caller, seconds = self.caller, time.monotonic() - (self.accepted if self.began is None else self.began)
        return {
            "number": self.number,
            "state": "runs" if self.began is not None else "cancelled" if self.revoked else "waits",
            "mode": "" if self.mode is None else self.mode.name,
            "count": None if result is None else result.execution_count,
            "since": datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="milliseconds"),
            "seconds": seconds,
            "thread": "" if caller is None else caller.name,
            "backend": "" if caller is None else caller.backend.name,
            "subshell": subshell_of(self.job),
            "msg_id": header["msg_id"],
            "what": first_line(content["code"]) if _has_code(content) else header["msg_type"],
        }


class Jobs:
    """The requests that were accepted and have not ended, in the order of arrival.

    Other threads add and remove entries at any moment. `list` copies them in one step. `tuple` does not, in Python
    3.11: it takes its memory after it has begun to iterate, and the garbage collector may run the code of others then.

    Args:
        cells: The cell that runs for a job; None where there is none.
    """

    def __init__(self, cells: Callable[[Job[Any]], Cell | None]) -> None:
        self._cells = cells
        self._entries: dict[int, Entry] = {}
        self._numbers = itertools.count(1)
        self._interval = SwitchInterval()

    def accepted(self, job: Job[Any], mode: RunMode | None = None) -> Entry | None:
        """A request was accepted, from any thread; None where nobody can interrupt its kind."""
        if job["msg"]["header"]["msg_type"] not in TRACKED:
            return None
        entry = self._entries[id(job)] = Entry(next(self._numbers), job, mode, self._cells)
        return entry

    def begin(self, job: Job[Any]) -> Entry | None:
        """It is about to run, in this thread; whoever calls this calls `end`."""
        entry = self._entries.get(id(job)) or self.accepted(job)
        if entry is not None:
            entry.thread = get_ident()
            entry.caller = Caller.get_current()
            entry.began = time.monotonic()
            self._interval.shorten()
        return entry

    def end(self, job: Job[Any]) -> None:
        """It has ended, or will never begin. Idempotent."""
        entry = self._entries.pop(id(job), None)
        if entry is not None:
            entry.done = True
            if entry.began is not None:
                self._interval.restore()

    def mode_of(self, job: Job[Any]) -> RunMode | None:
        """How it is run; None where nobody has said so."""
        entry = self._entries.get(id(job))
        return None if entry is None else entry.mode

    def running(self) -> list[Entry]:
        """What has begun and has not ended."""
        return [entry for entry in list(self._entries.values()) if entry.began is not None]

    def matching(self, msg_ids: tuple[str, ...], subshell_id: str | None) -> list[Entry]:
        """What is named, whether it has begun or not: by its id, or by its subshell."""
        return [
            entry
            for entry in list(self._entries.values())
            if entry.msg_id in msg_ids or (subshell_id is not None and subshell_of(entry.job) == subshell_id)
        ]

    def find(self, name: str) -> Entry:
        """The one whose number `name` is, or whose id begins with it.

        Raises:
            LookupError: There is none, or more than one.
        """
        entries = list(self._entries.values())
        found = [entry for entry in entries if name == str(entry.number)]
        found = found or [entry for entry in entries if name and entry.msg_id.startswith(name)]
        if len(found) != 1:
            count = "no job" if not found else f"{len(found)} jobs"
            raise LookupError(f"{count} with the number or the beginning of a msg_id {name!r}; %jobs lists them")
        return found[0]

    def describe(self) -> list[Content]:
        """What runs and waits, in the order of arrival."""
        return [entry.describe() for entry in list(self._entries.values())]


class SwitchInterval:
    """Makes threads take turns faster while cells run, so that the kernel answers while one computes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = 0.0
        self._ours = 0.0

    def shorten(self) -> None:
        """A cell begins."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._before = sys.getswitchinterval()
                if self._before > BUSY_SWITCH_INTERVAL:
                    sys.setswitchinterval(BUSY_SWITCH_INTERVAL)
                self._ours = sys.getswitchinterval()

    def restore(self) -> None:
        """A cell has ended; what a cell itself has set stays."""
        with self._lock:
            self._count -= 1
            if self._count == 0 and sys.getswitchinterval() == self._ours:
                sys.setswitchinterval(self._before)


def _has_code(content: object) -> bool:
    # A request that waits has not been checked.
    return isinstance(content, dict) and "code" in content


def first_line(code: object) -> str:
    """The first line of a cell that says something."""
    lines = [line.strip() for line in str(code).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("#")), lines[0] if lines else "")
