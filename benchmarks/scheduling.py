"""What scheduling costs: `Caller` beside asyncio, anyio, trio and concurrent.futures, in interleaved rounds.

python -m benchmarks.scheduling [--rounds 5] [--loop asyncio uvloop trio]

Every result is checked. The ratio is to the fastest of the others that give the same guarantees: from any thread, the
result or the exception, the context variables of whoever calls, and a cancellation that reaches what runs.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import gc
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple

import anyio.from_thread
import anyio.to_thread
import trio

from async_kernel.caller import Caller
from async_kernel.scheduling import event_loops

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
CALLS, FLOOD, ANSWER, TARGET = 300, 10_000, 42, 1.5


class Way(NamedTuple):
    """One way to have a function called, and to get its result."""

    name: str
    call: Callable[[], Any]
    same: bool = True
    "Whether it gives the guarantees that `Caller` gives."
    ours: bool = False


class Group(NamedTuple):
    """Ways that do the same; `inside`: called in the event loop and awaited, else in another thread."""

    title: str
    ways: list[Way]
    calls: int
    "How many samples a round takes of each."
    inside: bool = False
    size: int = 1
    "How many functions one call of a way has called."


def answer() -> int:
    return ANSWER


async def answer_async() -> int:
    return ANSWER


class Contest:
    """All ways on one loop, in the loop's thread.

    Args:
        caller: The Caller of the loop.
        portal: anyio's way into the loop.
        pool: A pool of one thread.
    """

    def __init__(
        self, caller: Caller, portal: anyio.from_thread.BlockingPortal, pool: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        self.caller, self.portal, self.pool = caller, portal, pool
        self.asyncio_loop = asyncio.get_running_loop() if caller.backend == "asyncio" else None
        self.trio_token = None if self.asyncio_loop else trio.lowlevel.current_trio_token()

    def groups(self) -> list[Group]:
        return [
            Group("a coroutine function, from another thread", self.coroutine_ways(), CALLS),
            Group("a function, from another thread", self.function_ways(), CALLS),
            Group("a function, to a warm thread", self.thread_ways(), CALLS, inside=True),
            Group(f"{FLOOD:,} coroutine functions, from another thread", self.flood_ways(), 1, size=FLOOD),
        ]

    def coroutine_ways(self) -> list[Way]:
        ways = [
            Way("Caller.call_soon", lambda: self.caller.call_soon(answer_async).wait_sync(), ours=True),
            Way("anyio: portal.call", lambda: self.portal.call(answer_async)),
        ]
        if loop := self.asyncio_loop:
            call = asyncio.run_coroutine_threadsafe
            return [*ways, Way("run_coroutine_threadsafe", lambda: call(answer_async(), loop).result())]
        run = partial(trio.from_thread.run, answer_async, trio_token=self.trio_token)
        return [*ways, Way("trio.from_thread.run", run)]

    def function_ways(self) -> list[Way]:
        ways = [
            Way("Caller.call_soon", lambda: self.caller.call_soon(answer).wait_sync(), ours=True),
            Way("anyio: portal.call", lambda: self.portal.call(answer)),
        ]
        if self.trio_token is None:
            return ways
        run = partial(trio.from_thread.run_sync, answer, trio_token=self.trio_token)
        return [*ways, Way("trio.from_thread.run_sync", run)]

    def thread_ways(self) -> list[Way]:
        # None of the others has an event loop in its threads; those that copy the context are compared all the same.
        ways = [
            Way("Caller.to_thread", lambda: self.caller.to_thread(answer), ours=True),
            Way("anyio.to_thread.run_sync", lambda: anyio.to_thread.run_sync(answer)),
        ]
        if loop := self.asyncio_loop:
            ways += [
                Way("asyncio.to_thread", lambda: asyncio.to_thread(answer)),
                Way("loop.run_in_executor (no context)", lambda: loop.run_in_executor(self.pool, answer), same=False),
            ]
        else:
            ways.append(Way("trio.to_thread.run_sync", lambda: trio.to_thread.run_sync(answer)))
        return [*ways, Way("concurrent.futures (blocking)", self.submit, same=False)]

    async def submit(self) -> int:
        return self.pool.submit(answer).result()

    def flood_ways(self) -> list[Way]:
        caller, portal = self.caller, self.portal

        def flood(call: Callable[[], Any], wait: Callable[[Any], int]) -> int:
            calls = [call() for _ in range(FLOOD)]
            return ANSWER if all(wait(each) == ANSWER for each in calls) else 0

        def wait(future: Any) -> int:
            return future.result()

        def wait_pending(pending: Any) -> int:
            return pending.wait_sync()

        queue_call = partial(caller.queue_call, answer_async, key="flood")
        ways = [
            Way("Caller.call_soon", partial(flood, partial(caller.call_soon, answer_async), wait_pending), ours=True),
            Way("Caller.queue_call (in order)", partial(flood, queue_call, wait_pending), ours=True),
            Way("anyio: portal.start_task_soon", partial(flood, partial(portal.start_task_soon, answer_async), wait)),
            Way("concurrent.futures", partial(flood, partial(self.pool.submit, answer), wait), same=False),
        ]
        if loop := self.asyncio_loop:

            def call() -> Any:
                return asyncio.run_coroutine_threadsafe(answer_async(), loop)

            ways.append(Way("run_coroutine_threadsafe", partial(flood, call, wait)))
        return ways


Samples = dict[str, dict[str, list[float]]]
"""Seconds for one function call, by title of the group and name of the way."""


def in_turn(group: Group, number: int) -> list[Way]:
    """The ways of a group, another one first each time."""
    start = number % len(group.ways)
    return [*group.ways[start:], *group.ways[:start]]


def note(samples: Samples, group: Group, way: Way, seconds: float, value: Any) -> None:
    if value != ANSWER:
        raise ValueError(f"{group.title}: {way.name}: expected {ANSWER}, got {value!r}")
    samples.setdefault(group.title, {}).setdefault(way.name, []).append(seconds / group.size)


def measure(group: Group, samples: Samples) -> None:
    """A round of a group whose ways block this thread."""
    for number in range(group.calls):
        for way in in_turn(group, number):
            started = time.perf_counter()
            value = way.call()
            note(samples, group, way, time.perf_counter() - started, value)


async def measure_inside(group: Group, samples: Samples) -> None:
    """A round of a group whose ways are awaited in the loop."""
    for number in range(group.calls):
        for way in in_turn(group, number):
            started = time.perf_counter()
            value = await way.call()
            note(samples, group, way, time.perf_counter() - started, value)


async def contest(rounds: int) -> tuple[list[Group], Samples]:
    """All groups on the running loop, in `rounds` rounds; one before them is not counted."""
    samples: Samples = {}
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(Caller("manual"))
        portal = await stack.enter_async_context(anyio.from_thread.BlockingPortal())
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        groups = Contest(caller, portal, pool).groups()
        for number in range(rounds + 1):
            kept: Samples = samples if number else {}
            for group in groups:
                gc.collect()
                await (measure_inside(group, kept) if group.inside else in_a_thread(partial(measure, group, kept)))
        caller.queue_close("flood")
    return groups, samples


async def in_a_thread(func: Callable[[], None]) -> None:
    """Run `func` in a plain thread, the loop being idle meanwhile."""
    ended = concurrent.futures.Future[None]()

    def run() -> None:
        try:
            ended.set_result(func())
        except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
            ended.set_exception(error)

    threading.Thread(target=run).start()
    await anyio.to_thread.run_sync(ended.result)


def lines(loop: str, groups: Sequence[Group], samples: Samples) -> list[tuple[str, ...]]:
    """The rows of the table: medians, and ratios to the fastest of the others with the same guarantees."""
    found: list[tuple[str, ...]] = []
    for group in groups:
        medians = {name: statistics.median(values) for name, values in samples[group.title].items()}
        best = min(medians[way.name] for way in group.ways if way.same and not way.ours)
        for way in group.ways:
            ratio = medians[way.name] / best
            tail = statistics.quantiles([*samples[group.title][way.name], medians[way.name]], n=10)[8]
            mark = (" ✓" if ratio <= TARGET else " ✗") if way.ours else "" if way.same else " (less)"
            times = (f"{medians[way.name] * 1e6:.1f}", f"{tail * 1e6:.1f}")
            found.append((loop, group.title, way.name, *times, f"{ratio:.2f}{mark}"))
    return found


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as Markdown."""
    rows = [("loop", "what", "how", "µs", "p90", "ratio"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(texts)


def run_on(loop: str, rounds: int) -> list[tuple[str, ...]]:
    backend, options = LOOPS[loop]
    run: Callable[..., tuple[list[Group], Samples]] = event_loops.run
    return lines(loop, *run(contest, rounds, backend=backend, backend_options=options))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.scheduling", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds that count (5)")
    parser.add_argument("--loop", nargs="+", choices=LOOPS, default=[*LOOPS], help="which loops (all)")
    options = parser.parse_args(arguments)
    print(table([row for loop in options.loop for row in run_on(loop, options.rounds)]))


if __name__ == "__main__":
    main()
