"""asyncio, trio and plain threads call into each other."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.caller import Caller
from async_kernel.pending import Pending
from async_kernel.scheduling import event_loops
from async_kernel.typing import Backend

CALLS = 10_000


async def double(i: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * i


@pytest.mark.slow
@pytest.mark.parametrize("backend", Backend)
def test_a_loop_a_worker_of_the_other_backend_and_a_thread_exchange_10_000_calls(backend: Backend):
    other = Backend.trio if backend is Backend.asyncio else Backend.asyncio
    each = CALLS // 5
    expected = 2 * sum(range(each))

    async def await_all(target: Caller) -> int:
        return sum([await p for p in [target.call_soon(double, i) for i in range(each)]])

    def block_for_all(*targets: Caller) -> list[int]:
        pendings = [[target.call_soon(double, i) for i in range(each)] for target in targets]
        return [sum(p.wait_sync(timeout=30) for p in some) for some in pendings]

    async def main() -> None:
        async with Caller("manual", name="main") as caller:
            worker = caller.get(name="worker", backend=other)
            from_thread: Pending[list[int]] = Pending()
            thread = threading.Thread(target=lambda: from_thread.set_result(block_for_all(caller, worker)))
            thread.start()
            here_to_there = caller.call_soon(await_all, worker)
            there_to_here = worker.call_soon(await_all, caller)
            assert await here_to_there == await there_to_here == expected
            assert await from_thread == [expected, expected]
            assert sum([await p for p in [worker.queue_call(double, i, key=1) for i in range(each)]]) == expected
            thread.join(10)
            worker.queue_close(1)
            assert not caller.live
            assert worker.running

    event_loops.run(main, backend=backend, backend_options=event_loops.default_options(backend))


@pytest.mark.parametrize("backend", Backend)
def test_a_plain_script_uses_a_caller_without_a_loop_of_its_own(backend: Backend):
    caller = Caller("NewThread", backend=backend, name="script")
    assert caller.call_soon(double, 4).wait_sync(timeout=10) == 8
    assert caller.to_thread(double, 4).wait_sync(timeout=10) == 8
    assert caller.call_soon(event_loops.running_backend).wait_sync(timeout=10) is backend
    caller.stop()
    assert caller.stopped.wait(10)
    thread = caller.thread
    assert thread is not None
    thread.join(10)


@pytest.mark.parametrize("backend", Backend)
def test_stopping_while_threads_call_leaves_nobody_waiting(backend: Backend):
    """Whoever calls a Caller that stops gets a result, a cancellation or an error: never silence."""
    callers: list[Any] = []

    def call(caller: Caller) -> None:
        try:
            while True:
                pending = caller.call_soon(double, 1)
                pending.wait_sync(timeout=10, result=False)
        except RuntimeError as exc:
            callers.append(str(exc))

    caller = Caller("NewThread", backend=backend)
    threads = [threading.Thread(target=call, args=(caller,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    caller.call_soon(double, 1).wait_sync(timeout=10)
    caller.stop()
    for thread in threads:
        thread.join(20)
    assert len(callers) == 4
    assert caller.stopped.wait(10)
    assert not caller.live
    caller_thread = caller.thread
    assert caller_thread is not None
    caller_thread.join(10)
