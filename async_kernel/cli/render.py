"""How things look: rich on a terminal, plain text elsewhere. The only module that imports rich, and only then."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Lines", "as_json", "checklist", "duration", "in_colour", "printable", "size", "table", "watch"]


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


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


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
    if in_colour():
        from rich.console import Console  # 60 ms, only where colour is wanted

        Console().print(_rich_table(rows, columns))
        return
    cells = [[printable(str(row[key])) for key in columns] for row in rows]
    lines = [[heading.upper() for heading in columns.values()], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def checklist(checks: Sequence[Checked]) -> None:
    """Print the outcome of each check, and the remedy below it."""
    console: Any = None
    if in_colour():
        from rich.console import Console

        console = Console(highlight=False)
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        mark, style = _MARKS[check.state]
        head = f"{mark} " if console else f"{check.state:8}"
        lines = [f"{head}{check.name:{width}}  {printable(check.found)}"]
        lines += [f"{'':{len(head) + width}}  → {printable(check.remedy)}"] if check.remedy else []
        for line in lines:
            if console is None:
                print(line)
            else:
                console.print(line, style=style, markup=False, soft_wrap=True)


class Checked(Protocol):
    """What a checklist shows of a check."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def found(self) -> str: ...
    @property
    def remedy(self) -> str: ...


_MARKS = {"ok": ("✔", "green"), "warning": ("▲", "yellow"), "failed": ("✘", "red"), "unknown": ("?", "yellow")}


def watch(read: Callable[[], Sequence[Mapping[str, Any]]], columns: Mapping[str, str], seconds: float) -> None:
    """Show the rows that `read` returns, again and again every `seconds`, until Ctrl-C."""
    from rich.live import Live

    with Live(_rich_table(read(), columns), auto_refresh=False) as live, contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(seconds)
            live.update(_rich_table(read(), columns), refresh=True)


def _rich_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    result = Table(*columns.values(), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        texts = {key: Text(printable(str(row[key])), overflow="fold") for key in columns}
        if "state" in texts:
            texts["state"].stylize(_STYLES.get(str(row["state"]), "red"))
        result.add_row(*texts.values())
    return result


_STYLES = {
    **dict.fromkeys(("ok", "idle", "running", "stopped"), "green"),
    **dict.fromkeys(("busy", "starting"), "yellow"),
    "not installed": "dim",
}
"""The colours of states; what is not here needs somebody to look at it."""
