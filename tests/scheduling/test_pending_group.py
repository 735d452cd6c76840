"""`PendingGroup` and `PendingManager`: nothing that was started in a context is forgotten."""

from __future__ import annotations

# pyright: reportPossiblyUnboundVariable=false
# A context manager may swallow an exception, so what is bound in a `with` block counts as possibly unbound after it.
import asyncio
from typing import Any

import anyio
import pytest

from async_kernel.caller import Caller
from async_kernel.pending import Event, Pending, PendingCancelled, PendingGroup, PendingManager

pytestmark = pytest.mark.anyio


class TestGroup:
    async def test_it_waits_for_all_that_was_made_in_it(self):
        async def nested() -> None:
            for _ in range(3):
                made.append(caller.call_soon(anyio.sleep, 0))
                made.append(caller.to_thread(anyio.sleep, 0))

        made: list[Pending[Any]] = []
        async with Caller("manual") as caller:
            async with caller.create_pending_group() as group:
                made.append(caller.call_soon(nested))
                made.append(caller.to_thread(nested))
            assert len(made) == 14
            assert all(p.done() and not p.cancelled() for p in made)
            assert not group.pending
            outside = caller.call_soon(int)
            assert outside not in group.pending

    async def test_one_that_fails_cancels_the_rest_and_the_body(self):
        async def fail() -> None:
            raise ValueError("failed")

        async with Caller("manual") as caller:
            for call in (caller.call_soon, caller.to_thread):
                body = ""
                with pytest.raises(ExceptionGroup) as info:  # noqa: PT012
                    async with PendingGroup():
                        rest = [caller.call_soon(anyio.sleep_forever), caller.to_thread(anyio.sleep_forever)]
                        call(fail)
                        body = "waits"
                        await anyio.sleep_forever()
                        body = "went on"
                assert [repr(e) for e in info.value.exceptions] == ["ValueError('failed')"]
                assert body == "waits"
                assert all(p.cancelled() and p.done() for p in rest)

    async def test_a_failing_body_cancels_them_and_raises_its_own(self):
        async with Caller("manual") as caller:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with PendingGroup():
                    pending = caller.call_soon(anyio.sleep_forever)
                    raise ZeroDivisionError
            assert pending.done()

    async def test_a_pending_that_is_cancelled_is_no_failure(self):
        async with Caller("manual") as caller:
            async with PendingGroup():
                caller.call_soon(anyio.sleep_forever).cancel()
                other = caller.call_soon(int)
            assert other.result() == 0

    async def test_cancelling_it_from_a_thread_cancels_all(self):
        async with Caller("manual") as caller:
            with pytest.raises(PendingCancelled, match="enough"):  # noqa: PT012
                async with PendingGroup() as group:
                    pending = caller.call_soon(anyio.sleep_forever)
                    caller.to_thread(group.cancel, "enough")
                    await anyio.sleep_forever()
            assert group.cancelled()
            assert pending.done()

    async def test_a_cancellation_from_outside_goes_through_it(self):
        async with Caller("manual") as caller:
            with anyio.CancelScope() as scope:
                async with PendingGroup():
                    pending = caller.to_thread(anyio.sleep_forever)
                    scope.cancel()
            assert scope.cancelled_caught
            assert pending.cancelled()
            assert pending.done()

    async def test_a_shielded_one_is_not_cancelled_from_outside(self):
        async with Caller("manual") as caller:
            with anyio.CancelScope() as scope:
                async with caller.create_pending_group(shield=True):
                    scope.cancel()
                    pending = caller.call_soon(anyio.sleep, 0.001)
            assert not pending.cancelled()

    async def test_it_is_entered_once(self):
        async with PendingGroup() as group:
            pass
        with pytest.raises(RuntimeError, match="entered once"):
            async with group:
                pass

    async def test_results_set_by_hand_count_too(self):
        async with PendingGroup() as group:
            pending = Pending[int]()
            hidden = Pending[int](False)
            assert group.pending == {pending}
            pending.set_result(1)
        assert not hidden.done()


class TestManager:
    async def test_it_tracks_what_is_made_while_it_is_active(self):
        manager = PendingManager()
        release = Event()

        async def wait() -> None:
            await release

        async with Caller("manual") as caller:
            with manager.context():
                untracked = caller.call_soon(wait)
            manager.activate()
            assert manager.active
            token = manager.start_tracking()
            tracked = {caller.call_soon(wait), caller.to_thread(wait)}
            manager.stop_tracking(token)
            other = caller.call_soon(wait)
            assert manager.pending == tracked
            release.set()
            for pending in (*tracked, untracked, other):
                await pending
            assert manager.pending == set()

    async def test_deactivated_it_cancels_what_was_made_where_asked_to(self):
        """`reset` of a shell ends what its cells left running."""
        async with Caller("manual") as caller:
            for cancel in (True, False):
                manager = PendingManager()
                manager.activate()
                background: list[Pending[Any]] = []

                async def cell(into: list[Pending[Any]] = background) -> None:
                    into.append(caller.call_soon(anyio.sleep_forever))

                with manager.context():
                    await caller.call_soon(cell)
                assert manager.pending == set(background)
                manager.deactivate(cancel)
                assert not manager.pending
                await caller.call_soon(asyncio.iscoroutine, 1)
                assert background[0].cancelled() is cancel
