"""What runs and waits: what `%jobs` lists, and what `%cancel` and an interrupt by name find."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from async_kernel.errors import KernelInterruptError
from async_kernel.runtime.jobs import Jobs
from async_kernel.typing import Job, RunMode, SocketID
from tests.collector import MOMENTS, collecting


def a_job(msg_id: str, code: str = "pass", subshell: str | None = None, msg_type: str = "execute_request") -> Job[Any]:
    header: Any = {"msg_id": msg_id, "msg_type": msg_type, "subshell_id": subshell}
    msg: Any = {"header": header, "content": {"code": code}, "metadata": {}}
    return Job(msg=msg, socket_id=SocketID.shell, ident=[], received_time=0.0)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(lambda _: None)


@pytest.fixture(autouse=True)
def switch_interval() -> Iterator[None]:
    """It is as it was."""
    before = sys.getswitchinterval()
    yield
    after = sys.getswitchinterval()
    sys.setswitchinterval(before)
    assert after == before


def test_they_can_be_listed_while_others_come(jobs: Jobs) -> None:
    """A request was answered with "dictionary changed size during iteration", once in 50,000."""
    for number in range(30):
        jobs.accepted(a_job(str(number)))

    job = a_job("again")

    def change() -> None:
        jobs.end(job)
        jobs.accepted(job)
        jobs.accepted(a_job("more"))

    for moment in MOMENTS:
        with collecting(moment, change):
            assert len(jobs.describe()) >= len(jobs.matching((), None)) + len(jobs.running())


def test_a_job_from_arrival_to_end(jobs: Jobs) -> None:
    job = a_job("a", "\n# thread\nx = 1\ny = 2")
    jobs.accepted(job, RunMode.thread)
    (said,) = jobs.describe()
    assert (said["number"], said["state"], said["mode"], said["what"]) == (1, "waits", "thread", "x = 1")
    assert jobs.running() == []
    entry = jobs.begin(job)
    assert entry is not None
    assert jobs.running() == [entry]
    assert jobs.describe()[0]["state"] == "runs"
    jobs.end(job)
    jobs.end(job)
    assert entry.done
    assert jobs.describe() == []


def test_what_nobody_can_interrupt_is_not_a_job(jobs: Jobs) -> None:
    job = a_job("a", msg_type="complete_request")
    assert jobs.accepted(job, RunMode.thread) is None
    assert jobs.begin(job) is None
    jobs.end(job)


def test_found_by_number_and_by_the_beginning_of_the_id(jobs: Jobs) -> None:
    for msg_id in ("abc", "abd", "x"):
        jobs.accepted(a_job(msg_id))
    assert jobs.find("2").msg_id == "abd"
    assert jobs.find("abc").msg_id == "abc"
    for name, text in (("ab", "2 jobs"), ("7", "no job .* '7'"), ("", "no job")):
        with pytest.raises(LookupError, match=text):
            jobs.find(name)


def test_named_by_id_or_by_subshell(jobs: Jobs) -> None:
    for msg_id, subshell in (("a", None), ("b", "s"), ("c", "s"), ("d", "t")):
        jobs.accepted(a_job(msg_id, subshell=subshell))
    assert [entry.msg_id for entry in jobs.matching(("a",), None)] == ["a"]
    assert [entry.msg_id for entry in jobs.matching((), "s")] == ["b", "c"]
    assert [entry.msg_id for entry in jobs.matching(("d",), "s")] == ["b", "c", "d"]
    assert jobs.matching(("unknown",), "unknown") == []


def test_what_was_cancelled_does_not_begin(jobs: Jobs) -> None:
    entry = jobs.accepted(a_job("a"))
    assert entry is not None
    entry.check()
    entry.revoked = True
    assert jobs.describe()[0]["state"] == "cancelled"
    with pytest.raises(KernelInterruptError, match="before it began"):
        entry.check()


def test_the_switch_interval_is_short_while_something_runs(jobs: Jobs) -> None:
    """Threads that only compute keep what they had before and after."""
    before = sys.getswitchinterval()
    first, second = a_job("a"), a_job("b")
    jobs.begin(first)
    assert sys.getswitchinterval() < before
    jobs.begin(second)
    jobs.end(first)
    assert sys.getswitchinterval() < before
    jobs.end(second)
    assert sys.getswitchinterval() == before


def test_a_switch_interval_that_a_cell_sets_stays(jobs: Jobs) -> None:
    before = sys.getswitchinterval()
    job = a_job("a")
    jobs.begin(job)
    sys.setswitchinterval(0.25)
    jobs.end(job)
    assert sys.getswitchinterval() == 0.25
    sys.setswitchinterval(before)
