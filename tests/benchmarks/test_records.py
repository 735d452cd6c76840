"""Figures and table: what is right, what is wrong and what a kernel does not do are three things.

Without this a kernel could win a row by losing messages, or be blamed for what it never promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.records import Record, best_of, figures, value_of, verdict
from benchmarks.rows import ROWS, Row, Target
from benchmarks.table import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def report_of(records: Mapping[str, Record], ours: Sequence[str] = ("default",)) -> list[str]:
    """The lines of a run's report."""
    results: dict[str, Any] = {
        "date": "2026-01-01",
        "commit": "0123abc",
        "machine": {"cores": 2, "cpu": "a processor", "system": "Linux", "python": "3.11", "load_before": [0.0] * 3},
        "kernels": {name: {"version": "1"} for name in records},
        "ours": ours,
        "notes": ["without xeus-python: no wheel"],
        "rows": figures(records, ours),
    }
    return report(results).splitlines()


def cells(lines: Sequence[str], title: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def record(measure: str, **samples: float) -> Record:
    made = Record()
    made.add(measure, {name: [value] for name, value in samples.items()})
    return made


def failed(measure: str, reason: str) -> Record:
    made = Record()
    made.fail(measure, reason)
    return made


def test_figures() -> None:
    made = Record()
    for begin in (1, 41, 81):
        made.add("round_trips", {"pass": [float(n) for n in range(begin, min(begin + 40, 102))]})
    assert value_of(Row("", "round_trips", "pass", ""), made) == 51
    assert value_of(Row("", "round_trips", "pass", "", statistic="p99"), made) == 100
    assert value_of(Row("", "round_trips", "sum", ""), made) is None
    assert verdict(Target(0.5), 1.0, {"ipykernel": 2.0}) is True
    assert verdict(Target(9, at_least=True), 8.0, {"ipykernel": 1.0}) is False
    assert verdict(Target(0.5), 1.0, {"ipykernel": None}) is None


def test_a_kernel_that_never_answers_fails_with_the_reason() -> None:
    records = {"ipykernel": record("burst", burst=200.0), "default": failed("burst", "7 of 1000 replies in time")}
    lines = report_of(records)
    assert cells(lines, "1,000 requests at once") == ["200 /s", "fails [1]", "≥ 9 × ipykernel", "missed: default"]
    assert "- [1] default, burst: 1 of 1 failed: 7 of 1000 replies in time" in lines
    assert "- without xeus-python: no wheel" in lines
    assert "- default: 0 of 1 rows met; missed: 1,000 requests at once (fails)" in lines


def test_one_lost_answer_is_a_missed_target_however_fast_the_others_were() -> None:
    ours = record("burst", burst=2000.0)
    ours.fail("burst", "999 of 1000 replies in time")
    lines = report_of({"ipykernel": record("burst", burst=200.0), "default": ours})
    assert cells(lines, "1,000 requests at once")[1:] == [
        "2,000 /s (10.00) ✗ [1]",
        "≥ 9 × ipykernel",
        "missed: default",
    ]


def test_torn_lines_are_a_failure_but_what_they_took_is_what_others_are_compared_with() -> None:
    torn = record("print_threads", print_threads=1000.0, print_threads_wrong=4120.0)
    right = record("print_threads", print_threads=200.0, print_threads_wrong=0.0)
    lines = report_of({"ipykernel": torn, "default": right})
    assert cells(lines, "4 threads printing 5,000 lines each")[:2] == ["fails [1]", "200 ms (0.20) ✓"]
    assert cells(lines, "4 threads: lines torn, lost or without their cell")[:2] == ["4,120", "0 ✓"]
    assert "- [1] ipykernel, print_threads: 4,120 lines were torn, lost or without their cell" in lines


def test_what_a_kernel_does_not_claim_to_do_is_not_a_failure() -> None:
    other = Record()
    other.unsupported.add("tasks")
    lines = report_of({"default": record("tasks", tasks=2.0), "ipykernel": other})
    title = next(row.title for row in ROWS if row.measure == "tasks")
    assert cells(lines, title) == ["2 ✓", "-", "≤ 4", "met"]
    assert not any("fails" in line for line in lines)
    two = {"ipykernel": other, "default": record("tasks", tasks=2.0), "trio": other}
    assert cells(report_of(two, ["default", "trio"]), title)[-1] == "met"


def test_the_best_is_the_fastest_of_the_others_that_are_right_without_the_limit() -> None:
    values: dict[str, float | None] = {"ipykernel": 20.0, "async-kernel 0.23": 10.0, "limit": 1.0, "default": 7.0}
    row = Row("", "lookups", "completion", "ms", (Target(0.8, "best"),))
    best = best_of(row, values, ["default"])
    assert best == 10.0
    assert verdict(row.targets[0], 7.0, {**values, "best": best}) is True
    fast = record("lookups", completion=1.0, inspection=1.0)
    fast.fail("lookups", "no reply")
    shown = figures({"ipykernel": record("lookups", completion=20.0), "xeus-python": fast}, [])
    assert shown[0]["kernels"]["xeus-python"]["state"] == "some fail"
    ours = record("lookups", completion=7.0)
    (completion, _) = figures(
        {"ipykernel": record("lookups", completion=20.0), "xeus-python": fast, "default": ours}, ["default"]
    )
    assert completion["kernels"]["default"]["met"] is True, "a kernel that fails now and then is no peer"
