"""`async-kernel trust`: let a project's own profiles be found by name."""

from __future__ import annotations

import os

import click

from async_kernel.cli import files, render
from async_kernel.config import discovery
from async_kernel.config import trust as trusting
from async_kernel.errors import SetupError

__all__ = ["trust"]

_COLUMNS = {"folder": "folder", "profiles": "profiles", "state": "state"}


@click.command()
@click.argument("folder", required=False)
@click.option("--list", "listing", is_flag=True, help="List the trusted folders.")
@click.option("--remove", is_flag=True, help="Trust FOLDER no longer.")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def trust(folder: str | None, listing: bool, remove: bool, as_json: bool) -> int:
    """Look up profiles in FOLDER/.async-kernel too, when the working folder is FOLDER or below it.

    A profile can run any code, so trust only what you would run yourself.
    """
    file = discovery.trust_file(os.environ)
    try:
        known = trusting.read(file)
    except trusting.TrustFileError as exc:
        raise SetupError(f"{file}: {exc}: mend or remove it") from exc
    if listing or as_json:
        if folder or remove:
            raise click.UsageError("--list and --json take no folder")
        return _list(known, as_json=as_json)
    if folder is None:
        raise click.UsageError("Missing argument 'FOLDER' (or --list)")
    path = os.path.realpath(os.path.expanduser(folder))
    if remove:
        if path not in known:
            raise SetupError(f"{path} is not trusted")
        files.write(file, trusting.text([each for each in known if each != path]), replace=True, mode=0o600)
        print(f"no longer trusted  {path}")
        return 0
    if fault := trusting.fault(path):
        raise SetupError(f"not trusted: {fault}")
    files.write(file, trusting.text([*{*known, path}]), replace=True, mode=0o600)
    print(f"trusted  {path}")
    print(f"profiles in {trusting.PROJECT_FOLDER}: {', '.join(_profiles(path)) or 'none yet'}")
    return 0


def _profiles(folder: str) -> list[str]:
    return [name for name, _ in discovery.in_folder(os.path.join(folder, trusting.PROJECT_FOLDER))]


def _list(known: list[str], *, as_json: bool) -> int:
    rows = [{"folder": each, "profiles": _profiles(each), "state": trusting.fault(each) or "ok"} for each in known]
    if as_json:
        render.as_json(rows)
    else:
        render.table([{**row, "profiles": ", ".join(row["profiles"]) or "-"} for row in rows], _COLUMNS)
    return 0
