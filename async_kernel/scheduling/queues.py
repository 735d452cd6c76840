"""FIFO queues by explicit key: one long-lived task a queue runs its calls one after another, all in one context."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import Any, Protocol
from weakref import ref

from async_kernel.scheduling.calls import Call, Host, is_coroutine
from async_kernel.scheduling.context import current_pending, trackers
from async_kernel.scheduling.event_loops import Waiter

__all__ = ["Queue", "QueueHost"]


class QueueHost(Host, Protocol):
    """What a queue needs of its Caller."""

    @property
    def running(self) -> bool:
        """False once the Caller is asked to stop."""
        ...


class Queue:
    """The calls of one key.

    Context variables that one call sets, before or after an `await`, are there in the next. `current_pending` and the
    trackers are each call's own.
    """

    def __init__(self, host: QueueHost) -> None:
        self._host = host
        self._calls: deque[Call[Any]] = deque()
        self._waiter: Waiter | None = None
        self._kicked = False
        self._started = False
        self.runner: Call[None] = Call(host, self._run, (), {}, track=False, context=copy_context())
        "Done when the queue is closed."
        self.runner.add_done_callback(self._cancel_calls)

    def put(self, call: Call[Any]) -> bool:
        """Append `call`, from any thread; False where the queue is closed and didn't take it."""
        self._calls.append(call)
        if self.runner.cancelled():
            try:
                self._calls.remove(call)
            except ValueError:
                return True  # The closing queue took it, and cancelled it.
            return False
        if not self._kicked:
            self._kicked = True
            self._host.post(self._kick)
        return True

    def close(self) -> None:
        """Cancel what runs and what waits; from any thread."""
        self.runner.cancel("the queue was closed")

    def _kick(self) -> None:
        self._kicked = False
        if not self._started:
            self._started = True
            self.runner.start()
        elif self._waiter is not None:
            self._waiter.resume()

    async def _run(self) -> None:
        # Asked anew each time: the call that ran may have swallowed the cancellation that was meant for the queue.
        while not self.runner.cancelled():
            if self._calls:
                await self._run_call(self._calls.popleft())
            else:
                await self._park()

    async def _park(self) -> None:
        driver = self._host.driver
        self._waiter = driver.Waiter()
        try:
            if not self._calls:
                await self._waiter.wait()
        except BaseException as exc:
            if not self._absorb(exc):
                raise
        finally:
            self._waiter = None

    async def _run_call(self, call: Call[Any]) -> None:
        scope = self._host.loop.scope()
        if not call.begin(lambda _: self._host.post(scope.cancel)):
            return
        current_pending.set(ref(call))
        trackers.set(call.context.get(trackers, ()))
        metadata = call.metadata
        value = None
        try:
            with scope:
                value = metadata["func"](*metadata["args"], **metadata["kwargs"])
                if is_coroutine(value):
                    value = await value
        except BaseException as exc:
            cancelled = self._host.driver.is_cancellation(exc)
            call.end(None, None if cancelled else exc, cancelled)
            del call  # The traceback leads to this frame: no cycle through it.
            if cancelled and not self._absorb(exc):
                raise
        else:
            call.end(value, None, False)

    def _absorb(self, exc: BaseException) -> bool:
        # A cancellation that neither came from `close` nor from the Caller's end (user code that cancels every task it
        # finds, or its own) ends the call, not the queue: what is queued behind it would be lost.
        driver = self._host.driver
        if not driver.is_cancellation(exc) or self.runner.cancelled() or not self._host.running:
            return False
        return driver.absorb()

    def _cancel_calls(self, _: object) -> None:
        while self._calls:
            self._calls.popleft().cancel("its queue was closed")
