"""`Caller`: runs functions and coroutine functions in the event loop of its thread, from any thread."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, ParamSpec, Self, TypeVar, Unpack

from async_kernel.scheduling import event_loops, waiting
from async_kernel.scheduling.calls import Call
from async_kernel.scheduling.context import current_job, current_pending
from async_kernel.scheduling.host import LoopHost
from async_kernel.scheduling.pending import Pending
from async_kernel.scheduling.pending_group import PendingGroup
from async_kernel.scheduling.queues import Queue
from async_kernel.scheduling.workers import Pool
from async_kernel.typing import Backend, CallerCreateOptions, CallerState, NoValue, NoValueType

__all__ = ["Caller"]

P = ParamSpec("P")
T = TypeVar("T")

Modifier = Literal["CurrentThread", "MainThread", "NewThread", "manual"]

_numbers = itertools.count(1)
_OPTIONS: Final = frozenset(CallerCreateOptions.__annotations__)


class Caller(LoopHost):
    """Runs functions and coroutine functions in the event loop of its thread, from any thread, in either backend.

    There is one Caller a thread. What it runs gets a copy of the context variables of whoever asked for it.

    - `Caller()` or `Caller("CurrentThread")`: the Caller of this thread, made and started where there is none.
    - `Caller("MainThread")`: the Caller of the main thread.
    - `Caller("NewThread")`: a new one, in a new thread with an event loop of its own. Stop it, or use `async with`.
    - `Caller("manual")`: a new one for this thread that is not started: use `async with`, or `start_sync`.

    Args:
        name: Default: the name of its thread.
        log: Where failures go that no code waits for.
        backend: `asyncio` or `trio`; default: that of the running loop (and asyncio for a new thread where none runs).
        backend_options: For the loop of a new thread, and of the workers; default: uvloop where it is installed.
        protected: Only `stop(force=True)` stops it.
        zmq_context: Kept as an attribute, and handed to its children.

    Raises:
        RuntimeError: No event loop runs in this thread; or it has a Caller already ("manual").
        ValueError: An unknown modifier or backend, or the thread's Caller has another name or backend.
        SetupError: The package of the backend is not installed.
    """

    MAX_IDLE_POOL_INSTANCES: ClassVar[int] = 10
    "How many idle workers are kept for `to_thread`."
    IDLE_WORKER_SHUTDOWN_DURATION: ClassVar[float] = 60
    "Seconds after which an idle worker is stopped."

    zmq_context: Any
    _get_lock: ClassVar = threading.RLock()
    _queues: dict[Hashable, Queue]
    _pool: Pool[Caller]
    _lifetime: contextlib.AbstractAsyncContextManager[Any] | None

    def __new__(cls, modifier: Modifier = "CurrentThread", /, **options: Unpack[CallerCreateOptions]) -> Self:
        if unknown := options.keys() - _OPTIONS:
            raise TypeError(f"Caller: unknown options {sorted(unknown)}; expected {sorted(_OPTIONS)}")
        match modifier:
            case "CurrentThread" | "MainThread":
                thread = threading.main_thread() if modifier == "MainThread" else threading.current_thread()
                if (existing := cls.get_current(thread)) is not None:
                    existing._check_options(options)
                    return existing
                if thread is not threading.current_thread():
                    raise RuntimeError("Caller('MainThread'): the main thread has none; make it there first")
                new = cls._make(options, new_thread=False)
                new.start_sync()
            case "NewThread":
                new = cls._make(options, new_thread=True)
                new.start_sync()
            case "manual":
                if (existing := cls.get_current()) is not None:
                    raise RuntimeError(f"Caller('manual'): one Caller a thread, and this one has {existing!r}")
                new = cls._make(options, new_thread=False)
            case _:  # pyright: ignore[reportUnnecessaryComparison]
                expected = "CurrentThread, MainThread, NewThread or manual"
                raise ValueError(f"Caller: expected {expected}, got {modifier!r}")
        return new

    def __init__(self, modifier: Modifier = "CurrentThread", /, **options: Unpack[CallerCreateOptions]) -> None:
        # All is done in `__new__`, which may return one that exists.
        pass

    @classmethod
    def _make(cls, options: CallerCreateOptions, *, new_thread: bool) -> Self:
        backend = options.get("backend") or event_loops.running_backend()
        if backend is None:
            if not new_thread:
                raise RuntimeError(
                    "Caller: no event loop is running in this thread, so name a backend, or use Caller('NewThread')"
                )
            backend = Backend.asyncio
        backend = event_loops.as_backend(backend)
        event_loops.driver(backend)
        backend_options = options.get("backend_options")
        self = super().__new__(cls)
        name = options.get("name") or ("" if new_thread else threading.current_thread().name)
        LoopHost.__init__(
            self,
            name=name or f"caller-{id(self):x}",
            backend=backend,
            backend_options=event_loops.default_options(backend) if backend_options is None else backend_options,
            log=options.get("log") or logging.getLogger("async_kernel.caller"),
            protected=options.get("protected", False),
            new_thread=new_thread,
        )
        self.zmq_context = options.get("zmq_context")
        self._queues = {}
        self._pool = Pool(self._new_worker, cls.MAX_IDLE_POOL_INSTANCES, cls.IDLE_WORKER_SHUTDOWN_DURATION)
        self._lifetime = None
        return self

    def _check_options(self, options: CallerCreateOptions) -> None:
        for key in ("name", "backend"):
            if (wanted := options.get(key)) is not None and wanted != (has := getattr(self, key)):
                raise ValueError(f"{self!r} has {key} {str(has)!r}, not {str(wanted)!r}")

    # The life

    async def __aenter__(self) -> Self:
        if self._new_thread or self._state is CallerState.start_sync:
            await self.started
            if not self.running:
                raise RuntimeError(f"{self!r} has ended")
        else:
            self._lifetime = self.lifetime()
            await self._lifetime.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        lifetime, self._lifetime = self._lifetime, None
        if lifetime is not None:
            return await lifetime.__aexit__(exc_type, exc, tb)
        self.stop(force=True)
        with event_loops.this_driver().shield(2 * self.STOP_GRACE + 1):
            await self.stopped
        if self._new_thread and self._thread is not None:
            self._thread.join(1)  # Its loop is closed: what is left of it takes microseconds.
        return None

    @property
    def parent(self) -> Caller | None:
        """The Caller that it stops with."""
        return self._parent if isinstance(self._parent, Caller) else None

    @property
    def children(self) -> frozenset[Caller]:
        """The Callers that stop with it, its workers included."""
        return frozenset(child for child in list(self._children) if isinstance(child, Caller))

    def get(self, **options: Unpack[CallerCreateOptions]) -> Self:
        """The child with the `name`, or a new child in a new thread; it stops with this Caller.

        What `options` doesn't say (backend, backend_options, log, zmq_context) it has from this one.

        Raises:
            ValueError: The child of that name has another backend.
            RuntimeError: This Caller is stopped.
        """
        with self._get_lock:
            if name := options.get("name"):
                for child in self.children:
                    if child.name == name and isinstance(child, type(self)):
                        child._check_options(options)
                        return child
            self._check("get")
            return self._start_child(options)

    def _start_child(self, options: CallerCreateOptions) -> Self:
        inherited: CallerCreateOptions = {"backend": self.backend, "log": self.log, "zmq_context": self.zmq_context}
        if options.get("backend", self.backend) == self.backend:
            inherited["backend_options"] = self.backend_options
        child = self._make({**inherited, **options}, new_thread=True)
        child.excepthook = self.excepthook
        child._parent = self
        self._children.add(child)
        child.start_sync()
        if not self.running and self._state is not CallerState.start_sync:
            child.stop(force=True)  # This one was stopped meanwhile, and may not have seen the child.
        return child

    def _new_worker(self) -> Self:
        return self.get(name=f"{self.name}-worker-{next(_numbers)}")

    @classmethod
    def get_current(cls, thread: threading.Thread | None = None) -> Self | None:
        """The Caller of `thread` (default: this one), None where it has none."""
        ident = threading.get_ident() if thread is None else thread.ident
        caller = None if ident is None else cls._by_thread.get(ident)
        return caller if isinstance(caller, cls) else None

    @classmethod
    def all_callers(cls, running_only: bool = True) -> list[Caller]:
        """Every Caller that has started and not stopped; with `running_only` without those that are about to."""
        callers = [caller for caller in list(cls._by_thread.values()) if isinstance(caller, Caller)]
        return [caller for caller in callers if caller.running] if running_only else callers

    @classmethod
    def current_pending(cls) -> Pending[Any] | None:
        """The Pending whose function or coroutine the calling code belongs to."""
        pending = current_pending.get()
        return None if pending is None else pending()

    # Calls

    def _check(self, what: str, func: object = len) -> None:
        if self._state in (CallerState.stopping, CallerState.stopped):
            raise RuntimeError(f"{what}: {self!r} takes no calls any more")
        if not callable(func):
            raise TypeError(f"{what}: expected a function, got {func!r}")

    def _call(
        self,
        what: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: contextvars.Context | None = None,
        metadata: dict[str, Any] | None = None,
        delay: float | None = None,
    ) -> Call[Any]:
        self._check(what, func)
        call = Call[Any](self, func, args, kwargs, context=context, metadata=metadata, delay=delay)
        self._submit(call)
        return call

    def _submit(self, call: Call[Any]) -> None:
        self.post(call.start)
        if self._state is CallerState.stopped:  # Meanwhile.
            self.turn_away(call)

    def schedule_call(
        self,
        func: Callable[..., Coroutine[Any, Any, T] | T],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        context: contextvars.Context | None = None,
        /,
        **metadata: Any,
    ) -> Pending[T]:
        """What `call_soon` does, with a context of your choice (it is copied) and `metadata` for the Pending."""
        if context is not None:
            context = context.copy()
        return self._call("schedule_call", func, args, kwargs or {}, context, metadata)

    def call_soon(
        self, func: Callable[P, Coroutine[Any, Any, T] | T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Pending[T]:
        """Run `func` in this Caller's loop soon, in a copy of the current context; from any thread.

        A function blocks the loop while it runs, a coroutine function runs as a task.

        Raises:
            RuntimeError: The Caller is stopped.
        """
        return self._call("call_soon", func, args, kwargs)

    def call_later(
        self, delay: float, func: Callable[P, Coroutine[Any, Any, T] | T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Pending[T]:
        """What `call_soon` does, not before `delay` seconds from now."""
        if not isinstance(delay, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"call_later: delay: expected seconds, got {delay!r}")
        return self._call("call_later", func, args, kwargs, delay=max(delay, 0))

    def call_direct(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run `func` in the scheduler itself as soon as possible; from any thread. For short, urgent functions.

        There is no Pending, and no context is copied: of the caller's variables it gets the Job that it belongs to.
        A coroutine that it returns is run as a task. What it raises is reported.

        Raises:
            RuntimeError: The Caller is stopped.
        """
        self._check("call_direct", func)
        self.post(partial(self.run_direct, func, args, kwargs, current_job.get()))

    def to_thread(
        self, func: Callable[P, Coroutine[Any, Any, T] | T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Pending[T]:
        """Run `func` in a worker: a thread with a loop of the same backend, that no other call runs in meanwhile.

        Raises:
            RuntimeError: The Caller is stopped.
        """
        self._check("to_thread", func)
        worker = self._pool.take()
        call = Call[Any](worker, func, args, kwargs, release=partial(self._pool.give, worker))
        worker._submit(call)
        return call

    # Queues

    def queue_call(
        self, func: Callable[..., Any], /, *args: Any, key: Hashable = NoValue, **kwargs: Any
    ) -> Pending[Any]:
        """Run `func` after all that was queued under `key` before; from any thread.

        The calls of a queue run one after another in one task and one context, a copy of the context of the first
        call: context variables that one call sets are there in the next.

        Args:
            func: A function or coroutine function.
            key: Which queue; default: `func` itself.

        Raises:
            RuntimeError: The Caller is stopped.
        """
        self._check("queue_call", func)
        key = func if key is NoValue else key
        call = Call[Any](self, func, args, kwargs)
        while not self._queue(key).put(call):
            pass
        if self._state is CallerState.stopped:  # Meanwhile.
            call.cancel(f"{self!r} was stopped")
        return call

    def _queue(self, key: Hashable) -> Queue:
        queue = self._queues.get(key)
        if queue is not None and queue.runner.cancelled():
            self._queues.pop(key, None)
            queue = None
        if queue is None:
            queue = self._queues.setdefault(key, new := Queue(self))
            if queue is not new:  # Another thread was faster.
                new.close()
        return queue

    def queue_get(self, key: Hashable, /) -> Pending[None] | None:
        """The Pending of the queue of `key` (or of a function): done when the queue is closed. None: no such queue."""
        queue = self._queues.get(key)
        return None if queue is None else queue.runner

    def queue_close(self, key: Hashable, /) -> None:
        """Close the queue of `key` (or of a function): cancel what runs and what waits in it; from any thread."""
        if (queue := self._queues.pop(key, None)) is not None:
            queue.close()

    # Waiting

    def as_completed(
        self,
        items: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]],
        *,
        max_concurrent: int | NoValueType = NoValue,
        cancel_unfinished: bool = True,
    ) -> AsyncIterator[Pending[T]]:
        """Iterate over the Pendings of `items` in the order in which they are done.

        Args:
            items: Pendings or other awaitables (these run in this Caller's loop).
            max_concurrent: How many are taken from `items` ahead of the results; default: all of a collection,
                `MAX_IDLE_POOL_INSTANCES` of a generator.
            cancel_unfinished: Cancel what is not done when the iteration ends early.
        """
        if max_concurrent is NoValue and not hasattr(items, "__len__"):
            max_concurrent = self.MAX_IDLE_POOL_INSTANCES
        limit = None if isinstance(max_concurrent, NoValueType) else max_concurrent
        return waiting.as_completed(items, self._as_pending, limit, cancel_unfinished)

    async def wait(
        self,
        items: Iterable[Awaitable[T]],
        *,
        timeout: float | None = None,
        return_when: Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"] = "ALL_COMPLETED",
    ) -> tuple[set[Pending[T]], set[Pending[T]]]:
        """Wait for `items` as `asyncio.wait` does, and return the sets (done, not done). Nothing is cancelled."""
        return await waiting.wait([self._as_pending(item) for item in items], timeout, return_when)

    def _as_pending(self, item: Awaitable[T]) -> Pending[T]:
        if isinstance(item, Pending):
            return item  # pyright: ignore[reportUnknownVariableType]

        async def run() -> T:
            return await item

        return self.call_soon(run)

    def create_pending_group(self, *, shield: bool = False) -> PendingGroup:
        """An async context that waits for every Pending made in it; see `PendingGroup`."""
        return PendingGroup(shield=shield)
