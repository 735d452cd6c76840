"""What is published on iopub, and in whose name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, cast

from async_kernel.runtime.messenger import Messenger
from async_kernel.runtime.output_limit import OutputLimit
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import Diverted, addressee, current_job
from async_kernel.typing import Content, Job, Message, NoValue, NoValueType, SocketID

__all__ = ["NOBODY", "Publishing", "ThreadOutput"]

ThreadOutput: TypeAlias = Literal["creator", "latest", "log"]
"""Whose a thread's output is: the cell's that started it, that of the execute request that began last, or nobody's."""


def _as_job(msg: Any) -> Job[Any]:
    return {"msg": msg, "socket_id": SocketID.shell, "ident": [], "received_time": 0.0}


NOBODY: Final[Job[Any]] = _as_job({"header": {}, "parent_header": {}, "metadata": {}, "content": {}, "buffers": []})
"""Stands for no cell: what is published for it goes to the kernel's real stderr."""

AS_TEXT: Final[Mapping[str, Callable[[Content], str]]] = {
    "stream": lambda content: content["text"],
    "display_data": lambda content: f"{content['data'].get('text/plain', '')}\n",
    "update_display_data": lambda content: f"{content['data'].get('text/plain', '')}\n",
    "error": lambda content: "\n".join([*content["traceback"], ""]),
    "clear_output": lambda _: "",
}
"""What is written for a message that no cell gets. Others (those of comms) are for the frontend, and are published."""


class Publishing:
    """An `async_kernel.interfaces.Publisher` whose messages belong to the current context's request.

    What runs outside of every request (a finalizer, a thread of the program that the kernel runs in) speaks for the
    latest execute request: no message leaves without a parent.

    Args:
        messenger: Sends.
        thread_output: Whose the output of threads is that are not the kernel's own: those of `threading`, of executors
            and of `to_thread` of asyncio, anyio and trio.
        output_limit: Bytes that a request may print and display; 0: no limit.
    """

    def __init__(self, messenger: Messenger, thread_output: ThreadOutput = "creator", output_limit: int = 0) -> None:
        self._messenger = messenger
        self._limit = OutputLimit(output_limit) if output_limit else None
        self._thread_output: ThreadOutput = thread_output
        self.latest: Job[Any] | None = None
        "The execute request that was started last."
        self.parent: Callable[[], Job[Any] | None] = self._creator if thread_output == "creator" else self._by_policy
        "The request that what is published in the current context belongs to."

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
        while isinstance(parent, Diverted):
            if parent.keep(*_type_and_content(msg_or_type, content)):
                return
            parent = parent.job or self.request()
        if parent is NOBODY:
            if _written(msg_or_type, content):
                return
            parent = self.request()
        options: dict[str, Any] = {"parent": parent, "ident": ident}
        if isinstance(msg_or_type, str):
            self._send(msg_or_type, content or {}, metadata=metadata, buffers=buffers, **options)
            return
        msg = msg_or_type
        if not parent and msg["parent_header"]:
            options["parent"] = msg["parent_header"]
        self._send(
            msg["header"]["msg_type"],
            msg["content"] if content is None else content,
            metadata=msg["metadata"] if metadata is None else metadata,
            buffers=msg["buffers"] if buffers is None else buffers,
            header=msg["header"],
            **options,
        )

    def _send(self, msg_type: str, content: Content, *, buffers: Sequence[Any] | None, **options: Any) -> None:
        if self._limit is None:
            self._messenger.publish(msg_type, content, buffers=buffers, **options)
            return
        extra = sum(memoryview(each).nbytes for each in buffers or ())
        shown, notices = self._limit.admit(msg_type, content, options["parent"], extra)
        if shown is not None:
            self._messenger.publish(msg_type, shown, buffers=buffers, **options)
        for notice_type, notice in notices:
            self._messenger.publish(notice_type, notice, parent=options["parent"])

    def settle(self, job: Job[Any]) -> None:
        """A request ends: what was cut of its output is said in full."""
        for msg_type, content in () if self._limit is None else self._limit.settle(job):
            self._messenger.publish(msg_type, content, parent=job["msg"])

    def request(self) -> Job[Any] | None:
        """The request that the current context belongs to, wherever its output goes."""
        return current_job.get() or self.latest

    def of_thread(self, creator: Job[Any] | None) -> Job[Any] | None:
        """Whose the failure of a thread is that `creator` has started; None: no cell's."""
        return {"creator": creator, "latest": self.latest, "log": None}[self._thread_output]

    @contextmanager
    def output_to(self, parent: Message[Any] | Job[Any] | None) -> Generator[None]:
        """See `Kernel.output_to`."""
        token = addressee.set(_job_of(parent))
        try:
            yield
        finally:
            addressee.reset(token)

    def _creator(self) -> Job[Any] | None:
        return addressee.get() or current_job.get() or self.latest

    def _by_policy(self) -> Job[Any] | None:
        job = addressee.get()
        if job is None and Caller.get_current() is None:
            job = self.latest if self._thread_output == "latest" else NOBODY
        return job or current_job.get() or self.latest


def _job_of(parent: Any) -> Job[Any]:
    if parent is None:
        return NOBODY
    if isinstance(parent, Mapping):
        if "msg" in parent:
            return cast("Job[Any]", parent)
        if "header" in parent:
            return _as_job(parent)
    raise TypeError(f"output_to: expected a message, a job or None, got {parent!r:.200}")


def _type_and_content(msg_or_type: Message[Any] | str, content: Content | None) -> tuple[str, Content]:
    if isinstance(msg_or_type, str):
        return msg_or_type, content or {}
    return msg_or_type["header"]["msg_type"], msg_or_type["content"] if content is None else content


def _written(msg_or_type: Message[Any] | str, content: Content | None) -> bool:
    """Write the text of a message that no cell gets; False where it has none."""
    msg_type, content = _type_and_content(msg_or_type, content)
    if (as_text := AS_TEXT.get(msg_type)) is None:
        return False
    stream = sys.__stderr__
    if stream is not None and not stream.closed:
        stream.write(as_text(content))
        stream.flush()
    return True
