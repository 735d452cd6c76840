"""asyncio's side of `event_loops`, with or without uvloop."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import inspect
import sys
import traceback
from asyncio import current_task
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Self

import anyio

from async_kernel.scheduling.event_loops import Ended
from async_kernel.typing import Backend

__all__ = [
    "CancelScope",
    "Loop",
    "Waiter",
    "absorb",
    "instead_of_next_step",
    "is_cancellation",
    "outside",
    "run",
    "shield",
    "sleep",
]

sleep = asyncio.sleep


def _inside(loop: asyncio.AbstractEventLoop) -> bool:
    # True in a step of one of the loop's tasks. There the loop needs no wake: it looks at its queue after the step,
    # also when this is called by a signal handler that interrupted it. A handler that interrupted the selector,
    # and a plain callback, get False.
    return asyncio._get_running_loop() is loop and current_task(loop) is not None  # pyright: ignore[reportPrivateUsage]


class Waiter:
    """See `event_loops.Waiter`."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        if _inside(self._loop):
            self.resume()
        else:
            with suppress(RuntimeError):  # The loop is closed, and the task that waited is gone with it.
                self._loop.call_soon_threadsafe(self.resume)

    def resume(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        if timeout is None:
            await self._future
            return
        timer = self._loop.call_later(max(timeout, 0), self.resume)
        try:
            await self._future
        finally:
            timer.cancel()


class CancelScope:
    """See `event_loops.CancelScope`: the same bargain with `Task.uncancel` as `asyncio.timeout`."""

    __slots__ = ("_before", "_called", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._called = False
        self._before = 0

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a cancel scope needs a running asyncio task")
        self._before = self._task.cancelling()
        return self

    def cancel(self) -> None:
        if not self._called and self._task is not None:
            self._called = True
            self._task.cancel()

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: object) -> bool:
        task, self._task = self._task, None
        if not self._called or task is None:
            return False
        return task.uncancel() <= self._before and isinstance(exc, asyncio.CancelledError)


class _Task:
    """A task that tells `ended` how it ended, also where it was cancelled before its first step."""

    __slots__ = ("_coro", "_ended", "_started", "_task")

    def __init__(self, coro: Coroutine[Any, Any, Any], ended: Ended) -> None:
        self._coro = coro
        self._ended = ended
        self._started = False
        self._task: asyncio.Task[None] | None = None  # Strong, until it ends: the loop's own reference is a weak one.

    def start(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        # Not `loop.create_task`: a task factory of the user's might run the first step at once, or wrap the coroutine.
        self._task = asyncio.Task(self._run(), loop=loop, context=context)
        self._task.add_done_callback(self._over)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        self._started = True
        try:
            value = await self._coro
        except asyncio.CancelledError:
            self._ended(None, None, True)
        except BaseException as exc:  # noqa: BLE001  KeyboardInterrupt too: it belongs to the call, not to the loop.
            self._ended(None, exc, False)
            del self  # The traceback leads to this frame: no cycle through it.
        else:
            self._ended(value, None, False)

    def _over(self, _: object) -> None:
        self._task = None
        if not self._started:  # It was cancelled before its first step.
            self._coro.close()
            self._ended(None, None, True)


class Loop:
    """See `event_loops.Loop`."""

    __slots__ = ("_context", "_loop", "backend", "scope")

    def __init__(self) -> None:
        self.backend = Backend.asyncio
        self.scope = CancelScope
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.Context()  # What is posted doesn't run in the context of whoever woke the loop.

    def post(self, func: Callable[[], object]) -> None:
        if _inside(self._loop):
            self._loop.call_soon(func, context=self._context)
        else:
            self._loop.call_soon_threadsafe(func, context=self._context)

    def spawn(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context, ended: Ended) -> Callable[[], None]:
        task = _Task(coro, ended)
        task.start(self._loop, context)
        return task.cancel


def is_cancellation(exc: BaseException) -> bool:
    """Whether `exc` is how asyncio cancels a task."""
    return isinstance(exc, asyncio.CancelledError)


def absorb() -> bool:
    """Make the current task one that nobody has cancelled; the CancelledError has been caught."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    return True


def shield(seconds: float) -> AbstractContextManager[Any]:
    """Let what is in it be awaited for `seconds` although the task is cancelled.

    asyncio itself cancels once; only a scope of anyio goes on and on, and there is none where its backend isn't loaded.
    """
    if "anyio._backends._asyncio" in sys.modules:
        return anyio.move_on_after(seconds, shield=True)
    return nullcontext()


@contextmanager
def outside() -> Generator[None]:
    """See `event_loops.outside_loop`."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        asyncio.tasks._leave_task(loop, task)  # pyright: ignore[reportPrivateUsage]
    asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)  # pyright: ignore[reportPrivateUsage]
        if task is not None:
            asyncio.tasks._enter_task(loop, task)  # pyright: ignore[reportPrivateUsage]


def instead_of_next_step(func: Callable[[], object]) -> Callable[[], None]:
    """See `event_loops.instead_of_next_step`; with uvloop, other callbacks that are due may come before it."""
    loop = asyncio.get_running_loop()

    def arm() -> None:
        loop.call_soon(func)
        if isinstance(ready := getattr(loop, "_ready", None), deque):
            ready.rotate(1)

    return arm


def run(func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """See `event_loops.run`."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = options.pop("loop_factory", None)
    debug: bool | None = options.pop("debug", None)
    name = "winloop" if sys.platform == "win32" else "uvloop"
    if options.pop("use_uvloop", False) and factory is None and importlib.util.find_spec(name) is not None:
        factory = importlib.import_module(name).new_event_loop
    if options:
        raise TypeError(
            f"backend_options of asyncio: unknown {sorted(options)}; expected use_uvloop, debug, loop_factory"
        )

    tasks: list[asyncio.Task[Any] | None] = []

    async def main() -> Any:
        tasks.append(asyncio.current_task())
        return await func(*args)

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        try:
            return runner.run(main())
        except (SystemExit, KeyboardInterrupt) as exc:
            if not tasks or not _is_of_another_task(exc, tasks[0]):
                raise
        return _run_on(runner.get_loop(), tasks[0])


def _run_on(loop: asyncio.AbstractEventLoop, main: Any) -> Any:
    """Run `main` to its end although a task of the loop raises SystemExit, at which asyncio leaves the loop."""
    while True:
        try:
            return loop.run_until_complete(main)
        except (SystemExit, KeyboardInterrupt) as exc:
            if not _is_of_another_task(exc, main):
                raise


def _is_of_another_task(exc: BaseException, main: asyncio.Task[Any] | None) -> bool:
    """Whether a coroutine has raised `exc`, not a signal handler in the loop's own code, and not that of `main`."""
    if main is None or main.done():
        return False
    codes = [frame.f_code for frame, _ in traceback.walk_tb(exc.__traceback__)]
    return any(code.co_flags & inspect.CO_COROUTINE for code in codes)
