"""`async-kernel list`: the kernelspec variants and the profiles, and whether they fit each other."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import click

from async_kernel import chooser
from async_kernel.cli import render
from async_kernel.config import discovery
from async_kernel.config.problems import ProfileError
from async_kernel.config.profile import Profile, load_profile
from async_kernel.errors import SetupError
from async_kernel.kernelspec import display_name, kernel_dirs, kernel_specs, profile_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["list_kernels", "rows"]

MISSING, CHANGED = "profile missing", "profile changed since install"

_COLUMNS = {
    "name": "name",
    "display_name": "display name",
    "profile": "profile",
    "backend": "backend",
    "transport": "transport",
    "run_modes": "run modes",
    "from": "from",
    "state": "state",
}


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_kernels(as_json: bool) -> int:
    """Kernelspecs and profiles: what they are, where from, and in what state.

    \b
    ok                              the kernelspec fits its profile
    profile changed since install   install it again
    profile missing, faulty         it would not start
    interpreter missing             its Python is gone: install it with another
    not installed                   a profile without a kernelspec of its own
    """
    found = [*rows(os.environ)]
    if as_json:
        render.as_json(found)
    else:
        render.table([{**row, "run_modes": _modes(row["run_modes"])} for row in found], _COLUMNS)
    return 0


def rows(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One row for each kernelspec that Jupyter would use, then one for each profile that has none."""
    known = {name: path for name, path, _ in discovery.profiles(environ)}
    names: set[str] = set()
    for folder in kernel_dirs():
        for path, spec in kernel_specs(folder):
            if path.name.lower() not in names:
                names.add(path.name.lower())
                reference = str(spec["metadata"]["async_kernel"]["profile"])
                known.pop(reference, None)
                yield _spec_row(path, spec, reference, environ)
    for name, path in known.items():
        profile, state = _load(name, environ)
        title = display_name(profile) if profile else ""
        yield _row("-", title, name, profile, path, state or "not installed")


def _spec_row(path: Path, spec: dict[str, Any], reference: str, environ: Mapping[str, str]) -> dict[str, Any]:
    argv = spec.get("argv")
    interpreter = isinstance(argv, list) and argv and shutil.which(str(argv[0]))
    if (names := chooser.offered(spec)) is not None:
        state = _chooser_state(spec, names, environ) if interpreter else "interpreter missing"
        row = _row(path.name, str(spec.get("display_name", "")), "(chooser)", None, str(path), state)
        return {**row, "backend": "-", "transport": "-", "profiles": names}
    profile, state = _load(reference, environ)
    if not interpreter:
        state = "interpreter missing"
    elif profile and spec["metadata"]["async_kernel"].get("digest") != profile_digest(profile):
        state = CHANGED
    return _row(path.name, str(spec.get("display_name", "")), reference, profile, str(path), state or "ok")


def _chooser_state(spec: dict[str, Any], names: list[str], environ: Mapping[str, str]) -> str:
    everywhere = [name for name, _, _ in discovery.profiles(environ)] if chooser.offers_all(spec) else []
    profiles: list[Profile] = []
    for name in dict.fromkeys([*names, *everywhere]):
        profile, state = _load(name, environ)
        if profile is None:
            return f"{state}: {name}" if state == MISSING else state
        profiles.append(profile)
    try:
        digest = chooser.chooser_digest(chooser.offerable(profiles))
    except SetupError:
        digest = ""  # the default can't be offered any more
    return "ok" if digest == spec["metadata"]["async_kernel"].get("digest") else CHANGED


def _load(reference: str, environ: Mapping[str, str]) -> tuple[Profile | None, str]:
    """The profile, or what is the matter with it."""
    if discovery.is_path(reference):
        there = os.path.isfile(reference)
    else:
        there = discovery.find(reference, list(discovery.folders(environ))) is not None
    if not there:
        return None, MISSING
    try:
        return load_profile(reference, environ=environ), ""
    except ProfileError as exc:
        return None, f"profile faulty: {exc.problems[0]}"


def _row(name: str, title: str, reference: str, profile: Profile | None, place: str, state: str) -> dict[str, Any]:
    values: Mapping[str, Any] = profile.values if profile else {}
    return {
        "name": name,
        "display_name": title,
        "profile": reference,
        "backend": values.get("backend", "?"),
        "transport": values.get("transport", "?"),
        "run_modes": values.get("run_modes", {}),
        "from": place,
        "profile_file": profile.path if profile else None,
        "state": state,
    }


def _modes(run_modes: Mapping[str, Mapping[str, str]]) -> str:
    entries = [
        f"{'' if channel == 'shell' else f'{channel}.'}{msg_type}={mode}"
        for channel, table in run_modes.items()
        for msg_type, mode in table.items()
    ]
    return ", ".join(entries) or "default"
