"""`async-kernel run`: start a kernel."""

from __future__ import annotations

from typing import Any

import click

from async_kernel.cli.completion import complete_profiles
from async_kernel.cli.options import overrides, setting_options
from async_kernel.cli.start import run_kernel
from async_kernel.config.profile import load_profile

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
@click.option("--check", "checked", is_flag=True, help="Start one, execute, interrupt, shut it down, and report.")
@setting_options
def run(connection_file: str | None, profile: str, sets: tuple[str, ...], checked: bool, **options: Any) -> int:
    """Start a kernel and run it until it is stopped (Ctrl-C, SIGTERM, or a client's shutdown request).

    With --check the exit code is 0 where all went well, else 1.
    """
    said = overrides(sets, options)
    if not checked:
        return run_kernel(profile, connection_file, said)
    if connection_file is not None:
        raise click.UsageError("--check makes a connection file of its own: leave -f out")
    load_profile(profile, overrides=said)  # Its faults are told as those of every other command.
    from async_kernel.cli.check import check  # only here: subprocess, and Jupyter's client

    return check(profile, said)
