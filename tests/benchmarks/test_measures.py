"""The benchmarks: the limit kernel passes every check, and a wrong answer is a failure, never a time.

Without this the table could praise a kernel for being fast at losing messages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from benchmarks.client import Answer, Client, UnsupportedError, WrongAnswerError
from benchmarks.kernels import CANDIDATES, RunningKernel
from benchmarks.rows import MEASURES, ROWS, Row, Target
from benchmarks.table import Record, best_of, table, value_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOR_THE_LIMIT = {
    "comm_big",
    "comms",
    "complete_sleeping",
    "interrupt_await",
    "interrupt_loop",
    "interrupt_sleep",
    "lookups",
    "shells",
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


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURES)
def test_the_limit_kernel_passes_every_check(kernel: RunningKernel, name: str) -> None:
    try:
        samples = MEASURES[name](kernel)
    except UnsupportedError:
        assert name in NOT_FOR_THE_LIMIT
        return
    assert samples.keys() <= {row.samples for row in ROWS}
    assert all(value >= 0 for values in samples.values() for value in values)


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


def test_figures() -> None:
    record = Record()
    record.add("round_trips", {"pass": [float(n) for n in range(1, 102)]})
    assert value_of(Row("", "pass", ""), record) == 51
    assert value_of(Row("", "pass", "", statistic="p99"), record) == 100
    assert value_of(Row("", "sum", ""), record) is None
    assert verdict(Target(0.5), 1.0, {"ipykernel": 2.0}) is True
    assert verdict(Target(9, at_least=True), 8.0, {"ipykernel": 1.0}) is False
    assert verdict(Target(0.5), 1.0, {"ipykernel": None}) is None


def test_a_kernel_that_never_answers_is_shown_as_failed() -> None:
    good, bad = Record(), Record()
    good.add("burst", {"burst": [200.0]})
    bad.fail("burst", "WrongAnswerError: 7 of 1000 replies in time")
    text = table({"ipykernel": good, "other": bad}, ["other"])
    assert "failed" in text
    assert "- other, burst: 1 of 1 failed: WrongAnswerError: 7 of 1000 replies in time" in text


def test_what_a_kernel_does_not_claim_to_do_is_not_a_failure() -> None:
    good, other = Record(), Record()
    good.add("tasks", {"tasks": [2.0]})
    other.unsupported.add("tasks")
    lines = table({"default": good, "ipykernel": other}, ["default"]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[2:4]] == ["2 ✓", "-"]
    assert not any("failed" in line for line in lines)


def test_the_best_is_the_fastest_of_the_others_without_the_limit() -> None:
    figures: dict[str, float | None] = {"ipykernel": 20.0, "async-kernel 0.23": 10.0, "limit": 1.0, "default": 7.0}
    row = Row("", "completion", "ms", (Target(0.8, "best"),))
    best = best_of(row, figures, ["default"])
    assert best == 10.0
    assert verdict(row.targets[0], 7.0, {**figures, "best": best}) is True
