"""The chart of the documentation can be drawn anew from the results that are kept beside the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import chart
from benchmarks.rows import ROWS

ROOT = Path(__file__).parents[2]
SUMMARY = ROOT / "benchmarks" / "summary.json"


@pytest.mark.slow
def test_the_chart_is_drawn_from_the_results_that_are_kept(tmp_path: Path) -> None:
    results: dict[str, Any] = json.loads(SUMMARY.read_text("utf-8"))
    picture, summary = tmp_path / "chart.svg", tmp_path / "summary.json"
    chart.main([str(SUMMARY), str(picture), "--summary", str(summary)])
    assert json.loads(summary.read_text("utf-8")) == results
    texts = {each.text for each in ElementTree.parse(picture).iter() if each.tag.endswith("}text")}
    assert texts >= {group.title for group in chart.groups(results)}
    assert texts >= {name for name in results["kernels"] if name != "ipykernel"}
    assert {row["row"] for row in results["rows"]} <= {row.title for row in ROWS}, "run `make bench` again"


def test_less_is_better_in_every_row() -> None:
    def row(title: str, *, rate: bool, bound: float, state: str, ratio: float | None) -> dict[str, Any]:
        cell = {"state": state, "ratio": ratio}
        return {
            "row": title,
            "rate": rate,
            "bound": bound,
            "kernels": {"limit": cell, "default": {**cell, "state": "ok"}},
        }

    rows = [
        row("`a`", rate=False, bound=0.5, state="ok", ratio=0.25),
        row("b", rate=True, bound=8, state="fails", ratio=4.0),
        row("c", rate=False, bound=1, state="fails", ratio=None),
    ]
    assert chart.groups({"rows": rows}) == [
        chart.Group("a", {"limit": 0.25, "default": 0.25}, 0.5),
        chart.Group("b", {"limit": None, "default": 0.25}, 0.125),
    ]
