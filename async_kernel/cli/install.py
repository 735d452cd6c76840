"""`async-kernel install`: a kernelspec for each profile, or one to choose from."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, NamedTuple

import click

from async_kernel import chooser
from async_kernel.cli import render
from async_kernel.cli.completion import complete_profiles
from async_kernel.cli.options import kernel_folder, where
from async_kernel.cli.start import lacks, tell
from async_kernel.config import discovery
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import DEFAULT, Profile, load_profile
from async_kernel.errors import SetupError
from async_kernel.kernelspec import get_kernel_dir, kernel_dirs, spec_files, spec_target
from async_kernel.spec_folder import is_current, obstacle, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["install"]

_EXAMPLES = """\b
Examples:
  async-kernel install                                  the profile default, into this environment
  async-kernel install --profile trio --profile fast    two entries in the launcher
  async-kernel install --profile ./mine.yaml --user     a file of your own, for all environments
  async-kernel install --chooser                        one entry, and the profile is chosen at start
  async-kernel install --all --dry-run                  what would change
"""


class Plan(NamedTuple):
    """A kernelspec that is to be written."""

    target: Path
    profile: str
    files: dict[str, bytes]
    warnings: list[str]


@click.command(epilog=_EXAMPLES)
@click.option(
    "--profile",
    "names",
    metavar="PROFILE",
    multiple=True,
    help="A profile's name or path. Repeatable.",
    shell_complete=complete_profiles,
)
@click.option("--all", "every", is_flag=True, help="Every profile that can be found by name.")
@click.option("--chooser", "choose", is_flag=True, help="One kernelspec that offers the profiles (default: all).")
@click.option("--name", metavar="NAME", default="", help="The kernelspec's name. Default: async, or async-PROFILE.")
@click.option("--display-name", metavar="TEXT", default="", help="The name in the launcher.")
@where
@click.option("--dry-run", is_flag=True, help="Write nothing: show what would change.")
@click.option("--replace", is_flag=True, help="Also replace what this program did not write.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
def install(
    names: tuple[str, ...],
    every: bool,
    choose: bool,
    name: str,
    display_name: str,
    user: bool,
    sys_prefix: bool,
    prefix: str | None,
    dry_run: bool,
    replace: bool,
    as_json: bool,
) -> int:
    """Write a kernelspec for each profile, so that Jupyter shows it in the launcher.

    It goes into the environment of this interpreter, unless --user or --prefix says otherwise.

    Each is there whole or not at all. Where one can't be written as asked (a faulty profile, something foreign in its
    place), all the faults are told and none is written. Installing again changes only what has changed.
    """
    folder = kernel_folder(user, sys_prefix, prefix) or get_kernel_dir()
    found = [*names, *(known for known, _, _ in discovery.profiles(os.environ) if every or (choose and not names))]
    if choose:
        plans = [plan_chooser(folder, [DEFAULT, *found], every or not names, name, display_name)]
    else:
        plans = plan_each(folder, found or [DEFAULT], name, display_name)
    if faults := [fault for plan in plans if (fault := obstacle(plan.target, plan.files, replace=replace))]:
        raise SetupError("\n".join(faults))
    rows = [carry_out(plan, dry_run=dry_run, replace=replace, silent=as_json) for plan in plans]
    if as_json:
        render.as_json(rows)
    return 0


def plan_each(folder: Path, names: Iterable[str], name: str, title: str) -> list[Plan]:
    """A kernelspec for each of the profiles `names`."""
    plans: list[Plan] = []

    def plan(profile: Profile) -> None:
        target = spec_target(profile, folder, name)
        plans.append(Plan(target, profile.reference, spec_files(profile, target, title=title), notes(profile, target)))

    profiles = load_all(names, plan)
    if (name or title) and len(profiles) != 1:
        raise click.UsageError("--name and --display-name are for one profile, or for a --chooser")
    targets = [plan.target.name for plan in plans]
    if twice := {target for target in targets if targets.count(target) > 1}:
        raise SetupError(f"two profiles would write the kernelspec {', '.join(sorted(twice))!r}: give one a --name")
    return plans


def plan_chooser(folder: Path, names: Iterable[str], every: bool, name: str, title: str) -> Plan:
    """One kernelspec that offers the profiles `names`."""
    profiles = load_all(names, lambda _: None)
    offered = chooser.offerable(profiles)
    target = spec_target(profiles[0], folder, name or chooser.NAME)
    warnings = [
        f"{target.name} does not offer {profile.name!r}: its provisioner ({profile.origin('provisioner').mark}) "
        "needs a kernelspec of its own"
        for profile in profiles
        if profile not in offered
    ]
    warnings += (note for profile in offered for note in notes(profile, target))
    files = chooser.chooser_files(offered, every=every, title=title)
    return Plan(target, ", ".join(profile.reference for profile in offered), files, warnings)


def notes(profile: Profile, target: Path) -> list[str]:
    """What the user should know, although the kernelspec is written."""
    fault = lacks(profile)
    return [*map(str, profile.warnings), *([f"{target.name} will not start: {fault}"] if fault else [])]


def load_all(names: Iterable[str], use: Callable[[Profile], None]) -> list[Profile]:
    """The profiles of those names, each handed to `use`.

    Raises:
        ProfileError: With the problems of all of them.
    """
    profiles: list[Profile] = []
    problems: list[Problem] = []
    for name in dict.fromkeys(names):
        try:
            profile = load_profile(name)
            use(profile)
        except ProfileError as exc:
            problems += exc.problems
        else:
            profiles.append(profile)
    if problems:
        raise ProfileError(dict.fromkeys(problems))
    return profiles


def carry_out(plan: Plan, *, dry_run: bool, replace: bool, silent: bool) -> dict[str, str]:
    """Write a kernelspec, or only show it; what was done."""
    target, files = plan.target, plan.files
    if is_current(target, files):
        state = "unchanged"
    else:
        state = ("would " if dry_run else "") + ("update" if target.exists() else "install")
        state += "" if dry_run else "d" if state.endswith("e") else "ed"
    if not dry_run:
        write_files(target, files, replace=replace)
    if not silent:
        render.done(state, target.name, target)
        if dry_run and state != "unchanged":
            show_changes(target, files)
    for text in [*plan.warnings, *hidden(target)]:
        tell("warning", text)
    return {"name": target.name, "profile": plan.profile, "path": str(target), "state": state}


def hidden(target: Path) -> list[str]:
    """Says so where Jupyter finds another kernelspec of that name first."""
    folders = kernel_dirs()
    before = folders[: folders.index(target.parent)] if target.parent in folders else []
    found = [str(folder / target.name) for folder in before if (folder / target.name).exists()]
    remedy = "choose another --name, or uninstall that"
    return [f"{target.name} is hidden: Jupyter finds {path} first; {remedy}" for path in found[:1]]


def show_changes(target: Path, files: dict[str, bytes]) -> None:
    """Print what would change in the folder `target`, as a diff of its text files."""
    old = {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} if target.is_dir() else {}
    for name in sorted({*old, *files}):
        path, before, after = target / name, old.get(name), files.get(name)
        if before == after:
            continue
        if name == "kernel.json":
            lines = [(text or b"").decode("utf-8", "replace").splitlines() for text in (before, after)]
            render.diff(difflib.unified_diff(lines[0], lines[1], str(path), str(path), lineterm=""))
        elif after is None:
            print(f"removes {path}")
        else:
            print(f"{'adds' if before is None else 'changes'} {path} ({len(after)} bytes)")
