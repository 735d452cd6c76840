"""How listings look: rich on a terminal, plain columns elsewhere. The only module that imports rich, and only then."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["as_json", "in_colour", "json_text", "lines", "table", "tree"]


def in_colour() -> bool:
    """Whether stdout is a terminal that may be given colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def as_json(value: Any) -> None:
    """Print `value` as JSON."""
    print(json_text(value), end="")


def json_text(value: Any) -> str:
    """`value` as JSON for people to read."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print `rows`; `columns` maps the keys of a row to headings, in order."""
    cells = [[str(row[key]) for key in columns] for row in rows]
    if in_colour():
        _rich_table(cells, list(columns.values()))
        return
    lines = [[heading.upper() for heading in columns.values()], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(cells: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
    from rich.console import Console  # 60 ms, only where colour is wanted
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "not installed": "dim", "not there": "dim"}
    result = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in cells:
        *others, state = row
        result.add_row(*map(Text, others), Text(state, style=styles.get(state, "red")))
    Console().print(result)


def lines(entries: Sequence[tuple[int, str, str]]) -> None:
    """Print lines of YAML: for each its level (from 1), its text, and a comment or nothing."""
    for level, text, comment in entries:
        print("  " * (level - 1) + text + (f"  # {comment}" if comment else ""))


def tree(title: str, entries: Sequence[tuple[int, str, str]]) -> None:
    """Print lines of YAML as `lines` does; on a terminal as a tree."""
    if not in_colour():
        lines(entries)
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    branches = [Tree(Text(title, style="bold"))]
    for level, text, comment in entries:
        del branches[level:]
        branches.append(branches[-1].add(Text.assemble(text, "  ", (comment, "dim cyan"))))
    Console().print(branches[0])
