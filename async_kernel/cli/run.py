"""`async-kernel run`: start a kernel."""

from __future__ import annotations

from typing import Any

import click

from async_kernel.cli.completion import complete_profiles
from async_kernel.cli.options import overrides, setting_options
from async_kernel.cli.start import run_kernel

__all__ = ["run"]


@click.command()
@click.option(
    "-f",
    "--connection-file",
    "--connection_file",
    metavar="FILE",
    help="Loaded where it exists, else written. Default: a new file in Jupyter's runtime folder.",
)
@click.option(
    "--profile",
    metavar="PROFILE",
    default="default",
    show_default=True,
    help="A profile's name or path.",
    shell_complete=complete_profiles,
)
@setting_options
def run(connection_file: str | None, profile: str, sets: tuple[str, ...], **options: Any) -> int:
    """Start a kernel and run it until it is stopped (Ctrl-C, SIGTERM, or a client's shutdown request)."""
    return run_kernel(profile, connection_file, overrides(sets, options))
