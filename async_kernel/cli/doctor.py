"""`async-kernel doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from async_kernel.cli import render
from async_kernel.cli.installation import CHECKS, Check
from async_kernel.cli.start import FAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> int:
    """Look for what would keep a kernel from starting.

    Exit code 0: fine; 1: a required check failed; 2: something could not be checked.
    """
    found = [check for group in CHECKS for check in _done(group)]
    if as_json:
        render.as_json([check._asdict() for check in found])
    else:
        render.checklist(found)
    states = {check.state for check in found}
    return 1 if "failed" in states else FAULT if "unknown" in states else 0


def _done(group: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The outcomes of a group of checks; where one can't be done, that is the outcome."""
    try:
        yield from group()
    except OSError as error:
        name = getattr(group, "__name__", "check")
        yield Check(name, "unknown", f"it could not be checked: {error}", "look at the file or folder it names")
