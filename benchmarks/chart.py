"""Draw the ratios to ipykernel of one run as an SVG picture for the documentation.

python -m benchmarks.chart RESULTS.json docs/benchmarks.svg [--summary benchmarks/summary.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

INK = "#808080"
"Of text and lines: it can be read on white and on black, as the bars' colours can; the ground is transparent."
COLOURS = {
    "async-kernel 0.23": "#3f83d8",
    "xeus-python": "#a067d0",
    "limit": "#9a9a9a",
    "default": "#e0672a",
    "trio": "#d9a400",
    "fast": "#2f9e62",
}
INCHES, WIDTH, SIZE = 0.42, 9.0, 8
"Height of a row, width of the picture, points of the text."
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "benchmarks",  # the same data make the same file
    "font.size": SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


class Group(NamedTuple):
    """One row of the table: for each kernel how it compares with ipykernel, less being better."""

    title: str
    ratios: dict[str, float | None]
    "None: it fails. A kernel that does not claim to do this is not among them."
    target: float | None


def groups(results: Mapping[str, Any]) -> list[Group]:
    """The rows that have ratios. Those of rates are turned round, so that less is better in all of them."""
    found: list[Group] = []
    for row in results["rows"]:
        ratios: dict[str, float | None] = {}
        for name, cell in row["kernels"].items():
            if cell["state"] == "fails":
                ratios[name] = None
            elif cell["ratio"] is not None:
                ratios[name] = 1 / cell["ratio"] if row["rate"] else cell["ratio"]
        bound = 1 / row["bound"] if row["bound"] and row["rate"] else row["bound"]
        if any(ratios.values()):
            found.append(Group(row["row"].replace("`", ""), {**ratios}, bound))
    return found


def chart(results: Mapping[str, Any], path: Path) -> None:
    """Write the picture of `results` to `path`."""
    rows = groups(results)
    names = [name for name in COLOURS if name in results["kernels"]]
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, INCHES * len(rows) + 1.2), layout="constrained")
        axes = figure.subplots()
        ratios = [1.7, *(ratio for row in rows for ratio in row.ratios.values() if ratio)]
        axes.set_xscale("log")
        axes.set_xlim(max(min(ratios) * 0.8, 0.005), max(ratios) * 1.2)
        for place, row in enumerate(rows):
            draw(axes, place, row, names)
        decorate(axes, rows, names)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def draw(axes: Axes, place: int, row: Group, names: Sequence[str]) -> None:
    """The bars of one row, each from ipykernel's line at 1 to its ratio; its target as a stroke across them."""
    thickness = 0.84 / len(names)
    floor = axes.get_xlim()[0]
    for number, name in enumerate(names):
        y = place - 0.42 + thickness * (number + 0.5)
        ratio = row.ratios.get(name, 0.0)
        if ratio is None:
            axes.plot(1.12, y, marker="x", markersize=3, color=COLOURS[name])
        elif name in row.ratios:
            axes.barh(y, max(ratio, floor) - 1, thickness * 0.85, left=1, color=COLOURS[name])
    if row.target:
        axes.plot([row.target] * 2, [place - 0.44, place + 0.44], color=INK, linewidth=1.5)


def decorate(axes: Axes, rows: Sequence[Group], names: Sequence[str]) -> None:
    """Names of rows, the line of ipykernel, the legend."""
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(1, color=INK, linewidth=1)
    axes.grid(visible=True, axis="x", color=INK, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xticks([tick for tick in TICKS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("time, memory or 1 ÷ rate, as a multiple of ipykernel's: left of the line is better")
    for side in axes.spines.values():
        side.set_visible(False)
    handles: list[Any] = [Patch(color=COLOURS[name], label=name) for name in names]
    handles += [
        Line2D([], [], color=INK, linewidth=1.5, label="target"),
        Line2D([], [], color=INK, marker="x", markersize=3, linestyle="", label="fails"),
    ]
    axes.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(handles), frameon=False, fontsize=SIZE
    )


TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.chart", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("results", type=Path, help="a file of benchmarks/results/, or a summary")
    parser.add_argument("picture", type=Path, help="the SVG file to write")
    parser.add_argument("--summary", type=Path, help="also write the results without each round's values")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(options.results.read_text("utf-8"))
    if not groups(results):
        parser.error(f"{options.results} has no row with a ratio to ipykernel: there is nothing to draw")
    chart(results, options.picture)
    if options.summary:
        kept = {name: value for name, value in results.items() if name not in ("samples", "failures", "attempts")}
        options.summary.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
