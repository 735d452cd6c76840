"""`input()` and `getpass()`: ask the frontend that sent the current request, and wait for its answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from async_kernel.errors import KernelInterruptError
from async_kernel.runtime.messenger import Messenger
from async_kernel.scheduling.context import current_job
from async_kernel.shell.display import StdinNotImplementedError
from async_kernel.typing import Job, SocketID

__all__ = ["InputRequests"]

_Answer: TypeAlias = "str | BaseException"


class _Question(NamedTuple):
    """One `input_request` that was sent."""

    job: Job[Any]
    msg_id: str
    answers: queue.SimpleQueue[_Answer]


class InputRequests:
    """The questions that cells are waiting on.

    An interrupt wakes a wait in any thread: it is put into the queue that the wait reads from, so no signal is needed.

    Args:
        messenger: Sends the `input_request`.
        allowed: Whether the kernel allows input at all (its profile's `stdin`).
        flush: Called before a question is sent, so that what was printed stands above it.
    """

    def __init__(self, messenger: Messenger, *, allowed: Callable[[], bool], flush: Callable[[], None]) -> None:
        self._messenger = messenger
        self._allowed = allowed
        self._flush = flush
        self._lock = threading.Lock()
        self._waiting: dict[bytes, list[_Question]] = {}

    def raw_input(self, prompt: object = "") -> str:
        """Ask for a line and wait for it.

        Raises:
            StdinNotImplementedError: The current request does not allow it.
            KernelInterruptError: The wait was interrupted.
        """
        __tracebackhide__ = True
        return self._ask("raw_input", str(prompt), password=False)

    def getpass(self, prompt: object = "Password: ", stream: Any = None) -> str:
        """Ask for a line that is not echoed and wait for it; `stream` is for compatibility with `getpass.getpass`."""
        __tracebackhide__ = True
        return self._ask("getpass", str(prompt), password=True)

    def receive(self, job: Job[Any]) -> None:
        """Take an `input_reply` (I/O thread). One that nobody waits for is dropped: its question was interrupted."""
        content = job["msg"]["content"]
        value = content.get("value") if isinstance(content, dict) else None
        parent = job["msg"]["parent_header"].get("msg_id")
        with self._lock:
            waiting = self._waiting.get(job["ident"][0] if job["ident"] else b"", ())
            question = self._meant(waiting, parent)
            if question is not None:
                # Here, not when it wakes: what comes before that is the answer to another question.
                self._remove(question)
                question.answers.put(value if isinstance(value, str) else "")

    def _meant(self, waiting: Sequence[_Question], parent: object) -> _Question | None:
        """The question that an answer is for."""
        for question in waiting:
            if parent in (question.msg_id, question.job["msg"]["header"]["msg_id"]):
                return question
        if isinstance(parent, str) and parent.startswith(f"{self._messenger.wire.session}_"):
            return None  # A question of ours that nobody asks any more.
        # Most frontends do not say it: the latest question is the one on their screen.
        return waiting[-1] if waiting else None

    def _remove(self, question: _Question) -> None:
        """It is answered, or nobody waits for the answer any more. Idempotent; the lock is held."""
        key = _asked(question.job)
        left = [each for each in self._waiting.get(key, ()) if each is not question]
        if left:
            self._waiting[key] = left
        else:
            self._waiting.pop(key, None)

    def interrupt(self, job: Job[Any]) -> bool:
        """Wake what waits in the name of `job` with a `KernelInterruptError`; return whether there was something."""
        with self._lock:
            waits = [each for waiting in self._waiting.values() for each in waiting if each.job is job]
        for each in waits:
            each.answers.put(KernelInterruptError("interrupted"))
        return bool(waits)

    def _ask(self, function: str, prompt: str, *, password: bool) -> str:
        __tracebackhide__ = True
        job = current_job.get()
        if job is None or not self._allowed() or not job["msg"]["content"].get("allow_stdin", False):
            raise StdinNotImplementedError(
                f"{function} was called, but this frontend does not support input requests "
                "(the request's allow_stdin is false, or the kernel's profile says `stdin: deny`)"
            )
        self._flush()
        header = self._messenger.wire.header("input_request")
        question = _Question(job, header["msg_id"], queue.SimpleQueue())
        with self._lock:
            self._waiting.setdefault(_asked(job), []).append(question)
        try:
            content = {"prompt": prompt, "password": password}
            self._messenger.send(SocketID.stdin, job["ident"], content, job["msg"], header)
            answer = question.answers.get()
        finally:
            with self._lock:
                self._remove(question)
        if isinstance(answer, BaseException):
            raise answer
        if answer == "\x04":  # The end-of-transmission mark of console frontends.
            raise EOFError
        return answer


def _asked(job: Job[Any]) -> bytes:
    """Who is asked: the client that has sent the request."""
    return job["ident"][0] if job["ident"] else b""
