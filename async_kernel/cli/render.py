"""How things look: rich on a terminal, plain text elsewhere. The only module that imports rich, and only then."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Lines", "as_json", "duration", "in_colour", "printable", "table"]


def in_colour(stream: TextIO | None = None) -> bool:
    """Whether `stream`, by default stdout, is a terminal that may be given colour (https://no-color.org)."""
    terminal = (stream or sys.stdout).isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_json(value: Any) -> None:
    """Print `value` as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def printable(text: str) -> str:
    """`text` without what a terminal would obey: who writes it is not always who reads it."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if not hours:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"


class Lines:
    """Lines on a stream that is not stdout, in colour where that is a terminal.

    Args:
        stream: The stream.

    Raises (each method): OSError: The stream takes nothing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console: Any = None
        if in_colour(stream):
            from rich.console import Console

            self._console = Console(file=stream, highlight=False)

    def line(self, text: str, style: str) -> None:
        """One line; `style` is rich's."""
        text = f"async-kernel: {printable(text)}"
        if self._console is None:
            print(text, file=self._stream, flush=True)
        else:
            self._console.print(text, style=style or None, markup=False, soft_wrap=True)

    def panel(self, title: str, rows: Mapping[str, str], *, plain: Sequence[str]) -> None:
        """A panel of `rows`; where there is no colour, the lines `plain`."""
        if self._console is None:
            for text in plain:
                self.line(text, "")
            return
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid("", "", padding=(0, 2))
        for name, value in rows.items():
            grid.add_row(Text(name, style="dim"), Text(printable(value), overflow="fold"))
        self._console.print(Panel(grid, title=title, title_align="left", border_style="green", expand=False))


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

    styles = {"ok": "green", "not installed": "dim"}
    result = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in cells:
        *others, state = row
        result.add_row(*map(Text, others), Text(state, style=styles.get(state, "red")))
    Console().print(result)
