"""`Call`: the Pending of a function that a `Caller` runs, and how it is run in the Caller's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from types import CoroutineType
from typing import Any, Protocol, TypeVar
from weakref import ref

from async_kernel.scheduling.context import current_job, current_pending
from async_kernel.scheduling.event_loops import Driver, Loop
from async_kernel.scheduling.pending import Pending
from async_kernel.scheduling.sections import Stepped, guarded

__all__ = ["Call", "Host", "is_coroutine"]

T = TypeVar("T")


class Host(Protocol):
    """What a call needs of the Caller that runs it."""

    live: set[Call[Any]]
    loop: Loop
    driver: Driver

    @property
    def ident(self) -> int | None:
        """`threading.get_ident` of the loop's thread."""
        ...

    def post(self, func: Callable[[], object], /) -> None:
        """Call `func` in the loop's thread; in order."""
        ...

    def report(self, exc: BaseException, what: str, context: Context | None, /) -> None:
        """Show an exception that no code waits for. Never raises."""
        ...

    def ended(self) -> None:
        """A call has ended; from any thread."""
        ...


def is_coroutine(value: object) -> bool:
    """Whether `value` is what calling a coroutine function returns."""
    return type(value) is CoroutineType or isinstance(value, Coroutine)


class Call(Pending[T]):
    """The Pending of a function or coroutine function that runs in a Caller's loop.

    `metadata` has the `func`, `args` and `kwargs` of the call, its `caller`, and what was given to `schedule_call`.

    Args:
        host: The Caller.
        track: See `Pending`.
        func, args, kwargs: What to call.
        context: The context to call it in (it is used as it is); None: a copy of the current one.
    """

    __slots__ = ("_deadline", "_handle", "_host", "_release", "context")

    def __init__(
        self,
        host: Host,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        /,
        *,
        track: bool = True,
        context: Context | None = None,
        metadata: dict[str, Any] | None = None,
        delay: float | None = None,
        release: Callable[[], object] | None = None,
    ) -> None:
        self._host = host
        self._handle: Callable[[], None] | None = None
        self._deadline = None if delay is None else time.monotonic() + delay
        self._release = release
        self.context = copy_context() if context is None else context
        "The context that it runs in: it holds the `current_job` that the call was made for."
        super().__init__(track, func=func, args=args, kwargs=kwargs, caller=host, **(metadata or {}))
        self.context.run(current_pending.set, ref(self))
        host.live.add(self)

    def __del__(self) -> None:
        # A failure that nobody asked for is shown once, like asyncio's "exception was never retrieved".
        if self.unseen_failure and (exc := self._outcome[1]) is not None:
            self._host.report(exc, repr(self), self.context)

    def start(self) -> None:
        """Run the function; called once, in the loop's thread."""
        if not self._begin(self._cancel_soon):
            self._free()
            return
        if self._deadline is not None:
            self._spawn(self._delayed(self._deadline))
            return
        metadata = self.metadata
        # What a cell has asked for is the code of a user, which an interrupt of the cell may end.
        of_cell = self.context.get(current_job) is not None
        run = partial(self.context.run, guarded) if of_cell else self.context.run
        try:
            result = run(metadata["func"], *metadata["args"], **metadata["kwargs"])
        except BaseException as exc:  # noqa: BLE001  It is what the Pending's `result` raises.
            self.end(None, exc, False)
            del self  # The traceback leads to this frame: no cycle through it.
        else:
            if is_coroutine(result):
                self._spawn(Stepped(result) if of_cell else result)
            else:
                self.end(result, None, False)

    @property
    def begun(self) -> bool:
        """Whether it runs."""
        return self._canceller is not None and not self._done

    def begin(self, canceller: Callable[[str | None], object]) -> bool:
        """What runs it elsewhere (a queue) is about to; False: it is cancelled, don't."""
        return self._begin(canceller)

    def end(self, value: Any, exception: BaseException | None, cancelled: bool) -> None:
        """It has ended; in the loop's thread."""
        self._handle = None
        if exception is not None and exception.__traceback__ is not None:
            # Without the frame of ours that caught it: it would make a cycle through this Pending.
            exception.__traceback__ = exception.__traceback__.tb_next
        if cancelled and self._cancelling is None:
            self._cancelling = "its task was cancelled"
        self._free()
        self._finish(value, exception)

    def _spawn(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._handle = self._host.loop.spawn(coro, self.context, self.end)

    async def _delayed(self, deadline: float) -> Any:
        while (
            rest := deadline - time.monotonic()
        ) > 0:  # uvloop counts in milliseconds, and may be early by half of one.
            await self._host.driver.sleep(rest)
        metadata = self.metadata
        result = metadata["func"](*metadata["args"], **metadata["kwargs"])
        return await result if is_coroutine(result) else result

    def _free(self) -> None:
        # Before whoever waits hears of it: the next `to_thread` finds the worker idle.
        release, self._release = self._release, None
        if release is not None:
            release()

    def _cancel_soon(self, _: str | None) -> None:
        with suppress(RuntimeError):  # The loop is closed: its end has finished every call.
            self._host.post(self._cancel_here)

    def _cancel_here(self) -> None:
        if self._handle is not None:
            self._handle()

    def _finish(self, value: Any, exception: BaseException | None = None) -> bool:
        self._host.live.discard(self)
        if super()._finish(value, exception):
            self._host.ended()
            return True
        return False

    def _set_by(self) -> int | None:
        return self._host.ident
