"""`queue_call`: cells of one shell run one after another, and keep their context variables."""

from __future__ import annotations

# pyright: reportPossiblyUnboundVariable=false
# A context manager may swallow an exception, so what is bound in a `with` block counts as possibly unbound after it.
import asyncio
import contextvars
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.caller import Caller
from async_kernel.errors import KernelInterruptError
from async_kernel.pending import Event, PendingCancelled, PendingGroup
from async_kernel.typing import Backend

pytestmark = pytest.mark.anyio

var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)


async def test_context_variables_persist_from_item_to_item():
    """`var.set(1)` in one cell, before or after an `await`, is there in the next."""

    async def item(new: int, awaiting: bool) -> int:
        if awaiting:
            await anyio.lowlevel.checkpoint()
        old = var.get()
        var.set(new)
        if awaiting:
            await anyio.lowlevel.checkpoint()
        return old

    async with Caller("manual") as caller:
        pendings = [caller.queue_call(item, i, bool(i % 2), key="cells") for i in range(1, 6)]
        assert [await p for p in pendings] == [0, 1, 2, 3, 4]
        assert await caller.queue_call(var.get, key="cells") == 5
        assert await caller.queue_call(var.get, key="other") == 0
        assert var.get() == 0


async def test_items_run_one_at_a_time_in_order_in_one_task():
    tasks: set[int] = set()
    running = 0
    seen: list[int] = []

    async def item(i: int) -> None:
        nonlocal running
        tasks.add(anyio.get_current_task().id)
        running += 1
        assert running == 1
        await anyio.lowlevel.checkpoint()
        seen.append(i)
        running -= 1

    async with Caller("manual") as caller:
        for p in [caller.queue_call(item, i) for i in range(50)]:
            await p
    assert seen == list(range(50))
    assert len(tasks) == 1


async def test_keys_do_not_wait_for_each_other():
    go = Event()

    async def wait() -> None:
        await go

    async with Caller("manual") as caller:
        first = caller.queue_call(wait, key=("shell", None))
        await caller.queue_call(go.set, key=("shell", "sub"))
        await first


async def test_order_holds_for_each_of_many_threads():
    seen: list[tuple[int, int]] = []

    async def item(thread: int, i: int) -> None:
        seen.append((thread, i))

    async with Caller("manual") as caller:

        def submit(thread: int) -> None:
            for i in range(200):
                last = caller.queue_call(item, thread, i, key=1)
            last.wait_sync(timeout=10)

        async with anyio.create_task_group() as tg:
            for thread in range(4):
                tg.start_soon(anyio.to_thread.run_sync, submit, thread)
    for thread in range(4):
        assert [i for t, i in seen if t == thread] == list(range(200))


async def test_cancelling_an_item_kills_neither_the_runner_nor_the_others():
    started = Event()

    async def sleep() -> None:
        var.set(7)
        started.set()
        await anyio.sleep_forever()

    async with Caller("manual") as caller:
        running = caller.queue_call(sleep, key=1)
        waiting = caller.queue_call(sleep, key=1)
        last = caller.queue_call(var.get, key=1)
        await started
        waiting.cancel()
        running.cancel("interrupt")
        assert await last == 7
        for pending in (running, waiting):
            with pytest.raises(PendingCancelled):
                await pending
        runner = caller.queue_get(1)
        assert runner is not None
        assert not runner.done()


async def test_an_item_cancelled_at_its_very_end_does_not_hit_the_next():
    async with Caller("manual") as caller:
        for _ in range(20):

            async def item() -> None:
                pendings[0].cancel()  # noqa: B023

            pendings = [caller.queue_call(item, key=1), caller.queue_call(anyio.sleep, 0, key=1)]
            await pendings[1]
            with pytest.raises(PendingCancelled):
                await pendings[0]


@pytest.mark.parametrize("error", [ValueError, KernelInterruptError, SystemExit])
async def test_a_failing_item_does_not_stop_the_queue(error: type[BaseException]):
    async def fail() -> None:
        raise error

    def fail_sync() -> None:
        raise error

    async with Caller("manual") as caller:
        failing = [caller.queue_call(fail, key=1), caller.queue_call(fail_sync, key=1)]
        assert await caller.queue_call(int, key=1) == 0
        for pending in failing:
            with pytest.raises(error):
                await pending


async def test_items_that_cancel_their_own_task_end_alone():
    """A cell with `asyncio.current_task().cancel()`, or one that awaits a cancelled future, ends that cell only."""

    async def cancel_me() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def await_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def cancel_scope() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return "went on"

    async with Caller("manual") as caller:
        if caller.backend is Backend.asyncio:
            for item in (cancel_me, await_cancelled, cancel_me):
                with pytest.raises(PendingCancelled):
                    await caller.queue_call(item, key=1)
        assert await caller.queue_call(cancel_scope, key=1) == "went on"


async def test_a_parked_runner_survives_who_cancels_every_task():
    async with Caller("manual") as caller:
        if caller.backend is Backend.trio:
            return
        await caller.queue_call(var.set, 9, key=1)
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine and "_Task._run" in repr(task):
                task.cancel()
        assert await caller.queue_call(var.get, key=1) == 9


async def test_a_closed_queue_cancels_what_is_in_it_and_a_new_one_takes_its_place():
    started = Event()

    async def sleep() -> None:
        started.set()
        await anyio.sleep_forever()

    async with Caller("manual") as caller:
        pendings = [caller.queue_call(sleep) for _ in range(3)]
        runner = caller.queue_get(sleep)
        assert runner is not None
        await started
        caller.queue_close(sleep)
        caller.queue_close(sleep)
        assert caller.queue_get(sleep) is None
        for pending in pendings:
            with pytest.raises(PendingCancelled):
                await pending
        await runner.wait(result=False)
        again = caller.queue_call(int, key=sleep)
        assert await again == 0
        unstarted = caller.queue_call(sleep, key="unstarted")
        caller.queue_close("unstarted")
        with pytest.raises(PendingCancelled, match="its queue was closed"):
            await unstarted


async def test_queues_come_and_go_without_a_trace():
    """100 subshells, each with a queue: none is left in the Caller."""
    async with Caller("manual") as caller:
        for i in range(100):
            await caller.queue_call(int, key=i)
            runner = caller.queue_get(i)
            assert runner is not None
            caller.queue_close(i)
            await runner.wait(result=False)
        assert not caller.live
        assert not caller._queues


async def test_a_group_waits_for_the_items_made_in_it_only():
    inner: list[Any] = []

    async def item() -> None:
        inner.append(caller.call_soon(anyio.sleep, 0))

    async with Caller("manual") as caller:
        async with PendingGroup() as group:
            made = caller.queue_call(item, key=1)
            assert made in group.pending
        assert made.done()
        assert inner[0].done()
        outside = caller.queue_call(anyio.sleep_forever, key=1)
        assert outside not in group.pending


async def test_a_queue_that_closes_at_the_very_moment_is_replaced(monkeypatch: pytest.MonkeyPatch):
    async with Caller("manual") as caller:
        find, closed = Caller._queue, []

        def find_and_close(self: Caller, key: Any) -> Any:
            queue = find(self, key)
            if not closed:
                closed.append(queue)
                queue.close()  # Still among the queues, as seen by a thread that comes in between.
            return queue

        monkeypatch.setattr(Caller, "_queue", find_and_close)
        assert await caller.queue_call(int, key=1) == 0
        assert caller.queue_get(1) is not closed[0].runner


async def test_submitting_while_the_queue_closes_loses_nothing():
    """Whoever submits to a queue that is being closed gets a result or a cancellation, never silence."""
    async with Caller("manual") as caller:

        def submit() -> None:
            for i in range(300):
                pending = caller.queue_call(int, key="k")
                pending.wait_sync(timeout=10, result=False)
                assert pending.done(), i

        thread = threading.Thread(target=submit)
        thread.start()
        while thread.is_alive():
            caller.queue_close("k")
            await anyio.lowlevel.checkpoint()
        thread.join()


async def test_a_call_that_swallows_the_cancellation_does_not_keep_its_queue():
    """A kernel that stops while a cell catches everything must not wait for ever for the queue of that cell."""
    begun = Event()

    async def swallow() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return

    with anyio.fail_after(10):
        async with Caller("manual") as caller:
            caller.queue_call(swallow, key="cells")
            await begun
            runner = caller.queue_get("cells")
            assert runner is not None
            caller.queue_close("cells")
            await runner.wait(result=False)
            assert runner.done()
