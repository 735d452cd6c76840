"""Who keeps track of the Pendings made in a context: `PendingGroup` waits for them, `PendingManager` lists them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator
from contextvars import Token
from typing import Any, ClassVar, Self

import anyio

from async_kernel.scheduling import context, event_loops
from async_kernel.scheduling.context import Tracker
from async_kernel.scheduling.pending import Pending, PendingCancelled

__all__ = ["PendingGroup", "PendingManager", "PendingTracker"]


class PendingTracker:
    """Holds the Pendings that were made in its contexts and are not done."""

    def __init__(self) -> None:
        self._pending: set[Pending[Any]] = set()

    @property
    def pending(self) -> set[Pending[Any]]:
        """Those that are not done."""
        return set(self._pending)

    def add(self, pending: Pending[Any], /) -> None:
        """Keep track of `pending` until it is done."""
        self._pending.add(pending)
        pending.add_done_callback(self.remove)

    def remove(self, pending: Pending[Any], /) -> None:
        """Don't keep track of `pending` any more."""
        self._pending.discard(pending)

    def start_tracking(self) -> Token[tuple[Tracker, ...]]:
        """Track what is made in this context from now on, and in every context copied from it."""
        return context.trackers.set((*context.trackers.get(), self))

    def stop_tracking(self, token: Token[tuple[Tracker, ...]]) -> None:
        """Stop it; `token` is what `start_tracking` returned."""
        context.trackers.reset(token)


class PendingManager(PendingTracker):
    """Tracks the Pendings made in its contexts while it is active.

    Use it so::

        manager = PendingManager()
        manager.activate()
        token = manager.start_tracking()
        ...
        manager.stop_tracking(token)
        manager.deactivate(cancel_pending=True)
    """

    def __init__(self) -> None:
        super().__init__()
        self._active = False

    @property
    def active(self) -> bool:
        """Whether it tracks."""
        return self._active

    def activate(self) -> None:
        """Begin to track. Idempotent."""
        self._active = True

    def deactivate(self, cancel_pending: bool = False) -> None:
        """Forget what it tracks and track nothing more, also in contexts that still have it.

        Args:
            cancel_pending: Cancel what it tracked.
        """
        self._active = False
        pending, self._pending = self._pending, set()
        for item in pending:
            item.remove_done_callback(self.remove)
            if cancel_pending:
                item.cancel("its PendingManager was deactivated")

    def add(self, pending: Pending[Any], /) -> None:
        """Keep track of `pending` until it is done, while the manager is active."""
        if self._active:
            super().add(pending)

    @contextlib.contextmanager
    def context(self) -> Generator[Self]:
        """A context that is tracked."""
        token = self.start_tracking()
        try:
            yield self
        finally:
            self.stop_tracking(token)


class PendingGroup(PendingTracker, anyio.AsyncContextManagerMixin):
    """An async context that waits for every Pending made in it, in this task and in whatever is called from it.

    When one fails, or the body does, the rest and the body are cancelled, and exit raises the failures. A Pending that
    is cancelled is no failure.

    Args:
        shield: Protect the group from a cancellation (of anyio or trio) from outside.

    Raises:
        ExceptionGroup: One or more failed.
        PendingCancelled: The group was cancelled by `cancel`.
    """

    CANCEL_GRACE: ClassVar[float] = 10.0
    "Seconds that what was cancelled may take to end, before exit goes on without it."

    _driver: event_loops.Driver

    def __init__(self, *, shield: bool = False) -> None:
        super().__init__()
        self._shield = shield
        self._failures: list[BaseException] = []
        self._cancelling: str | None = None
        self._scope: anyio.CancelScope | None = None
        self._loop: event_loops.Loop | None = None
        self._waiter: event_loops.Waiter | None = None

    def cancel(self, msg: str | None = None) -> bool:
        """Cancel the body and every Pending of the group, from any thread; exit raises `PendingCancelled`."""
        if self._cancelling is None:
            self._cancelling = msg or "the group was cancelled"
            self._abandon()
        return True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelling is not None

    def add(self, pending: Pending[Any], /) -> None:
        """Make `pending` one of the group; it is cancelled at once where the group is or one of it has failed."""
        super().add(pending)
        if self._cancelling is not None or self._failures:
            pending.cancel("its group was cancelled")

    def remove(self, pending: Pending[Any], /) -> None:
        """Don't wait for `pending` any more."""
        super().remove(pending)
        if pending.done() and not pending.cancelled() and (exc := pending.exception()) is not None:
            self._failures.append(exc)
            self._abandon()
        if not self._pending and self._waiter is not None:
            self._waiter.wake()

    def _abandon(self) -> None:
        # From any thread.
        for pending in self.pending:
            pending.cancel("its group was cancelled")
        if self._loop is not None and self._scope is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._loop.post(self._scope.cancel)

    @contextlib.asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._loop is not None:
            raise RuntimeError("a PendingGroup can be entered once")
        self._driver = event_loops.this_driver()
        self._loop = self._driver.Loop()
        body_error: Exception | None = None
        token = self.start_tracking()
        try:
            with anyio.CancelScope(shield=self._shield) as self._scope:
                try:
                    yield self
                except Exception as exc:  # noqa: BLE001  Raised below, when the rest has ended.
                    body_error = exc
                    self._abandon()
                await self._all_done()
        finally:
            self.stop_tracking(token)
            if self._pending:
                self._abandon()
                with anyio.move_on_after(self.CANCEL_GRACE, shield=True):
                    await self._all_done()
        if self._failures:
            failures = {id(exc): exc for exc in (*self._failures, *([body_error] if body_error else ()))}
            raise BaseExceptionGroup("Pendings of a group failed", list(failures.values()))
        if body_error is not None:
            raise body_error
        if self._cancelling is not None:
            raise PendingCancelled(self._cancelling)

    async def _all_done(self) -> None:
        while self._pending:
            self._waiter = self._driver.Waiter()
            if self._pending:
                await self._waiter.wait()
