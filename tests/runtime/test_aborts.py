"""An error aborts what its client had sent by then: by position, and nobody else's."""

from __future__ import annotations

import itertools
from typing import Any

from async_kernel.runtime.dispatch import Aborts
from async_kernel.typing import Job

clock = itertools.count(1.0)


def job(session: str = "a", subshell_id: str | None = None) -> Job[Any]:
    header: Any = {"session": session, "subshell_id": subshell_id}
    message: Any = {"header": header}
    received: Any = {"msg": message, "received_time": next(clock)}
    return received


def test_what_was_received_before_the_error_is_aborted() -> None:
    aborts = Aborts()
    failing, before = job(), job()
    for each in (failing, before):
        aborts.received(each)
    aborts.failed(failing)
    after = job()
    aborts.received(after)
    assert aborts.covers(before)
    assert not aborts.covers(after)


def test_other_clients_and_subshells_go_on() -> None:
    aborts = Aborts()
    failing, other_client, other_subshell = job("a"), job("b"), job("a", "x")
    for each in (failing, other_client, other_subshell):
        aborts.received(each)
    aborts.failed(failing)
    assert not aborts.covers(other_client)
    assert not aborts.covers(other_subshell)


def test_an_offset_reaches_beyond_the_last_received() -> None:
    aborts = Aborts()
    failing = job()
    aborts.received(failing)
    aborts.failed(failing, offset=1.5)
    assert aborts.covers(job())
    assert not aborts.covers(job())


def test_a_subshell_that_has_ended_is_forgotten() -> None:
    """Otherwise a kernel whose subshells come and go grows."""
    aborts = Aborts()
    failing, kept = job("a", "x"), job("a")
    for each in (failing, kept):
        aborts.received(each)
        aborts.failed(each)
    aborts.forget("x")
    assert not aborts.covers(failing)
    assert aborts.covers(kept)


def test_a_client_without_a_session_is_one_too() -> None:
    """Its requests would never be answered."""
    aborts = Aborts()
    failing: Any = {"msg": {"header": {}}, "received_time": next(clock)}
    aborts.received(failing)
    aborts.failed(failing)
    assert aborts.covers(failing)


def test_clients_that_come_and_go_are_forgotten() -> None:
    """A server that lives long would grow with every client that has ever come."""
    aborts = Aborts()
    for n in range(3 * Aborts.CLIENTS):
        each = job(f"client {n}")
        aborts.received(each)
        aborts.failed(each)
    latest = job(f"client {3 * Aborts.CLIENTS - 1}")
    assert len(aborts._latest) == len(aborts._until) == Aborts.CLIENTS
    assert not aborts.covers(latest)
