"""How listings look: rich on a terminal, plain columns elsewhere. The only module that imports rich, and only then."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["as_json", "diff", "done", "in_colour", "json_text", "lines", "table", "tree"]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STATES = {"installed": "green", "updated": "green", "removed": "green", "unchanged": "dim"}


def in_colour() -> bool:
    """Whether stdout is a terminal that may be given colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def as_json(value: Any) -> None:
    """Print `value` as JSON."""
    print(json_text(value), end="")


def json_text(value: Any) -> str:
    """`value` as JSON for people to read."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"


def done(state: str, name: str, place: object) -> None:
    """Print that a step is done, in one line: what was done, to what, where."""
    print(f"{styled(f'{state:<9}', _STATES.get(state, 'yellow'))}  {styled(name, 'bold')}  {place}", flush=True)


def diff(lines: Iterable[str]) -> None:
    """Print the lines of a unified diff, as difflib makes them."""
    for line in lines:
        style = "bold" if line.startswith(("---", "+++")) else {"-": "red", "+": "green", "@": "cyan"}.get(line[:1], "")
        print(styled(line, style))


def styled(text: str, style: str) -> str:
    """`text` in a style, where stdout may be given colour."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and in_colour() else text


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
