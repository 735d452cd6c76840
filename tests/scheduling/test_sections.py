"""Raising in the code of a user in another thread: it lands there, and never in what runs around it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from async_kernel.errors import KernelInterruptError
from async_kernel.scheduling import sections
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import current_job
from async_kernel.scheduling.pending import Pending
from async_kernel.scheduling.sections import Section, Stepped, guarded, open_section, open_sections

TIMEOUT = 20.0


class Worker:
    """A thread that runs `func`; what it returned or raised."""

    def __init__(self, func: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._func = func
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.value = self._func()
        except BaseException as exc:  # noqa: BLE001 what the test looks at
            self.error = exc

    def join(self) -> Worker:
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self

    def interrupt(self) -> list[str]:
        """Interrupt it as soon as that can be done; what was told when it landed."""
        landed: list[str] = []
        deadline = time.monotonic() + TIMEOUT
        while True:
            section = open_section(self.thread.ident or 0)
            if section is not None and section.interrupt(lambda: landed.append("landed")):
                return landed
            assert time.monotonic() < deadline
            time.sleep(0)


def loop_for_ever() -> None:
    while True:
        pass


def test_a_loop_in_a_thread_is_interrupted() -> None:
    """Without it a thread cell that loops could only be ended with the kernel."""
    worker = Worker(lambda: guarded(loop_for_ever))
    landed = worker.interrupt()
    error = worker.join().error
    assert isinstance(error, KernelInterruptError)
    assert type(error).__name__ == "KernelInterruptError"
    assert str(error) == "interrupted"
    assert landed == ["landed"]
    assert open_sections() == []


def test_user_code_may_catch_it_and_be_interrupted_again() -> None:
    def stubborn() -> str:
        try:
            loop_for_ever()
        except KeyboardInterrupt:
            caught.set()
        loop_for_ever()
        return "never"

    caught = threading.Event()
    worker = Worker(lambda: guarded(stubborn))
    worker.interrupt()
    assert caught.wait(TIMEOUT)
    worker.interrupt()
    assert isinstance(worker.join().error, KernelInterruptError)


def test_nothing_lands_outside_of_user_code() -> None:
    """What lands in the machinery ends a worker's event loop, and with it every call that runs there."""
    generator = random.Random(0)
    rounds = [generator.randrange(200) for _ in range(3000)]
    outcomes: dict[str, int] = {"ended": 0, "interrupted": 0}

    def user(count: int) -> None:
        for _ in range(count):
            pass

    def machinery() -> None:
        for count in rounds:
            try:
                guarded(user, count)
            except KernelInterruptError:
                outcomes["interrupted"] += 1
            else:
                outcomes["ended"] += 1

    worker = Worker(machinery)
    while worker.thread.is_alive():
        for section in open_sections():
            section.interrupt(lambda: None)
        time.sleep(generator.random() / 5000)
    assert worker.join().error is None
    assert sum(outcomes.values()) == len(rounds)


def test_what_comes_late_is_taken_back() -> None:
    """Closed is closed: the interrupt of a cell that has just ended must not hit the next one."""
    section = Section(threading.get_ident())
    assert not section.interrupt(lambda: None)
    section.close()
    assert not section.interrupt(lambda: None)


def test_user_code_inside_of_user_code_is_one_section() -> None:
    def outer() -> bool:
        section = open_section(threading.get_ident())
        return section is not None and guarded(lambda: open_section(threading.get_ident()) is section)

    assert Worker(lambda: guarded(outer)).join().value is True


def test_the_main_thread_has_signals() -> None:
    assert guarded(lambda: open_section(threading.get_ident())) is None


def test_a_loop_of_the_users_own_that_waits_is_woken() -> None:
    """`asyncio.run` in a thread cell waits in its selector, where nothing lands before it returns."""

    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    started = threading.Event()
    worker = Worker(lambda: guarded(asyncio.run, wait()))
    assert started.wait(TIMEOUT)
    worker.interrupt()
    assert isinstance(worker.join().error, KernelInterruptError)


async def drive(coro: Coroutine[Any, Any, Any]) -> Any:
    return await coro


@pytest.mark.anyio
async def test_a_coroutine_in_steps_is_the_same_coroutine(anyio_backend: str) -> None:
    """Values, errors and cancellation go through."""
    pending: Pending[int] = Pending()

    async def ends() -> int:
        return await pending

    async def fails() -> None:
        await pending
        raise ValueError("its own")

    pending.set_result(5)
    assert await Stepped(ends()) == 5
    with pytest.raises(ValueError, match="its own"):
        await Stepped(fails())

    async with Caller("manual", name="here") as caller:
        waits: Pending[int] = Pending()
        call = caller.call_soon(lambda: Stepped(drive(waits.wait())))
        await caller.call_soon(lambda: None)
        call.cancel()
        await call.wait(result=False)
        assert waits.cancelled()


@pytest.mark.anyio
@pytest.mark.parametrize("awaits", [False, True])
async def test_a_call_of_a_cell_is_interrupted_in_its_worker(anyio_backend: str, awaits: bool) -> None:
    """The function that a cell awaits in a thread ends with the cell, in place of computing on for ever."""

    async def looped() -> None:
        await Pending.wait(ready)
        loop_for_ever()

    ready: Pending[None] = Pending()
    ready.set_result(None)
    async with Caller("manual", name="shell") as shell:
        token = current_job.set({"msg": {}, "socket_id": "shell", "ident": [], "received_time": 0.0})  # pyright: ignore[reportArgumentType]
        try:
            call = shell.to_thread(looped if awaits else loop_for_ever)
        finally:
            current_job.reset(token)
        call.cancel()
        deadline = time.monotonic() + TIMEOUT
        while not call.done():
            for section in open_sections():
                if section.cancelled:
                    section.interrupt(lambda: None)
            assert time.monotonic() < deadline
            await shell.call_later(0.01, lambda: None)
        assert await shell.to_thread(lambda: "the worker lives") == "the worker lives"


@pytest.mark.parametrize("moved", [True, False])
def test_nothing_is_on_its_way_to_a_thread_that_has_moved_on(monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    """It would land in the kernel's own code, between the taking of a lock and its release: nothing ends any more."""
    looks = [Looked(True), Looked(not moved)]
    raised: list[Any] = []
    monkeypatch.setattr(sections, "_frames", lambda: {1: looks[len(raised)]})
    monkeypatch.setattr(sections, "in_user_code", lambda frame, _: bool(frame))
    monkeypatch.setattr(sections, "_wake_nested_loop", lambda _: False)
    monkeypatch.setattr(sections, "_set_async_exc", lambda _, kind: raised.append(kind and kind.__name__))
    section = Section(1)
    section.open()
    assert section.interrupt(bool) is not moved
    assert raised == (["KernelInterruptError", None] if moved else ["KernelInterruptError"])


class Looked:
    """A frame that is one of a user's, or not."""

    f_code = None

    def __init__(self, of_user: bool) -> None:
        self.of_user = of_user

    def __bool__(self) -> bool:
        return self.of_user
