"""How things look: rich on a terminal, plain text elsewhere. The only module that imports rich, and only then."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "Lines",
    "as_json",
    "checklist",
    "diff",
    "done",
    "duration",
    "in_colour",
    "json_text",
    "lines",
    "printable",
    "size",
    "table",
    "tree",
    "watch",
]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_DONE = {"installed": "green", "updated": "green", "removed": "green", "unchanged": "dim"}
_STATES = {
    **dict.fromkeys(("ok", "idle", "running", "stopped"), "green"),
    **dict.fromkeys(("busy", "starting"), "yellow"),
    **dict.fromkeys(("not installed", "not there"), "dim"),
}
"""The colours of states; what is not here needs somebody to look at it."""


def in_colour(stream: TextIO | None = None) -> bool:
    """Whether `stream`, by default stdout, is a terminal that may be given colour (https://no-color.org)."""
    terminal = (stream or sys.stdout).isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_json(value: Any) -> None:
    """Print `value` as JSON."""
    print(json_text(value), end="")


def json_text(value: Any) -> str:
    """`value` as JSON for people to read."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"


def done(state: str, name: str, place: object) -> None:
    """Print that a step is done, in one line: what was done, to what, where."""
    print(f"{styled(f'{state:<9}', _DONE.get(state, 'yellow'))}  {styled(name, 'bold')}  {place}", flush=True)


def diff(lines: Iterable[str]) -> None:
    """Print the lines of a unified diff, as difflib makes them."""
    for line in lines:
        style = "bold" if line.startswith(("---", "+++")) else {"-": "red", "+": "green", "@": "cyan"}.get(line[:1], "")
        print(styled(line, style))


def styled(text: str, style: str) -> str:
    """`text` in a style, where stdout may be given colour."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and in_colour() else text


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
            texts["state"].stylize(_STATES.get(str(row["state"]), "red"))
        result.add_row(*texts.values())
    return result


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
