"""`async-kernel logs`: what a kernel has written down, and why the last one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from async_kernel.cli import render
from async_kernel.cli.lives import Life, Record, choose, read_lives
from async_kernel.cli.start import tell
from async_kernel.runtime.log_file import SUFFIX, log_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["logs"]

NO = 1
_COLUMNS = {"kernel": "kernel", "pid": "pid", "profile": "profile", "started": "started", "last": "last record",
            "why": "why it ended", "state": "state"}  # fmt: skip


def complete_logs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The kernels that have a log."""
    names = (path.name.removesuffix(SUFFIX) for path in sorted(log_folder().glob(f"*{SUFFIX}")))
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("kernel", required=False, shell_complete=complete_logs)
@click.option("--last", is_flag=True, help="The kernel that ended last, and why.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def logs(kernel: str | None, last: bool, as_json: bool) -> int:
    """A kernel's log, and why the last one ended.

    KERNEL is its connection file, the beginning of that file's name, or its pid. Without one: the kernels that have a
    log, the latest first.
    """
    lives = read_lives(log_folder())
    chosen = choose(lives, kernel) if kernel else lives
    if last:
        chosen = [life for life in chosen if life.state != "running"][:1]
        if not chosen:
            tell("", "no kernel has ended yet that left a log")
            return NO
    whole = bool(kernel or last)
    if as_json:
        render.as_json([{**life.describe(), **({"records": life.records} if whole else {})} for life in chosen])
    elif whole:
        _show(chosen)
    else:
        render.table([life.describe() for life in chosen], _COLUMNS)
    return 0


def _show(lives: Sequence[Life]) -> None:
    for life in reversed(lives):
        for record in life.records:
            said = {} if record.get("event") == "died" else record
            said = {name: value for name, value in said.items() if name not in ("pid", "event", *_SHOWN)}
            facts = ", ".join(f"{name} {value}" for name, value in said.items())
            line = f"{record['time']} {record['level']} {record['message']}{': ' if facts else ''}{facts}"
            print(render.printable(line))
            for text in (*_cells(record), *(record.get(name) for name in _TEXTS)):
                if text:
                    print("    " + render.printable(str(text).rstrip()).replace("\n", "\n    "))
        print(f"{life.kernel} (pid {life.pid}) {life.why or 'is running'}")


_TEXTS = ("traceback", "stack", "raw")
_SHOWN = ("time", "level", "message", *_TEXTS)


def _cells(record: Record) -> Iterator[str]:
    """The cells that ran when a kernel died, or the last one."""
    cells = record.get("cells")
    for cell in cells if isinstance(cells, list) else ():
        if isinstance(cell, dict):
            number = cell.get("count") or " "
            until = f"ended {cell['ended']}" if cell.get("ended") else "ran"
            yield f"In [{number}]: began {cell.get('began')}, {until}, msg_id {cell.get('msg_id')}\n{cell.get('code')}"
