"""`async-kernel install`: a kernelspec for each profile."""

from __future__ import annotations

import difflib
import os
import sys
from typing import TYPE_CHECKING

import click

from async_kernel.cli.completion import complete_profiles
from async_kernel.cli.options import kernel_folder, where
from async_kernel.cli.start import lacks, tell
from async_kernel.config import discovery
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import Profile, load_profile
from async_kernel.errors import SetupError
from async_kernel.kernelspec import get_kernel_dir, is_current, spec_files, write_kernel_spec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["install"]


@click.command()
@click.option(
    "--profile",
    "names",
    metavar="PROFILE",
    multiple=True,
    help="A profile's name or path. Repeatable.",
    shell_complete=complete_profiles,
)
@click.option("--all", "every", is_flag=True, help="Every profile that can be found by name.")
@click.option("--name", metavar="NAME", default="", help="The kernelspec's name. Default: async, or async-PROFILE.")
@click.option("--display-name", metavar="TEXT", default="", help="The name in the launcher.")
@where
@click.option("--dry-run", is_flag=True, help="Write nothing: show what would change.")
@click.option("--replace", is_flag=True, help="Also replace a kernelspec that this program did not write.")
def install(
    names: tuple[str, ...],
    every: bool,
    name: str,
    display_name: str,
    user: bool,
    sys_prefix: bool,
    prefix: str | None,
    dry_run: bool,
    replace: bool,
) -> int:
    """Write a kernelspec for each profile, so that Jupyter shows it in the launcher."""
    folder = kernel_folder(user, sys_prefix, prefix) or get_kernel_dir()
    profiles = load_all([*names, *(found for found, _, _ in discovery.profiles(os.environ) if every)] or ["default"])
    if (name or display_name) and len(profiles) != 1:
        raise click.UsageError("--name and --display-name are for one profile")
    targets = [name or profile.spec_name for profile in profiles]
    if twice := {target for target in targets if targets.count(target) > 1}:
        raise SetupError(f"two profiles would write the kernelspec {', '.join(sorted(twice))!r}: give one a --name")
    for profile in profiles:
        if dry_run:
            show_changes(profile, folder / (name or profile.spec_name), display_name)
        else:
            before = spec_files(profile, folder, title=display_name)
            same = is_current(folder / (name or profile.spec_name), before)
            path = write_kernel_spec(profile, kernel_dir=folder, name=name, title=display_name, replace=replace)
            print(f"{'unchanged' if same else 'installed'}  {path.name}  {path}")
        if fault := lacks(profile):
            tell("warning", f"{profile.spec_name} will not start: {fault}")
    return 0


def load_all(names: list[str]) -> list[Profile]:
    """The profiles of those names.

    Raises:
        ProfileError: With the problems of all of them.
    """
    profiles: list[Profile] = []
    problems: list[Problem] = []
    for name in dict.fromkeys(names):
        try:
            profiles.append(load_profile(name))
        except ProfileError as exc:
            problems += exc.problems
    if problems:
        raise ProfileError(dict.fromkeys(problems))
    return profiles


def show_changes(profile: Profile, target: Path, title: str) -> None:
    """Print what `install` would change in the folder `target`, as a diff of its text files."""
    files = spec_files(profile, target, title=title)
    if is_current(target, files):
        print(f"unchanged  {target.name}  {target}")
        return
    print(f"would install  {target.name}  {target}")
    for name, content in files.items():
        path = target / name
        old = path.read_bytes() if path.is_file() else b""
        if old != content and name == "kernel.json":
            before, after = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in (old, content))
            sys.stdout.writelines(difflib.unified_diff(before, after, str(path), str(path)))
        elif old != content:
            print(f"{'changes' if old else 'adds'} {path} ({len(content)} bytes)")
