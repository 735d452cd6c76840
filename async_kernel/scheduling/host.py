"""The life of a Caller: its inbox, the loop that empties it, how both start, and how everything in it ends."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar, Self, TypeAlias

from async_kernel.scheduling import event_loops
from async_kernel.scheduling.calls import Call, is_coroutine
from async_kernel.scheduling.context import current_job
from async_kernel.scheduling.event_loops import CancelScope, Driver, Loop, Waiter
from async_kernel.scheduling.pending import Event
from async_kernel.typing import Backend, CallerState, Job

__all__ = ["LoopHost", "StartError"]

ExceptHook: TypeAlias = Callable[[BaseException, str], object]


class StartError(RuntimeError):
    """A call was not begun, because the thread that it was for can't run."""


class LoopHost:
    """An inbox that any thread fills and the loop of one thread empties. `Caller` is its public face."""

    STOP_GRACE: ClassVar[float] = 5.0
    "Seconds that what is cancelled at the end may take for its cleaning up, before it is left behind and logged."

    default_excepthook: ClassVar[ExceptHook | None] = None
    "The `excepthook` of those that have none of their own."

    _by_thread: ClassVar[dict[int, LoopHost]] = {}

    loop: Loop
    driver: Driver

    def __init__(
        self,
        *,
        name: str,
        backend: Backend,
        backend_options: dict[str, Any] | None,
        log: logging.Logger | logging.LoggerAdapter[Any],
        protected: bool,
        new_thread: bool,
    ) -> None:
        self.name = name
        self.backend = backend
        self.backend_options = backend_options
        self.log = log
        self.protected = protected
        self.excepthook: ExceptHook | None = None
        "Called with an exception that no code waits for and what failed, in the call's context; None: the default."
        self.started = Event()
        self.stopped = Event(lambda: self.ident)
        self.live: set[Call[Any]] = set()
        "The calls that have not ended."
        self.idle_since: float = 0
        "When this worker ran out of work (monotonic seconds)."
        self._inbox: deque[Callable[[], object]] = deque()
        self._woken = True  # Until the loop runs there is nothing to wake.
        self._state = CallerState.initial
        self._new_thread = new_thread
        self._thread: threading.Thread | None = None
        self._scope: CancelScope | None = None
        self._cancel_host: Callable[[], None] | None = None
        self._empty: Waiter | None = None
        self._parent: LoopHost | None = None
        self._failure: BaseException | None = None
        self._children: set[LoopHost] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.backend.value}, {self._state.name}>"

    @property
    def thread(self) -> threading.Thread | None:
        """The thread of the loop; None before the start."""
        return self._thread

    @property
    def ident(self) -> int | None:
        """`threading.get_ident` of the loop's thread; None before the start."""
        return None if self._thread is None else self._thread.ident

    @property
    def state(self) -> CallerState:
        """Where it is in its life."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether its loop runs and it takes calls."""
        return self._state is CallerState.running

    # The inbox

    def post(self, func: Callable[[], object], /) -> None:
        """Call `func` in the loop's thread, in the order of the posts; from any thread. `func` must not raise."""
        self._inbox.append(func)
        if not self._woken:
            try:
                self._woken = True
                self.loop.post(self._drain)
            except RuntimeError:  # The loop was closed under us; nothing in the inbox will ever run.
                self._gone()
            except BaseException:  # An interrupt of the code that calls us: the next post has to wake the loop.
                self._woken = False
                raise

    def _drain(self) -> None:
        self._woken = False
        inbox = self._inbox
        for _ in range(len(inbox)):  # What comes in meanwhile wakes the loop again: its other tasks have their turn.
            inbox.popleft()()

    def ended(self) -> None:
        """A call has ended; from any thread."""
        if self._empty is not None and not self.live:
            self._empty.wake()

    def run_direct(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], job: Job[Any] | None = None
    ) -> None:
        """Run `func` for `job` in the loop's thread now; what it raises is reported."""
        context = contextvars.Context()
        if job is not None:
            context.run(current_job.set, job)
        try:
            result = context.run(func, *args, **kwargs)
        except BaseException as exc:  # noqa: BLE001  Reported, and it must not reach the loop.
            self.report(exc, f"call_direct of {func!r}", context)
            return
        if is_coroutine(result):
            Call[Any](self, lambda: result, (), {}, track=False, context=context, metadata={"name": repr(func)}).start()

    def run_later(self, delay: float, func: Callable[[], object], /) -> object:
        """Run `func` in the loop's thread after `delay` seconds, untracked; what it raises is reported."""
        call = Call[Any](self, func, (), {}, track=False, context=contextvars.Context(), delay=delay)
        self.post(call.start)
        return call

    def report(self, exc: BaseException, what: str, context: contextvars.Context | None, /) -> None:
        """Show an exception that no code waits for: to the excepthook, or the log. Never raises."""
        try:
            if (hook := self.excepthook or LoopHost.default_excepthook) is not None:
                (contextvars.Context() if context is None else context.copy()).run(hook, exc, what)
                return
        except Exception:
            self.log.exception("the excepthook of %r failed", self)
        self.log.error("%s failed in %r", what, self, exc_info=exc)

    # Start

    def _begin(self) -> None:
        # In the thread whose loop will empty the inbox.
        ident = threading.get_ident()
        other = self._by_thread.setdefault(ident, self)
        if other is not self:
            raise RuntimeError(f"one Caller a thread: {threading.current_thread().name!r} has {other!r} already")
        self._thread = threading.current_thread()

    def start_sync(self) -> None:
        """Start in the background: in the running loop of this thread, or in the new thread it was made for.

        Calls may be made at once; they run when the loop gets to it.

        Raises:
            RuntimeError: It was started before, or no event loop runs in this thread, or the thread has a Caller.
        """
        if self._state is not CallerState.initial:
            raise RuntimeError(f"start_sync: {self!r} was started already")
        if self._new_thread:
            self._state = CallerState.start_sync
            try:
                self._thread = event_loops.start_thread(
                    self._host,
                    name=self.name,
                    backend=self.backend,
                    backend_options=self.backend_options,
                    ended=self._thread_ended,
                )
            except BaseException:  # There can't be another thread now: nobody is to wait for its end.
                self._gone()
                raise
            return
        self._check_backend()
        self._begin()
        self._state = CallerState.start_sync
        loop = event_loops.driver(self.backend).Loop()
        # Kept: asyncio itself has only a weak reference to a task.
        self._cancel_host = loop.spawn(self._host(), contextvars.Context(), self._host_ended)

    def _check_backend(self) -> None:
        running = event_loops.running_backend()
        if running is None:
            raise RuntimeError(f"{self!r}: no event loop is running in this thread; use Caller('NewThread')")
        if running is not self.backend:
            raise RuntimeError(f"{self!r}: this thread runs {running.value}, expected {self.backend.value}")

    async def _host(self) -> None:
        async with self.lifetime():
            await self.driver.Waiter().wait()

    def _host_ended(self, _: object, exc: BaseException | None, __: bool) -> None:
        if exc is not None:
            self.report(exc, "the host task", None)

    # The life

    @contextlib.asynccontextmanager
    async def lifetime(self) -> AsyncGenerator[Self]:
        """Run in the current task: enter starts it, `stop` cancels the body, exit ends everything that runs in it."""
        if self._state not in (CallerState.initial, CallerState.start_sync, CallerState.stopping):
            raise RuntimeError(f"{self!r} can't be started: it is {self._state.name}")
        self._check_backend()
        self._begin()
        self.driver = event_loops.driver(self.backend)
        self.loop = self.driver.Loop()
        self._scope = self.loop.scope()
        try:
            with self._scope:
                if self._state is not CallerState.stopping:
                    self._state = CallerState.running
                self.started.set()
                self._drain()
                yield self
        finally:
            self._state = CallerState.stopping
            try:
                with self.driver.shield(2 * self.STOP_GRACE + 1):
                    await self._end()
            finally:
                if not self._new_thread:  # There it is over when the thread's loop is closed.
                    self._gone()

    async def _end(self) -> None:
        deadline = time.monotonic() + self.STOP_GRACE
        children = list(self._children)
        for child in children:
            child.stop(force=True)
        for call in list(self.live):
            call.cancel(f"{self!r} was stopped")
        while self.live and (rest := deadline - time.monotonic()) > 0:
            self._empty = self.driver.Waiter()
            if self.live:
                await self._empty.wait(rest)
        for child in children:
            if not await child.stopped.wait_async(max(deadline - time.monotonic(), 0.1)):
                self.log.warning("%r did not end in %s s: it is left behind", child, self.STOP_GRACE)
                child.abandon()
            elif child.thread is not None:
                child.thread.join(1)  # Its loop is closed: what is left of it takes microseconds.

    def _thread_ended(self, error: BaseException | None) -> None:
        """The new thread ends. Those who call, or have called, are told of the error that kept it from running."""
        if error is not None and not self.started.is_set():
            self._failure, self._state = error, CallerState.stopped
            for call in list(self.live):
                self.turn_away(call)
        self._gone()

    def turn_away(self, call: Call[Any]) -> None:
        """End a call that came when nothing runs here any more; whoever waits for it hears why."""
        if self._failure is None:
            call.cancel(f"{self!r} was stopped")
            return
        failure = StartError(f"no thread for {self.name!r}: {type(self._failure).__name__}: {self._failure}")
        failure.__cause__ = self._failure
        call.end(None, failure, False)

    def abandon(self) -> None:
        """Tell those who wait for a call that it is cancelled, whether it has ended or not."""
        for call in list(self.live):
            if call.begun:
                self.log.warning("%r did not end in %s s: it is left behind", call, self.STOP_GRACE)
            call.end(None, None, True)

    def _gone(self) -> None:
        # Nothing runs any more, or it won't end: whoever waits for it must not wait for ever.
        self._state = CallerState.stopped
        ident = self.ident
        if ident is not None and self._by_thread.get(ident) is self:
            del self._by_thread[ident]
        self._inbox.clear()
        self.abandon()
        if self._parent is not None:
            self._parent._children.discard(self)
        self.started.set()  # Whoever waits for a start that failed must not wait for ever.
        self.stopped.set()

    # Stop

    def stop(self, *, force: bool = False) -> CallerState:
        """Ask it to stop, from any thread; `stopped` tells when it has. Returns the state that it is in now.

        The body of `async with`, everything that runs and its children are cancelled.

        Args:
            force: Stop a protected one too.
        """
        if self.protected and not force:
            self.log.debug("%r is protected: stop(force=True) stops it", self)
            return self._state
        if self._state is CallerState.initial:
            self._gone()
        elif self._state in (CallerState.start_sync, CallerState.running):
            self._state = CallerState.stopping
            self.post(self._cancel_body)
        return self._state

    def _cancel_body(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
