"""`to_thread`: warm threads for work that blocks, and none more than needed."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.caller import Caller
from async_kernel.pending import Event, Pending
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.workers import Pool

pytestmark = pytest.mark.anyio


async def test_a_worker_has_a_loop_of_the_same_backend_in_another_thread():
    async def where() -> Any:
        await anyio.lowlevel.checkpoint()
        return event_loops.running_backend(), Caller.get_current(), threading.current_thread()

    async with Caller("manual") as caller:
        backend, worker, thread = await caller.to_thread(where)
        assert backend is caller.backend
        assert thread is not caller.thread
        assert worker.parent is caller
        assert worker in caller.children


async def test_a_worker_is_used_again():
    async with Caller("manual") as caller:
        threads = {await caller.to_thread(threading.get_ident) for _ in range(20)}
        assert len(threads) == len(caller.children) == 1


async def test_blocking_calls_run_side_by_side():
    barrier = threading.Barrier(5, timeout=10)

    async with Caller("manual") as caller:
        for pending in [caller.to_thread(barrier.wait) for _ in range(5)]:
            await pending
        assert len(caller.children) == 5


async def test_no_more_than_the_maximum_stay_idle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Caller, "MAX_IDLE_POOL_INSTANCES", 2)
    barrier = threading.Barrier(5, timeout=10)
    async with Caller("manual") as caller:
        for pending in [caller.to_thread(barrier.wait) for _ in range(5)]:
            await pending
        for worker in caller.children:
            if not worker.running:
                await worker.stopped
        assert len(caller.children) == 2


async def test_an_idle_worker_is_stopped_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Caller, "IDLE_WORKER_SHUTDOWN_DURATION", 0.01)
    async with Caller("manual") as caller:
        await caller.to_thread(int)
        (worker,) = caller.children or (None,)
        if worker is not None:
            await worker.stopped
        assert not caller.children
        assert await caller.to_thread(int) == 0


async def test_a_cancelled_call_frees_its_worker():
    started = Event()

    async def sleep() -> None:
        started.set()
        await anyio.sleep_forever()

    async with Caller("manual") as caller:
        pending = caller.to_thread(sleep)
        await started
        pending.cancel()
        await pending.wait(result=False)
        early = caller.to_thread(sleep)
        early.cancel()
        assert await caller.to_thread(int) == 0
        assert len(caller.children) <= 2


async def test_a_plain_thread_uses_the_workers():
    async with Caller("manual") as caller:
        out: Pending[int] = Pending()
        thread = threading.Thread(target=lambda: out.set_result(caller.to_thread(max, 1, 2).wait_sync(timeout=10)))
        thread.start()
        assert await out == 2
        thread.join()


class FakeWorker:
    running = True

    """A worker without a thread; `tick` runs what it was told to run later."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.stopped = False
        self.later: list[tuple[float, Any]] = []

    def stop(self, *, force: bool = False) -> None:
        self.stopped = force

    def run_later(self, delay: float, func: Any, /) -> None:
        self.later.append((delay, func))

    def tick(self) -> None:
        self.later.pop()[1]()


def test_the_pool_by_the_clock(monkeypatch: pytest.MonkeyPatch):
    """An idle worker lives its full time, counted from its last work."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pool = Pool(FakeWorker, 10, 60)
    worker = pool.take()
    assert worker.later[0][0] == 60
    now = 160.0
    worker.tick()  # Busy.
    assert worker.later[0][0] == 60
    now = 200.0
    pool.give(worker)
    now = 220.0
    worker.tick()
    assert worker.later[0][0] == 40
    assert not worker.stopped
    now = 260.0
    worker.tick()
    assert worker.stopped
    assert len(pool) == 0
    assert pool.take() is not worker


async def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    """A kernel in which memory had been short for a moment would hang when it is shut down."""

    def full(*_: object, **__: object) -> Any:
        raise RuntimeError("can't start new thread")

    async with Caller("manual") as caller:
        with monkeypatch.context() as patch:
            patch.setattr(event_loops, "start_thread", full)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                caller.to_thread(print)
        assert not caller.children
        assert await caller.to_thread(lambda: 1) == 1
