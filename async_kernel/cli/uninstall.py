"""`async-kernel uninstall`: remove kernelspecs that this program wrote."""

from __future__ import annotations

import click

from async_kernel.cli.completion import complete_kernelspecs
from async_kernel.cli.options import kernel_folder, where
from async_kernel.kernelspec import find_kernel_spec, remove_kernel_spec

__all__ = ["uninstall"]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_kernelspecs)
@where
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def uninstall(names: tuple[str, ...], user: bool, sys_prefix: bool, prefix: str | None, yes: bool) -> int:
    """Remove the kernelspecs NAME... Only what this program wrote is removed; profiles stay."""
    folder = kernel_folder(user, sys_prefix, prefix)
    found = {name: find_kernel_spec(name, kernel_dir=folder) for name in names}
    if not yes:
        for path in found.values():
            click.echo(f"  {path}")
        click.confirm(f"Remove {len(found)} kernelspec{'s' if len(found) > 1 else ''}?", abort=True)
    for name, path in found.items():
        remove_kernel_spec(name, kernel_dir=path.parent)
        click.echo(f"removed  {name}  {path}")
    return 0
