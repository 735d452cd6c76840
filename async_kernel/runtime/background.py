"""What cells leave running: its failures are shown in the cell that started it, once, and `%reset` cancels it.

A failure is text on the cell's stderr, not an `error` message: that would tell a frontend that the cell has failed,
after it was told that it has not.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, Token
from types import TracebackType
from typing import Any, Final
from weakref import WeakSet, ref

from async_kernel.runtime import failures
from async_kernel.runtime.publishing import Publishing
from async_kernel.runtime.threads import creator_of
from async_kernel.scheduling.calls import Call
from async_kernel.scheduling.context import Tracker, current_job, current_pending
from async_kernel.scheduling.pending import Pending
from async_kernel.scheduling.pending_group import PendingManager
from async_kernel.shell.outstream import Output
from async_kernel.typing import Job

__all__ = ["Background"]

MACHINERY: Final = ("async_kernel.", "asyncio.", "concurrent.futures.", "threading", "uvloop.")
"""Modules whose frames are left out where a traceback begins."""

JOB: Final = "_async_kernel_job"
"""The attribute of an asyncio task that holds its Job: before Python 3.12 a task doesn't tell its context."""


class Background(PendingManager):
    """The Pendings and tasks of the cells.

    Something that fails while its cell runs is shown when the cell ends, unless somebody has asked for its outcome by
    then; something that fails later, at once, unless somebody waits for it.

    Args:
        publish: Says whose the output is.
        output: Where failures are written to.
        failed: Told of each: what has failed, and the error in a line.
    """

    def __init__(self, publish: Publishing, output: Output, failed: Callable[[str, str], object]) -> None:
        super().__init__()
        self._failed = failed
        self._publish = publish
        self._output = output
        self._cells: dict[int, list[Callable[[], object]]] = {}
        "What to look at when a cell ends, by the id of its Job."
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._system_tasks: dict[int, tuple[Job[Any], Callable[[], object]]] = {}
        self.activate()

    def begin(self, job: Job[Any]) -> Token[tuple[Tracker, ...]]:
        """A cell runs: what it starts is tracked until `end`, which wants back what this returns."""
        loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage] # the public one raises under trio
        if loop is not None and loop not in self._loops:
            self._watch(loop)
        self._cells[id(job)] = []
        return self.start_tracking()

    def end(self, job: Job[Any], token: Token[tuple[Tracker, ...]]) -> None:
        """It has ended: what has failed in it is looked at now."""
        self.stop_tracking(token)
        for look in self._cells.pop(id(job)):
            look()

    def reset(self) -> None:
        """Cancel what the cells left pending, but not the call that asks for it."""
        own = current_pending.get()
        if own is not None and (pending := own()) is not None:
            self._pending.discard(pending)
        self.deactivate(cancel_pending=True)
        self.activate()
        for loop in list(self._loops):
            if not loop.is_closed():
                for task in asyncio.all_tasks(loop):
                    if self._is_left(getattr(task, JOB, None)):
                        loop.call_soon_threadsafe(task.cancel)
        for job, cancel in list(self._system_tasks.values()):
            if self._is_left(job):
                cancel()

    def _is_left(self, job: Job[Any] | None) -> bool:
        """Whether it is the job of a cell that has ended."""
        return job is not None and id(job) not in self._cells

    @contextmanager
    def system_task(self, job: Job[Any], cancel: Callable[[], object]) -> Generator[None]:
        """A system task of trio's runs for a cell: `cancel`, called in any thread, ends it."""
        key = id(cancel)
        self._system_tasks[key] = job, cancel
        try:
            yield
        finally:
            del self._system_tasks[key]

    # What fails

    def show(self, what: str, exc: BaseException, job: Job[Any] | None) -> None:
        """Show an exception that nobody handles in the cell of `job`; without one on the real stderr and in the log."""
        if job is None:
            failures.report(f"{what}: an exception was not caught", type(exc), exc, exc.__traceback__)
            return
        lines = traceback.format_exception(type(exc), exc, _from_user_code(exc.__traceback__))
        self._write(f"Exception in {what}:\n{''.join(lines)}", job)
        self._failed(what, _in_a_line(exc))

    def _write(self, text: str, job: Job[Any]) -> None:
        with self._publish.output_to(job):
            self._output.stderr.write(text)

    def thread_excepthook(self, args: threading.ExceptHookArgs) -> None:
        """`threading.excepthook`."""
        job = self._publish.of_thread(creator_of(args.thread))
        if job is None or args.exc_value is None:
            failures.thread_excepthook(args)
        elif not issubclass(args.exc_type, SystemExit):
            name = f"thread {threading.get_ident() if args.thread is None else args.thread.name}"
            self.show(name, args.exc_value, job)

    def call_excepthook(self, exc: BaseException, what: str) -> None:
        """`Caller.default_excepthook`: called in the context of what failed."""
        self.show(what, exc, current_job.get())

    # Pendings

    def remove(self, pending: Pending[Any], /) -> None:
        """`pending` is done."""
        super().remove(pending)
        if not isinstance(pending, Call) or not pending.unseen_failure:
            return
        job = pending.context.get(current_job)
        if (looks := self._cells.get(id(job))) is not None:
            seen = ref(pending)
            looks.append(lambda: self._show_pending(seen(), job))
        elif not pending.awaited:
            self._show_pending(pending, job)

    def _show_pending(self, pending: Pending[Any] | None, job: Job[Any] | None) -> None:
        if pending is not None and pending.unseen_failure and (exc := pending.exception()) is not None:
            self.show(repr(pending), exc, job)

    # asyncio

    @contextmanager
    def watching(self) -> Generator[None]:
        """Watch the tasks of the running loop, where it is asyncio's; on leaving, all is as before."""
        loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage]
        if loop is None:
            yield
            return
        before = loop.get_task_factory(), loop.get_exception_handler()
        self._watch(loop)
        try:
            yield
        finally:
            self._loops.discard(loop)
            loop.set_task_factory(before[0])
            loop.set_exception_handler(before[1])

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loops.add(loop)
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda loop, context: self._on_loop_error(loop, context, handler))
        if loop.get_task_factory() is None:
            loop.set_task_factory(self._make_task)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: Any = asyncio.Task(coro, loop=loop, **options)
        context: Context | None = options.get("context")
        job = current_job.get() if context is None else context.get(current_job)
        if job is not None:
            setattr(task, JOB, job)
            task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: Any) -> None:
        if task._log_traceback:  # It has failed. Whoever awaits it has its turn first, and takes the exception.
            task.get_loop().call_soon(self._look_at_task, task)

    def _look_at_task(self, task: Any) -> None:
        job = getattr(task, JOB)
        if (looks := self._cells.get(id(job))) is not None:
            seen = ref(task)
            looks.append(lambda: self._show_task(seen()))
        else:
            self._show_task(task)

    def _show_task(self, task: Any) -> None:
        if task is not None and task._log_traceback:  # Nobody has asked for the exception: asyncio's own flag.
            self.show(f"task {task.get_name()!r}", task.exception(), getattr(task, JOB))

    def _on_loop_error(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, Any], handler: Callable[[Any, Any], object] | None
    ) -> None:
        """A loop's exception handler: a task that was never retrieved, a callback that failed."""
        things = [context[key] for key in ("task", "future", "handle") if key in context]
        job = next((job for each in things if (job := _job_of(each)) is not None), None)
        exc: BaseException | None = context.get("exception")
        if job is not None:
            text = "\n".join([context["message"], *map(repr, things), ""])
            if exc is not None:
                text += "".join(traceback.format_exception(type(exc), exc, _from_user_code(exc.__traceback__)))
            self._write(text, job)
            self._failed(context["message"], "" if exc is None else _in_a_line(exc))
        elif handler is not None:
            handler(loop, context)
        elif exc is not None:
            failures.report(context["message"], type(exc), exc, exc.__traceback__)
        else:
            loop.default_exception_handler(context)


def _job_of(thing: Any) -> Job[Any] | None:
    """The Job of an asyncio task or handle, as far as this Python tells."""
    if (job := getattr(thing, JOB, None)) is not None:
        return job
    get_context = getattr(thing, "get_context", None)
    return _job_of_context(getattr(thing, "_context", None) if get_context is None else get_context())


def _job_of_context(context: Context | None) -> Job[Any] | None:
    return None if context is None else context.get(current_job)


def _in_a_line(exc: BaseException) -> str:
    return traceback.format_exception_only(exc)[-1].strip()


def _from_user_code(entry: TracebackType | None) -> TracebackType | None:
    """The traceback without what runs the user's code, where it begins."""
    whole = entry
    while entry is not None and entry.tb_frame.f_globals.get("__name__", "").startswith(MACHINERY):
        entry = entry.tb_next
    return entry or whole
