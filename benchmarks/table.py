"""Figures to text: the table in Markdown, what failed and why, the targets met and missed.

All of it is made from the data of a results file, so that the documentation can show a run without making one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARKS = {None: "", True: " ✓", False: " ✗"}


def report(results: Mapping[str, Any]) -> str:
    """The whole report of one run: where it was made, the table, the faults, the summary."""
    names, rows, ours = list(results["kernels"]), results["rows"], results["ours"]
    faults = numbered_faults(rows, names)
    parts = [
        heading(results),
        table(rows, names, ours, faults),
        "\n".join(f"- [{number}] {text}" for text, number in faults.items()),
        "\n".join(f"- {each}" for each in results["notes"]),
        "\n".join(f"- {each}" for each in summary(rows, ours)),
    ]
    return "\n\n".join(part for part in parts if part)


def heading(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    load = ", ".join(f"{each:.1f}" for each in machine["load_before"])
    rounds = [each["rounds"] for row in results["rows"] for each in row["kernels"].values() if each["rounds"]]
    spread = " to ".join(str(each) for each in sorted({min(rounds), max(rounds)})) if rounds else "no"
    versions = ", ".join(f"{name}: {each['version']}" for name, each in results["kernels"].items() if each["version"])
    return (
        f"{results['date']}, commit {results['commit']}: medians of {spread} rounds, in brackets the ratio to "
        f"ipykernel. {machine['cores']} cores of {machine['cpu']}, {machine['system']}, Python {machine['python']}; "
        f"load average before: {load}." + (f" Versions: {versions}." if versions else "")
    )


def numbered_faults(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, int]:
    """Every fault once, with the number that the table's cells refer to."""
    faults: dict[str, int] = {}
    for row in rows:
        for name in names:
            if row["kernels"][name]["fault"]:
                faults.setdefault(fault_text(row, name), len(faults) + 1)
    return faults


def fault_text(row: Mapping[str, Any], name: str) -> str:
    return f"{name}, {row['measure']}: {row['kernels'][name]['fault']}"


def table(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], ours: Sequence[str], faults: Mapping[str, int]
) -> str:
    """The figures of all kernels, in Markdown."""
    lines = [["", *names, "target", "verdict"]]
    for row in rows:
        cells = [cell_text(row, name, faults) for name in names]
        lines.append([row["row"], *cells, ", ".join(row["targets"]), verdict_text(row, ours)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    texts.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(texts)


def cell_text(row: Mapping[str, Any], name: str, faults: Mapping[str, int]) -> str:
    """A value with its ratio and verdict, or why there is none."""
    cell = row["kernels"][name]
    number = f" [{faults[fault_text(row, name)]}]" if cell["fault"] else ""
    match cell["state"]:
        case "fails":
            return f"fails{number}"
        case "unsupported" | "missing":
            return "-" if cell["state"] == "unsupported" else "not measured"
        case _:
            ratio = f" ({cell['ratio']:.2f})" if cell["ratio"] is not None else ""
            return value_text(cell["value"], row["unit"]) + ratio + MARKS[cell["met"]] + number


def value_text(value: float, unit: str) -> str:
    return (f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}").strip()


def verdict_text(row: Mapping[str, Any], ours: Sequence[str]) -> str:
    """Whether our kernels meet the targets of a row, and which do not."""
    verdicts = {name: row["kernels"][name]["met"] for name in ours}
    if missed := [name for name, met in verdicts.items() if met is False]:
        return f"missed: {', '.join(missed)}"
    return "met" if True in verdicts.values() else ""


def summary(rows: Sequence[Mapping[str, Any]], ours: Sequence[str]) -> list[str]:
    """For each of our kernels how many targets are met, and the rows that are not."""
    lines: list[str] = []
    for name in ours:
        judged = [row for row in rows if row["kernels"][name]["met"] is not None]
        missed = [row for row in judged if not row["kernels"][name]["met"]]
        text = f"{name}: {len(judged) - len(missed)} of {len(judged)} rows met"
        if missed:
            text += "; missed: " + "; ".join(missed_text(row, name) for row in missed)
        lines.append(text)
    return lines


def missed_text(row: Mapping[str, Any], name: str) -> str:
    cell = row["kernels"][name]
    if cell["state"] != "ok":
        return f"{row['row']} ({cell['state']})"
    value = value_text(cell["value"], row["unit"]) + (f", {cell['ratio']:.2f} × ipykernel" if cell["ratio"] else "")
    return f"{row['row']} ({value}; target {', '.join(row['targets'])})"
