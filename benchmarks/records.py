"""Samples to figures: medians, ratios to ipykernel, targets met or missed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.kernels import BASE, LIMIT
from benchmarks.rows import BEST, ROWS, Row, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIVE_UP = 2
"After so many failures in a row a kernel is left out of a measure: a hang costs the whole time limit each time."


@dataclass
class Record:
    """What one kernel has shown so far."""

    samples: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])
    "By `Row.samples`, a list of values for each round."
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    "Reasons by what was measured: the name of a measure."
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    unsupported: set[str] = field(default_factory=set[str])
    "Measures of what the kernel does not claim to do."
    in_a_row: dict[str, int] = field(default_factory=dict[str, int])
    "Failures of a measure since it was last right."

    def add(self, measure: str, samples: Mapping[str, list[float]], *, counted: bool = True) -> None:
        self.in_a_row[measure] = 0
        self.attempts[measure] = self.attempts.get(measure, 0) + 1
        for name, values in samples.items() if counted else ():
            self.samples.setdefault(name, []).append(values)

    def fail(self, measure: str, reason: str) -> None:
        self.in_a_row[measure] = self.in_a_row.get(measure, 0) + 1
        self.attempts[measure] = self.attempts.get(measure, 0) + 1
        self.failures.setdefault(measure, []).append(reason)

    def is_out(self, measure: str) -> bool:
        return self.in_a_row.get(measure, 0) >= GIVE_UP

    def values(self, name: str) -> list[float]:
        return [value for values in self.samples.get(name, ()) for value in values]


def value_of(row: Row, record: Record) -> float | None:
    """The figure of one kernel in `row`; None where it never gave a correct answer."""
    values = record.values(row.samples)
    if not values:
        return None
    median = statistics.median(values)
    if row.statistic == "median":
        return median
    return p99(values) if row.statistic == "p99" else p99(values) / median


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def fault_of(row: Row, record: Record) -> str:
    """Why what `record` shows in `row` is not to be trusted; empty where it is."""
    if reasons := record.failures.get(row.measure):
        return f"{len(reasons)} of {record.attempts[row.measure]} failed: {reasons[0]}"
    wrong = statistics.median(record.values(row.flaw) or [0]) if row.flaw else 0
    return f"{wrong:,.0f} lines were torn, lost or without their cell" if wrong else ""


def verdict(target: Target, value: float, values: Mapping[str, float | None]) -> bool | None:
    """Whether `value` meets `target`; None where there is nothing to compare it with."""
    of = values.get(target.of) if target.of else 1.0
    if not of:
        return None
    return value / of >= target.bound if target.at_least else value / of <= target.bound


def figures(records: Mapping[str, Record], ours: Sequence[str]) -> list[dict[str, Any]]:
    """The table as data: for each row, by kernel, the value, its ratio to ipykernel and whether targets are met."""
    lines: list[dict[str, Any]] = []
    for row in ROWS:
        if not any(row.measure in record.attempts for record in records.values()):
            continue
        values = {name: value_of(row, record) for name, record in records.items()}
        faults = {name: fault_of(row, record) for name, record in records.items()}
        values[BEST] = best_of(row, {name: None if faults[name] else value for name, value in values.items()}, ours)
        cells = {name: cell(row, name, values, ours) for name in records}
        for name, record in records.items():
            each = cells[name]
            each["state"] = state_of(each["value"], faults[name], row.flaw, row.measure in record.unsupported)
            each["fault"] = faults[name]
            each["rounds"] = len(record.samples.get(row.samples, ()))
            each["p99"] = p99(all_values) if (all_values := record.values(row.samples)) else None
            if name in ours and row.targets and each["state"] in ("fails", "some fail"):
                each["met"] = False  # an answer that was lost once is a target missed
        targets = [target_text(each) for each in row.targets]
        bound = next((each.bound for each in row.targets if each.of == BASE), None)
        lines.append({"row": row.title, "measure": row.measure, "unit": row.unit, "targets": targets})
        lines[-1].update({"bound": bound, "rate": row.is_rate, "kernels": cells})
    return lines


def state_of(value: float | None, fault: str, flaw: str, unsupported: bool) -> str:
    """`ok`; `fails`; `some fail`: the value is that of the other rounds; `unsupported`; `missing`: not measured yet."""
    if fault:
        return "fails" if value is None or flaw else "some fail"
    return "ok" if value is not None else "unsupported" if unsupported else "missing"


def best_of(row: Row, values: Mapping[str, float | None], ours: Sequence[str]) -> float | None:
    """The best figure of the kernels that ours are compared with; the limit kernel is not one of them."""
    peers = [value for name, value in values.items() if value is not None and name not in (*ours, LIMIT)]
    if not peers:
        return None
    return max(peers) if row.is_rate else min(peers)


def cell(row: Row, name: str, values: Mapping[str, float | None], ours: Sequence[str]) -> dict[str, Any]:
    value, base = values[name], values.get(BASE)
    if value is None:
        return {"value": None, "ratio": None, "met": None}
    ratio = value / base if base and name != BASE and row.unit else None
    verdicts = [verdict(each, value, values) for each in row.targets] if name in ours else []
    met = False if False in verdicts else None if not verdicts or None in verdicts else True
    return {"value": value, "ratio": ratio, "met": met}


def target_text(target: Target) -> str:
    return f"{'≥' if target.at_least else '≤'} {target.bound:g}" + (f" × {target.of}" if target.of else "")
