"""`as_completed` and `wait`: many results, in the order in which they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from async_kernel.caller import Caller
from async_kernel.pending import Event, Pending

pytestmark = pytest.mark.anyio


async def test_as_completed_yields_in_the_order_of_completion():
    async with Caller("manual") as caller:
        pendings = [Pending[int]() for _ in range(5)]
        order = [3, 1, 4, 0, 2]

        async def finish() -> None:
            for i in order:
                pendings[i].set_result(i)
                await anyio.lowlevel.checkpoint()

        caller.call_soon(finish)
        assert [await p async for p in caller.as_completed(pendings)] == order


async def test_as_completed_takes_what_is_done_twice_or_awaitable():
    async def value(i: int) -> int:
        return i

    async with Caller("manual") as caller:
        done = Pending[int]()
        done.set_result(1)
        items = [done, done, value(2), caller.to_thread(value, 3)]
        assert sorted([await p async for p in caller.as_completed(items)]) == [1, 2, 3]
        assert [p async for p in caller.as_completed([])] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_generator_is_taken_from_as_needed(kind: str):
    """A million items must not become a million calls at once."""
    made: list[Pending[int]] = []

    def generate() -> Iterator[Pending[int]]:
        for _ in range(10):
            made.append(Pending[int]())
            yield made[-1]

    async def agenerate() -> AsyncIterator[Pending[int]]:
        for item in generate():
            await anyio.lowlevel.checkpoint()
            yield item

    async with Caller("manual") as caller:
        seen = 0
        items = generate() if kind == "sync" else agenerate()
        results = caller.as_completed(items, max_concurrent=3)

        async def feed() -> None:
            for i in range(10):
                while len(made) <= i:
                    await anyio.lowlevel.checkpoint()
                assert len(made) <= seen + 3 + 1
                made[i].set_result(i)

        feeding = caller.call_soon(feed)
        async for pending in results:
            assert pending.result() == seen
            seen += 1
        assert seen == 10
        await feeding


async def test_leaving_as_completed_early_cancels_the_rest_where_asked_to():
    async with Caller("manual") as caller:
        for cancel in (True, False):
            first, rest = Pending[int](), Pending[int]()
            first.set_result(1)
            results: Any = caller.as_completed([first, rest], cancel_unfinished=cancel)
            async for _ in results:
                break
            await results.aclose()
            assert rest.cancelled() is cancel


async def test_a_failing_generator_fails_the_iteration():
    def generate() -> Iterator[Pending[int]]:
        pending = Pending[int]()
        pending.set_result(1)
        yield pending
        raise ZeroDivisionError

    async with Caller("manual") as caller:
        seen: list[int] = []
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async for p in caller.as_completed(generate()):
                seen.append(p.result())  # noqa: PERF401
        assert seen == [1]


async def test_wait_returns_done_and_not_done():
    async def fail() -> None:
        raise ValueError

    async with Caller("manual") as caller:
        forever = caller.call_soon(anyio.sleep_forever)
        quick = caller.call_soon(int)
        assert await caller.wait([quick, forever], return_when="FIRST_COMPLETED") == ({quick}, {forever})
        failing = caller.call_soon(fail)
        assert await caller.wait([failing, forever], return_when="FIRST_EXCEPTION") == ({failing}, {forever})
        assert await caller.wait([quick, failing]) == ({quick, failing}, set())
        assert await caller.wait([forever], timeout=0.001) == (set(), {forever})
        assert not forever.cancelled()
        assert await caller.wait([]) == (set(), set())


async def test_wait_takes_results_of_other_threads():
    go = Event()

    async def wait_for_go() -> None:
        await go

    async with Caller("manual") as caller:
        pendings = [caller.to_thread(wait_for_go) for _ in range(5)]
        caller.call_soon(go.set)
        done, rest = await caller.wait(pendings, timeout=10)
        assert (len(done), len(rest)) == (5, 0)


async def test_bad_arguments_are_named():
    async with Caller("manual") as caller:
        with pytest.raises(ValueError, match="got 'SOME'"):
            await caller.wait([], return_when="SOME")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="expected 1 or more, got 0"):
            async for _ in caller.as_completed([], max_concurrent=0):
                pass
