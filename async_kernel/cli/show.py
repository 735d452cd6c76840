"""`async-kernel profile show`: a profile as YAML, its values with their origins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from async_kernel.cli import render
from async_kernel.cli.options import overrides
from async_kernel.cli.start import tell
from async_kernel.config.profile import Profile, load_profile
from async_kernel.config.written import Line, lines

__all__ = ["show"]


@click.command()
@click.argument("name", metavar="PROFILE")
@click.option("--effective", is_flag=True, help="All values: inherited, from other layers, and the defaults.")
@click.option("--origin", is_flag=True, help="With each value where it came from: the layer, and file:line:column.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="As `run` takes it. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(name: str, effective: bool, origin: bool, sets: tuple[str, ...], as_json: bool) -> int:
    """Print PROFILE (a name or a path) as YAML: its own file, or what it comes to.

    Secrets are hidden: values of keys and variables whose name holds key, token, password or secret.
    """
    from async_kernel.config.secrets import Secrets  # PyYAML costs 12 ms

    profile = load_profile(name, overrides=overrides(sets, {}))
    for warning in profile.warnings:
        tell("", str(warning))
    secrets = Secrets(os.environ)
    found = [*lines(profile, effective=effective, hide=secrets.at)]
    if as_json:
        render.as_json(_facts(profile, found, origin=origin))
    elif origin:
        title = f"{profile.name} ({profile.path})"
        render.tree(title, [(len(line.path), line.text, str(line.origin or "")) for line in found])
    elif effective or sets:
        render.lines([(len(line.path), line.text, "") for line in found])
    else:
        print(secrets.in_yaml(Path(profile.path).read_text("utf-8-sig")).rstrip("\n"))
    return 0


def _facts(profile: Profile, found: Sequence[Line], *, origin: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"name": profile.name, "file": profile.path, "values": _nested(found)}
    if origin:
        result["origins"] = [
            {
                "path": line.path,
                "layer": line.origin.layer,
                "from": line.origin.mark.file,
                "line": line.origin.mark.line or None,
                "column": line.origin.mark.column or None,
            }
            for line in found
            if line.origin
        ]
    return result


def _nested(found: Sequence[Line]) -> dict[str, Any]:
    """The values of the lines as one mapping."""
    result: dict[str, Any] = {}
    for number, line in enumerate(found):
        parent: Any = result
        for part in line.path[:-1]:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        value = line.value
        if line.origin is None:
            value = [] if found[number + 1].text.startswith("-") else {}
        if isinstance(parent, list):
            parent.append(value)
        else:
            parent[line.path[-1]] = value
    return result
