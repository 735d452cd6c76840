"""What a cell starts belongs to it, and a program that runs a kernel has its threads as they were when it has ended."""

from __future__ import annotations

import _thread
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from async_kernel.runtime.patches import patched
from async_kernel.runtime.threads import creator_of, thread_patches
from async_kernel.scheduling.context import current_job
from async_kernel.typing import Job, SocketID

TIMEOUT = 20


def make_job(name: str) -> Job[Any]:
    msg: Any = {"header": {"msg_id": name}}
    return {"msg": msg, "socket_id": SocketID.shell, "ident": [], "received_time": 0.0}


@pytest.fixture
def job() -> Iterator[Job[Any]]:
    """The threads patched, in a context of a cell."""
    job = make_job("cell")
    token = current_job.set(job)
    with patched(thread_patches()):
        yield job
    current_job.reset(token)


def test_everything_is_as_before(job: Job[Any]) -> None:
    inside = threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread
    with patched(thread_patches()):
        assert threading.Thread.start is not inside[0]
    assert (threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread) == inside


def test_only_the_job_goes_along(job: Job[Any]) -> None:
    """A thread starts with an empty context, as Python says: libraries rely on it."""
    other = contextvars.ContextVar("other", default=0)
    other.set(1)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append((current_job.get(), other.get())))
    thread.start()
    thread.join(TIMEOUT)
    assert seen == [(job, 0)]
    assert creator_of(thread) is job
    assert "run" not in vars(thread)


def test_a_subclass_and_an_instance_keep_their_own_run(job: Job[Any]) -> None:
    seen: list[Any] = []

    class Own(threading.Thread):
        def run(self) -> None:
            seen.append(("class", current_job.get()))

    def run() -> None:
        seen.append(("instance", current_job.get()))

    threads = [Own(), Own()]
    threads[1].run = run
    for each in threads:
        each.start()
        each.join(TIMEOUT)
    assert seen == [("class", job), ("instance", job)]
    assert threads[1].run is run


def test_a_second_start_is_still_an_error(job: Job[Any]) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join(TIMEOUT)
    with pytest.raises(RuntimeError, match="once"):
        thread.start()


def test_each_call_of_an_executor_belongs_to_who_submits_it(job: Job[Any]) -> None:
    """A pool's threads outlive the cell that made the pool."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_job.get).result(TIMEOUT) is job
        second = make_job("second")
        token = current_job.set(second)
        assert pool.submit(current_job.get).result(TIMEOUT) is second
        assert list(pool.map(lambda _: current_job.get(), [0], timeout=TIMEOUT)) == [second]
        current_job.reset(token)
        future = pool.submit(lambda a, *, b: a + b, 1, b=2)
        assert future.result(TIMEOUT) == 3


def test_outside_of_a_cell_nothing_changes() -> None:
    with patched(thread_patches()), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_job.get).result(TIMEOUT) is None
        thread = threading.Thread(target=int)
        thread.start()
        thread.join(TIMEOUT)
        assert creator_of(thread) is None


def test_a_raw_thread_that_fails_is_told_to_the_excepthook(job: Job[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    done = threading.Event()

    def hook(args: Any) -> None:
        told.append((args.exc_type, current_job.get()))
        done.set()

    monkeypatch.setattr(threading, "excepthook", hook)
    _thread.start_new_thread(lambda a, b: a / b, (1,), {"b": 0})
    assert done.wait(TIMEOUT)
    assert told == [(ZeroDivisionError, job)]
