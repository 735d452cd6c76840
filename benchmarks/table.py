"""Samples to figures: medians, ratios to ipykernel, targets met or missed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.kernels import BASE, LIMIT
from benchmarks.rows import BEST, ROWS, Row, Target

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Record:
    """What one kernel has shown so far."""

    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    "Reasons by what was measured: the name of a measure."
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    unsupported: set[str] = field(default_factory=set[str])
    "Measures of what the kernel does not claim to do."
    sources: dict[str, str] = field(default_factory=dict[str, str])
    "The measure that each kind of sample came from."

    def add(self, measure: str, samples: dict[str, list[float]]) -> None:
        self.sources.update(dict.fromkeys(samples, measure))
        self.attempts[measure] = self.attempts.get(measure, 0) + 1
        for name, values in samples.items():
            self.samples.setdefault(name, []).extend(values)

    def fail(self, measure: str, reason: str) -> None:
        self.attempts[measure] = self.attempts.get(measure, 0) + 1
        self.failures.setdefault(measure, []).append(reason)


def value_of(row: Row, record: Record) -> float | None:
    """The figure of one kernel in `row`; None where it never gave a correct answer."""
    values = record.samples.get(row.samples)
    if not values:
        return None
    median = statistics.median(values)
    if row.statistic == "median":
        return median
    p99 = sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]
    return p99 if row.statistic == "p99" else p99 / median


def verdict(target: Target, value: float, values: dict[str, float | None]) -> bool | None:
    """Whether `value` meets `target`; None where there is nothing to compare it with."""
    of = values.get(target.of) if target.of else 1.0
    if not of:
        return None
    return value / of >= target.bound if target.at_least else value / of <= target.bound


def figures(records: dict[str, Record], ours: Sequence[str]) -> list[dict[str, Any]]:
    """The table as data: for each row, by kernel, the value, its ratio to ipykernel and whether targets are met."""
    lines: list[dict[str, Any]] = []
    for row in ROWS:
        values = {name: value_of(row, record) for name, record in records.items()}
        measure = next((r.sources[row.samples] for r in records.values() if row.samples in r.sources), None)
        if measure is not None:
            values[BEST] = best_of(row, values, ours)
            lines.append({"row": row.title, "unit": row.unit, "targets": [target_text(each) for each in row.targets]})
            cells = {name: cell(row, name, values, ours) for name in records}
            for name, record in records.items():
                cells[name]["unsupported"] = measure in record.unsupported
            lines[-1]["kernels"] = cells
    return lines


def best_of(row: Row, values: dict[str, float | None], ours: Sequence[str]) -> float | None:
    """The best figure of the kernels that ours are compared with; the limit kernel is not one of them."""
    peers = [value for name, value in values.items() if value is not None and name not in (*ours, LIMIT)]
    if not peers:
        return None
    return max(peers) if any(target.at_least for target in row.targets) else min(peers)


def cell(row: Row, name: str, values: dict[str, float | None], ours: Sequence[str]) -> dict[str, Any]:
    value, base = values[name], values.get(BASE)
    if value is None:
        return {"value": None}
    ratio = value / base if base else None
    verdicts = [verdict(each, value, values) for each in row.targets] if name in ours else []
    met = None if not verdicts or None in verdicts else all(verdicts)
    return {"value": value, "ratio": ratio, "met": met}


def target_text(target: Target) -> str:
    return f"{'≥' if target.at_least else '≤'} {target.bound:g}" + (f" × {target.of}" if target.of else "")


def table(records: dict[str, Record], ours: Sequence[str]) -> str:
    """The table as a person reads it, in Markdown; failures below it."""
    lines = figures(records, ours)
    rows = [["", *records, "target"]]
    for line in lines:
        cells = [cell_text(line["kernels"][name], line["unit"], name) for name in records]
        rows.append([line["row"], *cells, ", ".join(line["targets"])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    texts.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join([*texts, "", *failure_lines(records)])


def cell_text(cell: dict[str, Any], unit: str, name: str) -> str:
    if cell["value"] is None:
        return "-" if cell["unsupported"] else "failed"
    ratio = f" ({cell['ratio']:.2f})" if cell["ratio"] is not None and name != BASE else ""
    mark = {None: "", True: " ✓", False: " ✗"}[cell["met"]]
    return (
        f"{cell['value']:.3g} {unit}".strip() + ratio + mark
        if cell["value"] < 1000
        else (f"{cell['value']:,.0f} {unit}".strip() + ratio + mark)
    )


def failure_lines(records: dict[str, Record]) -> list[str]:
    return [
        f"- {name}, {measure}: {len(reasons)} of {record.attempts[measure]} failed: {reasons[0]}"
        for name, record in records.items()
        for measure, reasons in record.failures.items()
    ]
