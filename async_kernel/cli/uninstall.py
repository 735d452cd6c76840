"""`async-kernel uninstall`: remove kernelspecs that this program wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from async_kernel.cli import render
from async_kernel.cli.completion import complete_kernelspecs
from async_kernel.cli.options import kernel_folder, where
from async_kernel.cli.start import tell
from async_kernel.errors import SetupError
from async_kernel.kernelspec import find_kernel_spec, kernel_dirs, remove_kernel_spec
from async_kernel.spec_folder import strangers

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["uninstall"]

_EXAMPLES = """\b
Examples:
  async-kernel uninstall async-trio
  async-kernel uninstall async async-trio --user --yes
"""


@click.command(epilog=_EXAMPLES)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_kernelspecs)
@where
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@click.option("--force", is_flag=True, help="Also remove files that others have added or changed there.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON; asks nothing, so it needs --yes.")
def uninstall(
    names: tuple[str, ...], user: bool, sys_prefix: bool, prefix: str | None, yes: bool, force: bool, as_json: bool
) -> int:
    """Remove the kernelspecs NAME... Only what this program wrote is removed; profiles stay.

    Where no place is given, each is the one that Jupyter would start. Where one of them can't be removed (it is
    somebody else's, or there are files that somebody has added or changed), that is told and all stay.
    """
    if as_json and not yes:
        raise click.UsageError("--json needs --yes")
    folder = kernel_folder(user, sys_prefix, prefix)
    found = {name: find_kernel_spec(name, kernel_dir=folder) for name in names}
    others = {path: lost for path in found.values() if (lost := added(path))}
    if others and not force:
        lines = [f"{path} is not as async-kernel wrote it: {', '.join(lost)}" for path, lost in others.items()]
        raise SetupError("\n".join([*lines, "nothing was removed: move away what you want to keep, or give --force"]))
    if not yes:
        for path in found.values():
            click.echo("\n    ".join([f"  {path}", *others.get(path, ())]))
        click.confirm(f"Remove {len(found)} kernelspec{'s' if len(found) > 1 else ''}?", abort=True)
    for name, path in found.items():
        remove_kernel_spec(name, kernel_dir=path.parent, force=force)
        if not as_json:
            render.done("removed", name, path)
        for other in kernel_dirs() if folder is None else ():
            if (other / name).exists():
                tell("warning", f"there is another {name}, which Jupyter finds now: {other / name}")
    if as_json:
        render.as_json([{"name": name, "path": str(path), "state": "removed"} for name, path in found.items()])
    return 0


def added(path: Path) -> list[str]:
    """What somebody has added or changed in the kernelspec `path`, in words.

    Raises:
        SetupError: It can't be read.
    """
    try:
        return strangers(path)
    except OSError as exc:
        raise SetupError(f"{path} can't be read: {exc.strerror or exc} ({exc.filename})") from exc
