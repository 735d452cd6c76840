"""`async-kernel ps`: the running kernels, and what dead ones have left."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from async_kernel.cli import render
from async_kernel.cli.kernels import Found, find_kernels
from async_kernel.cli.start import tell
from async_kernel.transport import connection_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ps"]

WATCH_SECONDS = 1.0
_COLUMNS = {
    "pid": "pid",
    "profile": "profile",
    "state": "state",
    "uptime": "uptime",
    "memory": "memory",
    "connection_file": "connection file",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--prune", is_flag=True, help="Remove what kernels have left that are certain to be dead.")
def ps(as_json: bool, watch: bool, prune: bool) -> int:
    """Running kernels, and what dead ones have left.

    They are found by the connection files in Jupyter's runtime folder and, on Linux, by the processes of `run -f FILE`;
    each is asked on its control channel. Kernels of other programs are left out.
    """
    if watch and (as_json or prune):
        raise click.UsageError("--watch goes with nothing else")
    if watch and not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal; use --json for programs")
    if watch:
        render.watch(lambda: _rows(find_kernels()), _COLUMNS, WATCH_SECONDS)
        return 0
    found = find_kernels()
    if prune:
        found = [each for each in found if each.state != "stale" or not _prune(each)]
    if as_json:
        render.as_json([each.describe() for each in found])
    else:
        render.table(_rows(found), _COLUMNS)
    return 0


def _rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [_row(each.describe()) for each in found]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "pid": row["pid"] or "?",
        "profile": row["profile"] or "?",
        "uptime": "?" if row["uptime"] is None else render.duration(row["uptime"]),
        "memory": "?" if row["memory"] is None else render.size(row["memory"]),
    }


def _prune(stale: Found) -> bool:
    """Remove what `stale` has left, if it is certain to be dead, and say so on stderr; whether it is gone."""
    why = connection_file.why_kept(stale.file, stale.writer)
    if not why and connection_file.remove_leftovers(stale.file):
        tell("", f"removed  {stale.file}")
        return True
    tell("", f"kept  {stale.file}: {why or 'it could not be removed'}")
    return False
