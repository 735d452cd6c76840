"""trio's side of `event_loops`."""

from __future__ import annotations

import contextvars
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import trio
from trio import CancelScope, sleep
from trio.lowlevel import current_task, current_trio_token, in_trio_task, reschedule, spawn_system_task

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


class Waiter:
    """See `event_loops.Waiter`."""

    __slots__ = ("_parked", "_task", "_token", "_woken")

    def __init__(self) -> None:
        self._task = current_task()
        self._token = current_trio_token()
        self._woken = False
        self._parked = False

    def wake(self) -> None:
        # In a step of one of the run's own tasks no wake-up through the token is needed.
        if in_trio_task() and current_trio_token() is self._token:
            self.resume()
        else:
            with suppress(trio.RunFinishedError):  # The task that waited is gone with its run.
                self._token.run_sync_soon(self.resume)

    def resume(self) -> None:
        self._woken = True
        if self._parked:
            self._parked = False
            reschedule(self._task)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._parked = False
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self, timeout: float | None = None) -> None:
        if not self._woken:
            with trio.move_on_after(math.inf if timeout is None else max(timeout, 0)):
                self._parked = True
                await trio.lowlevel.wait_task_rescheduled(self._abort)


async def _drive(coro: Coroutine[Any, Any, Any], ended: Ended, scope: CancelScope) -> None:
    if scope.cancel_called:
        coro.close()
        ended(None, None, True)
        return
    value = None
    try:
        with scope:
            value = await coro
    except trio.Cancelled:
        ended(None, None, True)
        raise
    except BaseException as exc:  # noqa: BLE001  KeyboardInterrupt too: it belongs to the call, not to the loop.
        ended(None, exc, False)
        del ended  # The traceback leads to this frame: no cycle through it.
    else:
        ended(value, None, scope.cancelled_caught)


class Loop:
    """See `event_loops.Loop`."""

    __slots__ = ("_token", "backend", "scope")

    def __init__(self) -> None:
        self.backend = Backend.trio
        self.scope = CancelScope
        self._token = current_trio_token()

    def post(self, func: Callable[[], object]) -> None:
        self._token.run_sync_soon(func)

    def spawn(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context, ended: Ended) -> Callable[[], None]:
        scope = CancelScope()
        # A system task takes the context as it is, and needs no nursery that somebody would have to keep open.
        spawn_system_task(_drive, coro, ended, scope, context=context)
        return scope.cancel


def is_cancellation(exc: BaseException) -> bool:
    """Whether `exc` is how trio cancels a task."""
    return isinstance(exc, trio.Cancelled)


def absorb() -> bool:
    """A `trio.Cancelled` belongs to the scope that made it: it can't be made undone."""
    return False


def shield(seconds: float) -> AbstractContextManager[Any]:
    """Let what is in it be awaited for `seconds` although the task is cancelled."""
    return trio.move_on_after(seconds, shield=True)


@contextmanager
def outside() -> Generator[None]:
    """See `event_loops.outside_loop`."""
    core = trio._core._run  # pyright: ignore[reportPrivateUsage]
    run_context = core.GLOBAL_RUN_CONTEXT
    sniffed = core.sniffio_library  # pyright: ignore[reportPrivateImportUsage]
    saved, name = dict(vars(run_context)), sniffed.name
    vars(run_context).clear()
    sniffed.name = None
    try:
        yield
    finally:
        vars(run_context).update(saved)
        sniffed.name = name


class _AfterStep(trio.abc.Instrument):
    def __init__(self, func: Callable[[], object]) -> None:
        self._func = func

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._func()


def instead_of_next_step(func: Callable[[], object]) -> Callable[[], None]:
    """See `event_loops.instead_of_next_step`."""
    return lambda: trio.lowlevel.add_instrument(_AfterStep(func))


def run(func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """See `event_loops.run`."""
    host = options.pop("host", None)
    return trio.run(func, *args, **options) if host is None else _run_as_guest(func, args, options, host)


def _run_as_guest(
    func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], options: dict[str, Any], host: Any
) -> Any:
    """Run trio inside the GUI `host`: the GUI calls what trio has to do."""
    outcomes: list[Any] = []
    posted: deque[Callable[[], object]] = deque()
    reader, writer = socket.socketpair()

    def post(call: Callable[[], object]) -> None:
        posted.append(call)
        with suppress(BlockingIOError):  # It is full, so the host will be woken.
            writer.send(b".")

    def take() -> None:
        with suppress(BlockingIOError):
            reader.recv(4096)
        while posted:
            posted.popleft()()

    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        unwatch = host.watch(reader.fileno(), take)
        trio.lowlevel.start_guest_run(
            func, *args, run_sync_soon_threadsafe=post, done_callback=outcomes.append, **options
        )
        while not outcomes:
            host.turn(None)
        unwatch()
    return outcomes[0].unwrap()
