"""A kernel that hangs costs its row a time limit, not the run; Ctrl-C and a missing wheel cost nothing that is there.

Without this one peer that loses a message would keep everybody from the other figures.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as main_module
from benchmarks import bench as bench_module
from benchmarks import environments, machine
from benchmarks.bench import Bench, limit
from benchmarks.client import TimeLimitError, UnsupportedError
from benchmarks.kernels import CANDIDATES, Candidate
from benchmarks.rows import MEASURES, Measure

GOOD, BAD = Candidate("good", "there", ()), Candidate("bad", "there", ())


class FakeKernel:
    """A kernel without a process; `bad` never answers."""

    closed: list[str]

    def __init__(self, candidate: Candidate, *others: object) -> None:
        self.candidate = candidate

    def warm_up(self) -> None:
        """Nothing is to be waited for."""

    def obituary(self) -> str:
        return "; its process had ended with 1: no port"

    def close(self) -> None:
        self.closed.append(self.candidate.name)


def sample(kernel: Any) -> dict[str, list[float]]:
    if kernel.candidate.name == "bad":
        signal.pause()
    return {"pass": [1.0]}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    monkeypatch.setattr(FakeKernel, "closed", [], raising=False)
    monkeypatch.setattr(bench_module, "RunningKernel", FakeKernel)
    monkeypatch.setitem(MEASURES, "round_trips", Measure(sample, limit=0.05))
    made = Bench([GOOD, BAD], {"there": Path()}, tmp_path, rounds=4, minutes=20)
    yield made
    made.close()


def test_a_kernel_that_hangs_is_given_up_and_the_others_go_on(bench: Bench) -> None:
    bench.measure("round_trips")
    good, bad = bench.records["good"], bench.records["bad"]
    assert good.samples == {"pass": [[1.0]] * 4}, "the first round is not counted"
    assert bad.failures == {"round_trips": ["not done after 0.05 s; its process had ended with 1: no port"] * 2}, (
        "after two in a row it is left out"
    )
    assert FakeKernel.closed == ["bad", "bad"]
    bench.close()
    assert FakeKernel.closed == ["bad", "bad", "good"]


def test_the_time_limit_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeLimitError), limit(0.01):
        signal.pause()
    with limit(5):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) == before


def test_what_is_slow_gets_fewer_rounds_but_three(bench: Bench) -> None:
    assert list(bench.numbers(100, Measure(sample))) == [0, 1, 2, 3, 4]
    assert list(bench.numbers(0, Measure(sample))) == [0, 1, 2, 3]
    assert list(bench.numbers(0, Measure(sample, fresh=True, least=2))) == [1, 2]


def test_a_measure_that_a_kernel_does_not_claim_is_no_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kernel: Any) -> dict[str, list[float]]:
        raise UnsupportedError("tasks")

    monkeypatch.setitem(MEASURES, "tasks", Measure(refuse))
    bench.measure("tasks")
    assert bench.records["good"].unsupported == {"tasks"}
    assert not bench.records["good"].failures


def test_ctrl_c_keeps_what_was_measured_and_a_missing_peer_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(name: str, given: Path | None) -> Path:
        if name == "xeus-python":
            raise subprocess.CalledProcessError(1, ["pip"])
        return Path()

    def measure(self: Bench, name: str) -> None:
        if name == "burst":
            raise KeyboardInterrupt
        for number, record in enumerate(self.records.values()):
            record.add(name, {"pass": [1.0 + number]})

    monkeypatch.setattr(environments, "make", make)
    monkeypatch.setattr(machine, "versions", lambda python: {"ipykernel": "7.4.0"})  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(main_module, "RESULTS", tmp_path)
    monkeypatch.setattr(Bench, "measure", measure)
    assert main_module.main(["--only", "round_trips", "burst", "--rounds", "1"]) == 130
    shown = capsys.readouterr().out
    assert "without xeus-python: its environment could not be made here" in shown
    assert "the run was interrupted" in shown
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text("utf-8"))
    assert results["kernels"].keys() == {each.name for each in CANDIDATES} - {"xeus-python"}
    assert results["samples"]["ipykernel"] == {"pass": [[1.0]]}
    assert {"cpu", "cores", "python", "load_before"} <= results["machine"].keys()
