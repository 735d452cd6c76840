"""`Pending`: one result, for whoever waits, wherever."""

from __future__ import annotations

# pyright: reportPossiblyUnboundVariable=false
# A context manager may swallow an exception, so what is bound in a `with` block counts as possibly unbound after it.
import gc
import logging
import threading
import weakref
from typing import Any

import anyio
import pytest

from async_kernel.pending import Event, InvalidStateError, Pending, PendingCancelled


@pytest.fixture
def pending() -> Pending[Any]:
    return Pending()


class TestSync:
    def test_a_result_is_there_once_it_is_set(self, pending: Pending[int]):
        assert not pending.done()
        pending.set_result(3)
        assert pending.done()
        assert not pending.cancelled()
        assert pending.result() == pending.wait_sync() == 3
        assert pending.exception() is None

    def test_an_exception_is_raised_by_whoever_asks(self, pending: Pending[int]):
        error = ValueError("no")
        pending.set_exception(error)
        assert pending.exception() is error
        for ask in (pending.result, pending.wait_sync):
            with pytest.raises(ValueError, match="no"):
                ask()
        assert pending.wait_sync(result=False) is None

    def test_asking_too_early_or_setting_twice_is_an_error_that_names_it(self, pending: Pending[int]):
        for ask in (pending.result, pending.exception):
            with pytest.raises(InvalidStateError, match="not done"):
                ask()
        pending.set_result(1)
        with pytest.raises(InvalidStateError, match="set_result: <Pending: done"):
            pending.set_result(2)
        with pytest.raises(InvalidStateError, match="set_exception"):
            pending.set_exception(ValueError())
        assert pending.result() == 1

    def test_an_exception_that_is_none_is_refused(self, pending: Pending[int]):
        with pytest.raises(TypeError, match="expected an exception, got 'text'"):
            pending.set_exception("text")  # pyright: ignore[reportArgumentType]

    def test_a_cancelled_one_has_no_result(self, pending: Pending[int]):
        assert pending.cancel("because") is True
        assert pending.cancelled()
        assert pending.done()
        for ask in (pending.result, pending.exception, pending.wait_sync):
            with pytest.raises(PendingCancelled, match="because"):
                ask()
        assert pending.wait_sync(result=False) is None
        assert issubclass(PendingCancelled, anyio.ClosedResourceError)

    def test_one_that_is_done_cannot_be_cancelled(self, pending: Pending[int]):
        pending.set_result(1)
        assert pending.cancel() is False
        assert not pending.cancelled()

    def test_a_canceller_decides_when_it_is_done(self, pending: Pending[int]):
        messages: list[str | None] = []
        pending.set_canceller(messages.append)
        pending.cancel("stop")
        pending.cancel("again")
        assert messages == ["stop"]
        assert pending.cancelled()
        assert not pending.done()
        pending.set_result(1)
        with pytest.raises(PendingCancelled, match="stop"):
            pending.result()

    def test_callbacks_are_called_once_and_in_order_and_their_faults_are_logged(
        self, pending: Pending[int], caplog: pytest.LogCaptureFixture
    ):
        calls: list[str] = []

        def fault(_: object) -> None:
            raise ZeroDivisionError

        never = lambda _: calls.append("never")  # noqa: E731
        pending.add_done_callback(lambda _: calls.append("a"))
        pending.add_done_callback(fault)
        pending.add_done_callback(never)
        pending.add_done_callback(never)
        pending.add_done_callback(lambda p: calls.append(f"b{p.result()}"))
        assert pending.remove_done_callback(never) == 2
        assert pending.remove_done_callback(never) == 0
        with caplog.at_level(logging.ERROR):
            pending.set_result(1)
        pending.add_done_callback(lambda _: calls.append("late"))
        assert calls == ["a", "b1", "late"]
        assert "ZeroDivisionError" in caplog.text

    def test_a_reset_wakes_who_waits_and_is_not_done_again(self, pending: Pending[int]):
        seen: list[int] = []
        pending.add_done_callback(lambda p: seen.append(p.result()))
        pending.set_result(1, reset=True)
        assert not pending.done()
        pending.set_result(2)
        assert (seen, pending.result()) == ([1], 2)

    def test_a_wait_that_times_out_leaves_it_alone(self, pending: Pending[int]):
        with pytest.raises(TimeoutError, match=r"not done after 0\.001 s"):
            pending.wait_sync(timeout=0.001)
        assert not pending.cancelled()

    def test_metadata_and_name_tell_what_it_is(self):
        pending = Pending[int](name="answer", unit="m")
        assert pending.metadata == {"name": "answer", "unit": "m"}
        assert "answer: pending" in repr(pending)

    def test_it_is_collected_without_the_collector(self):
        """10,000 results a minute must not wait for a garbage collection."""
        pending = Pending[int]()
        gc.disable()
        try:
            pending.set_exception(ValueError())
            with pytest.raises(ValueError):
                pending.wait_sync()
            ref = weakref.ref(pending)
            del pending
            assert ref() is None
        finally:
            gc.enable()

    def test_a_finalizer_that_interrupts_it_does_not_deadlock(self, pending: Pending[int]):
        """A signal handler may cancel a Pending in the middle of a call on it: nothing in it holds a lock."""
        inner: list[bool] = []

        class Sly:
            def __eq__(self, _: object) -> bool:
                inner.append(pending.cancel())
                return False

            def __hash__(self) -> int:
                return 0

            def __call__(self, _: object) -> None: ...

        pending.add_done_callback(Sly())
        pending.remove_done_callback(lambda _: None)
        assert inner == [True]
        assert pending.done()


@pytest.mark.anyio
class TestAsync:
    async def test_it_is_awaited_by_many_and_set_by_a_thread(self, pending: Pending[int]):
        results: list[int] = []

        async def wait() -> None:
            results.append(await pending)

        async with anyio.create_task_group() as tg:
            for _ in range(5):
                tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            thread = threading.Thread(target=pending.set_result, args=(7,))
            thread.start()
        thread.join()
        assert results == [7] * 5
        assert await pending == 7

    async def test_it_is_set_by_a_task_of_the_same_loop(self, pending: Pending[int]):
        async with anyio.create_task_group() as tg:
            tg.start_soon(pending.wait)
            await anyio.wait_all_tasks_blocked()
            pending.set_result(1)

    async def test_the_exception_is_raised_where_it_is_awaited(self, pending: Pending[int]):
        pending.set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await pending
        assert await pending.wait(result=False) is None

    async def test_a_wait_that_times_out_cancels_it_unless_it_is_protected(self, pending: Pending[int]):
        with pytest.raises(TimeoutError):
            await pending.wait(timeout=0, protect=True)
        assert not pending.done()
        with pytest.raises(TimeoutError):
            await pending.wait(timeout=0.001)
        with pytest.raises(PendingCancelled, match="timed out"):
            await pending

    @pytest.mark.parametrize("protect", [True, False])
    async def test_a_cancelled_await_cancels_it_unless_it_is_protected(self, pending: Pending[int], protect: bool):
        async with anyio.create_task_group() as tg:

            async def wait() -> None:
                await pending.wait(protect=protect)

            tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
        assert pending.cancelled() is not protect

    async def test_a_reset_delivers_its_value_to_those_that_waited(self, pending: Pending[int]):
        got: list[int] = []

        async def wait() -> None:
            got.append(await pending)

        async with anyio.create_task_group() as tg:
            tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            pending.set_result(1, reset=True)
            tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            pending.set_result(2)
        assert sorted(got) == [1, 2]

    async def test_an_event_wakes_threads_and_tasks(self):
        event = Event()
        assert not event
        assert not event.wait(0)
        assert not await event.wait_async(0)
        woken: list[bool] = []
        thread = threading.Thread(target=lambda: woken.append(event.wait(10)))
        thread.start()

        async def wait() -> None:
            await event

        async with anyio.create_task_group() as tg:
            tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            event.set()
            event.set()
        thread.join(10)
        assert woken == [True]
        assert event.is_set()
        assert await event.wait_async()

    async def test_an_event_survives_a_cancelled_wait(self):
        event = Event()
        with anyio.move_on_after(0.001):
            await event
        assert not event.is_set()
        event.set()
        await event


def test_awaiting_without_a_loop_says_so(pending: Pending[int]):
    with pytest.raises(RuntimeError, match="no event loop is running"):
        pending.__await__().send(None)


def test_a_waiter_whose_loop_is_gone_is_no_trouble(anyio_backend: Any, pending: Pending[int]):
    """The thread that sets a result must not suffer from a loop that was closed meanwhile."""
    backend, options = (anyio_backend, {}) if isinstance(anyio_backend, str) else anyio_backend
    waiters: list[Any] = []

    async def main() -> None:
        from async_kernel.scheduling import event_loops

        waiters.append(event_loops.this_driver().Waiter())

    anyio.run(main, backend=backend, backend_options=options)
    waiters[0].wake()
