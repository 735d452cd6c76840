"""The benchmarks: the limit kernel passes every check, and a wrong answer is a failure, never a time.

Without this the table could praise a kernel for being fast at losing messages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from benchmarks import measures, side_by_side, volume
from benchmarks.client import Answer, Client, UnsupportedError, WrongAnswerError
from benchmarks.kernels import CANDIDATES, RunningKernel
from benchmarks.rows import MEASURES, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOR_THE_LIMIT = {
    "complete_sleeping",
    "interrupt_await",
    "lookups",
    "shells",
    "start_up",
    "tasks",
}
LIMIT = next(candidate for candidate in CANDIDATES if candidate.name == "limit")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    with zmq.Context() as context:
        kernel = RunningKernel(LIMIT, Path(sys.executable), tmp_path_factory.mktemp("kernel"), context)
        try:
            kernel.warm_up()
            yield kernel
        finally:
            kernel.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only there to make a figure steady or large is left out."""
    for name, value in {"ROUND_TRIPS": 3, "BURST": 50, "SLEEP": "import time; time.sleep(0.2)"}.items():
        monkeypatch.setattr(measures, name, value)
    for name, value in {"ROUND_TRIPS": 3, "CLIENTS": 5, "COMM_BURST": 50, "BIG": 10**6, "INTERRUPTS": 1}.items():
        monkeypatch.setattr(side_by_side, name, value)
    for name, value in {
        "NOT_READING": 0.1,
        "SLOW": 0.1,
        "LINES": 500,
        "BIG": 10**6,
        "CELLS": 100,
        "IDLE": 0.1,
        "LONG": 100,
        "TRIPS": 2,
    }.items():
        monkeypatch.setattr(volume, name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [name for name in MEASURES if name != "life"])
def test_the_limit_kernel_passes_every_check(kernel: RunningKernel, name: str) -> None:
    try:
        samples = MEASURES[name].take(kernel)
    except UnsupportedError:
        assert name in NOT_FOR_THE_LIMIT
        return
    assert samples.keys() == {row.samples for row in ROWS if row.measure == name}
    assert all(value >= 0 for values in samples.values() for value in values)


def test_every_row_is_measured_and_every_measure_has_a_row() -> None:
    assert {row.measure for row in ROWS} == MEASURES.keys()


def published(client: Client, parent: str, *states: str) -> list[list[bytes]]:
    """Status messages as a kernel would send them."""
    header = {"msg_id": parent, "msg_type": "execute_request"}
    messages = (client.session.msg("status", {"execution_state": state}, parent=header) for state in states)
    return [client.session.serialize(message, [b"status"]) for message in messages]


def reply(client: Client, parent: str, status: str = "ok") -> list[bytes]:
    header = {"msg_id": parent, "msg_type": "execute_request"}
    return client.session.serialize(client.session.msg("execute_reply", {"status": status}, parent=header))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with zmq.Context() as context:
        client = Client(context, tmp_path / "kernel.json")
        yield client
        client.close()


@pytest.mark.parametrize(
    ("status", "states", "right"),
    [
        ("ok", ["busy", "idle"], True),
        ("error", ["busy", "idle"], False),
        ("ok", ["busy"], False),
        ("ok", ["idle"], False),
        ("ok", ["idle", "busy"], False),
        ("ok", ["busy", "idle", "idle"], False),
    ],
)
def test_a_wrong_answer_is_a_failure(client: Client, status: str, states: list[str], right: bool) -> None:
    request = client.execute("pass")
    answer = Answer([reply(client, request.msg_id, status)], published(client, request.msg_id, *states))
    if right:
        client.check(answer, [request], lambda published: True)
    else:
        with pytest.raises(WrongAnswerError):
            client.check(answer, [request], lambda published: True)


def test_output_that_was_not_asked_for_is_a_failure(client: Client) -> None:
    request = client.execute("pass")
    answer = Answer([reply(client, request.msg_id)], published(client, request.msg_id, "busy", "idle"))
    with pytest.raises(WrongAnswerError, match="not what the code asked for"):
        client.check(answer, [request], lambda published: False)


def test_a_wrong_signature_is_a_failure(client: Client) -> None:
    request = client.execute("pass")
    frames = reply(client, request.msg_id)
    frames[1] = b"0" * 64
    with pytest.raises(ValueError, match="Signature"):
        client.check(Answer([frames]), [request], lambda published: True)


def test_the_reply_to_another_request_is_a_failure(client: Client) -> None:
    first, second = client.execute("pass"), client.execute("pass")
    answer = Answer([reply(client, second.msg_id), reply(client, first.msg_id)])
    with pytest.raises(WrongAnswerError):
        client.check(answer, [first, second], lambda published: True)
