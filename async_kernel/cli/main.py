"""The command tree.

Exit codes: 0 done, 1 no (declined, or a check failed), 2 not possible as asked, 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from async_kernel import __version__
from async_kernel.cli.install import install
from async_kernel.cli.later import Later
from async_kernel.cli.list import list_kernels
from async_kernel.cli.profile import profile
from async_kernel.cli.run import run
from async_kernel.cli.schema import schema
from async_kernel.cli.start import guarded
from async_kernel.cli.trust import trust
from async_kernel.cli.uninstall import uninstall

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="async-kernel")
def cli() -> None:
    """A Jupyter kernel for Python that is concurrent, fast and configured by YAML profiles."""


for _command in (run, install, uninstall, list_kernels, profile, schema, trust):
    cli.add_command(_command)


def _logs() -> click.Command:
    from async_kernel.cli.logs import logs

    return logs


def _doctor() -> click.Command:
    from async_kernel.cli.doctor import doctor

    return doctor


def _ps() -> click.Command:
    from async_kernel.cli.ps import ps

    return ps


for _later in (
    Later("doctor", "Look for what would keep a kernel from starting.", _doctor),
    Later("logs", "A kernel's log, and why the last one ended.", _logs),
    Later("ps", "Running kernels, and what dead ones have left.", _ps),
):
    cli.add_command(_later)


def main(argv: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    return guarded(lambda: _invoke(argv))


def _invoke(argv: Sequence[str]) -> int:
    try:
        return cli.main(args=list(argv), prog_name="async-kernel", standalone_mode=False) or 0
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort as exc:
        if isinstance(exc.__cause__ or exc.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from exc
        click.echo("Aborted: nothing was changed.", err=True)
        return 1
