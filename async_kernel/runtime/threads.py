"""What a cell starts belongs to the cell: threads, and what executors run, get its Job.

Only the Job goes along, not the other context variables: Python says that a new thread starts with an empty context,
unless `sys.flags.thread_inherit_context` is set, and libraries rely on it. Copying everything would tell sniffio in the
thread that it is in the event loop of the cell.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any, Final, NamedTuple

from async_kernel.runtime.patches import Patch
from async_kernel.scheduling.context import addressee, current_job
from async_kernel.typing import Job

__all__ = ["creator_of", "system_task_patches", "thread_patches"]

CREATOR: Final = "_async_kernel_creator"
"""The attribute of a Thread that holds the Job that started it."""

Fallible = Callable[[str, BaseException, "Job[Any]"], object]
Running = Callable[["Job[Any]", Callable[[], object]], AbstractContextManager[None]]


class _Owner(NamedTuple):
    """Whose the output of a piece of code is."""

    job: Job[Any]
    to: Job[Any] | None

    def enter(self) -> None:
        current_job.set(self.job)
        addressee.set(self.to)

    def call(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `func` in a thread that runs other things too."""
        tokens = current_job.set(self.job), addressee.set(self.to)
        try:
            return func(*args, **kwargs)
        finally:
            current_job.reset(tokens[0])
            addressee.reset(tokens[1])


def _owner() -> _Owner | None:
    job = current_job.get()
    return None if job is None else _Owner(job, addressee.get())


def creator_of(thread: threading.Thread | None) -> Job[Any] | None:
    """The Job that started `thread`; where that is not known, the current one."""
    return getattr(thread, CREATOR, None) or current_job.get()


def thread_patches() -> list[Patch]:
    """What makes new threads, and the calls that executors run in theirs, belong to the cell that started them."""
    return [
        (threading.Thread, "start", _start(threading.Thread.start)),
        (ThreadPoolExecutor, "submit", _submit(ThreadPoolExecutor.submit)),
        (_thread, "start_new_thread", _start_new_thread(_thread.start_new_thread)),
    ]


def _start(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @wraps(original)
    def start(self: threading.Thread) -> None:
        if (owner := _owner()) is None or CREATOR in vars(self):
            original(self)
            return
        attributes = vars(self)
        before = {"run": attributes["run"]} if "run" in attributes else {}
        run = self.run

        def run_owned() -> None:
            _restore(attributes, before)
            owner.enter()
            run()

        attributes.update({"run": run_owned, CREATOR: owner.job})
        try:
            original(self)
        except BaseException:  # It was started before, or there can't be more threads.
            _restore(attributes, before)
            raise

    return start


def _restore(attributes: dict[str, Any], before: dict[str, Any]) -> None:
    attributes.pop("run", None)
    attributes.update(before)


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if (owner := _owner()) is not None and not _runs_elsewhere(self):
            fn = partial(owner.call, fn)
        return original(self, fn, *args, **kwargs)

    return submit


def _runs_elsewhere(executor: ThreadPoolExecutor) -> bool:
    # Python 3.14's executor of subinterpreters is a ThreadPoolExecutor that pickles what it is given.
    interpreter = sys.modules.get("concurrent.futures.interpreter")
    return interpreter is not None and isinstance(executor, interpreter.InterpreterPoolExecutor)


def _start_new_thread(original: Callable[..., int]) -> Callable[..., int]:
    @wraps(original)
    def start_new_thread(function: Callable[..., Any], /, *args: Any) -> int:
        if (owner := _owner()) is None or not callable(function):
            return original(function, *args)

        def run_owned(*args: Any, **kwargs: Any) -> None:
            owner.enter()
            try:
                function(*args, **kwargs)
            except SystemExit:
                raise
            except BaseException as exc:  # noqa: BLE001 - reported; Python would say where, but not whose it is
                threading.excepthook(threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, None)))

        return original(run_owned, *args)

    return start_new_thread


def system_task_patches(failed: Fallible, running: Running) -> list[Patch]:
    """What makes trio's system tasks belong to the cell that started them; one that fails does not end the kernel.

    Args:
        failed: Told of an exception: what failed, the exception, the Job. trio itself would end its run.
        running: The context that one runs in: given its Job, and what cancels it, from any thread.
    """
    trio = sys.modules.get("trio")
    lowlevel = getattr(trio, "lowlevel", None)
    if trio is None or lowlevel is None:
        return []
    new_scope = trio.CancelScope
    original, current_token = lowlevel.spawn_system_task, lowlevel.current_trio_token

    @wraps(original)
    def spawn_system_task(
        async_fn: Callable[..., Awaitable[Any]], *args: Any, name: object = None, context: Any = None
    ) -> Any:
        if (owner := _owner()) is None:
            return original(async_fn, *args, name=name, context=context)

        async def run_owned(*args: Any) -> Any:
            owner.enter()
            try:
                with new_scope() as scope, running(owner.job, partial(current_token().run_sync_soon, scope.cancel)):
                    return await async_fn(*args)
            except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001 - shown in its cell
                failed(f"system task {getattr(async_fn, '__qualname__', async_fn)}", exc, owner.job)

        return original(run_owned, *args, name=async_fn if name is None else name, context=context)

    return [(lowlevel, "spawn_system_task", spawn_system_task)]
