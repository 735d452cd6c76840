"""`async-kernel profile`: list, show, check and begin profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from async_kernel.cli import files, render
from async_kernel.cli.checks import faults
from async_kernel.cli.show import show
from async_kernel.cli.start import FAULT, tell
from async_kernel.config import discovery
from async_kernel.config.json_schema import json_schema
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import load_profile
from async_kernel.config.written import new_profile
from async_kernel.errors import SetupError

__all__ = ["profile"]

SCHEMA_FILE = "profile.schema.json"
_LIST = {"name": "name", "description": "description", "from": "from", "file": "file", "state": "state"}
_PATH = {"folder": "folder", "from": "from", "profiles": "profiles", "state": "state"}


@click.group()
def profile() -> None:
    """List, show, check and begin profiles."""


profile.add_command(show)


@profile.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_profiles(as_json: bool) -> int:
    """The profiles that can be used by name."""
    rows = [_row(name, path, whose) for name, path, whose in discovery.profiles(os.environ)]
    if as_json:
        render.as_json(rows)
    else:
        render.table(rows, _LIST)
    return 0


def _row(name: str, path: str, whose: str) -> dict[str, Any]:
    values: Mapping[str, Any] = {}
    problems: tuple[Problem, ...] = ()
    try:
        values = load_profile(path).values
    except ProfileError as exc:
        problems = exc.problems
    return {
        "name": name,
        "description": values.get("description", ""),
        "backend": values.get("backend"),
        "transport": values.get("transport"),
        "from": whose,
        "file": path,
        "state": f"faulty: {problems[0]}" if problems else "ok",
    }


@profile.command()
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def validate(names: tuple[str, ...], as_json: bool) -> int:
    """Check profiles, each a FILE or a name: what passes here, `run` accepts, and nothing else.

    All faults of all files are told, each with its place. No code is run, a kernel_factory's settings are its business.
    """
    results = {name: _check(name) for name in dict.fromkeys(names)}
    if as_json:
        render.as_json([_result(name, problems) for name, problems in results.items()])
    else:
        for problem in dict.fromkeys(problem for problems in results.values() for problem in problems):
            tell("", str(problem))
        for name, problems in results.items():
            if not any(problem.severity == "error" for problem in problems):
                print(f"ok  {name}")
    every = (problem for problems in results.values() for problem in problems)
    return FAULT if any(problem.severity == "error" for problem in every) else 0


def _check(name: str) -> list[Problem]:
    """All that is wrong with a profile, and what is worth telling of it."""
    try:
        found = load_profile(name)
    except ProfileError as exc:
        return [*exc.problems]
    logo: str = found.values["logo"]
    warnings = [*found.warnings]
    if logo and not os.path.isfile(logo):
        message = f"logo: there is no file {logo!r}: `install` will refuse it"
        warnings.append(Problem(found.origin("logo").mark, message, "warning"))
    return [*faults(found), *warnings]


def _result(name: str, problems: list[Problem]) -> dict[str, Any]:
    return {
        "profile": name,
        "ok": not any(problem.severity == "error" for problem in problems),
        "problems": [
            {
                "file": problem.mark.file,
                "line": problem.mark.line or None,
                "column": problem.mark.column or None,
                "severity": problem.severity,
                "message": problem.message,
            }
            for problem in problems
        ],
    }


@profile.command()
@click.argument("name")
@click.option("--extends", metavar="PROFILE", default="default", show_default=True, help="What to inherit from.")
def new(name: str, extends: str) -> int:
    """Write a new profile NAME into your own folder of profiles, with every key as a comment."""
    if fault := discovery.wrong_name(name):
        raise SetupError(fault)
    if name.endswith(".local"):
        raise SetupError(f"{name!r}: a file {name}{discovery.SUFFIX} changes another profile on this machine")
    parent = load_profile(extends).reference
    folder = discovery.user_folder(os.environ)
    path = os.path.join(folder, name + discovery.SUFFIX)
    if os.path.lexists(path):
        raise SetupError(f"{path} exists: it is not overwritten")
    hidden = next((file for found, file, _ in discovery.profiles(os.environ) if found == name), "")
    files.write(os.path.join(folder, SCHEMA_FILE), render.json_text(json_schema()), replace=True)
    files.write(path, new_profile(parent, SCHEMA_FILE), replace=False)
    print(f"created  {path}")
    if hidden:
        tell("warning", f"it is used in the place of {hidden} from now on")
    print(f"edit it, then: async-kernel install --profile {name}")
    return 0


@profile.command("path")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def search_path(as_json: bool) -> int:
    """The folders in which the name of a profile is looked up, in order, first hit wins."""
    rows = [_folder(folder, whose) for folder, whose in discovery.folders(os.environ).items()]
    rows += [
        {"folder": folder, "from": "trusted", "profiles": 0, "exists": True, "state": f"not searched: {fault}"}
        for folder, fault in discovery.trusted(os.environ)
        if fault
    ]
    if as_json:
        render.as_json(rows)
    else:
        render.table(rows, _PATH)
    return 0


def _folder(folder: str, whose: str) -> dict[str, Any]:
    there = os.path.isdir(folder)
    return {
        "folder": folder,
        "from": whose,
        "profiles": len(discovery.in_folder(folder)),
        "exists": there,
        "state": "ok" if there else "not there",
    }
