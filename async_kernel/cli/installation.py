"""What can be wrong with an installation, one function for each thing to look at."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir, jupyter_runtime_dir

from async_kernel.cli.list import rows
from async_kernel.kernelspec import kernel_dirs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["CHECKS", "Check"]

OPTIONAL: Final = ("uvloop", "trio")
"Extras, and what a user of the kernel may want of them."
LONGEST_SOCKET: Final = 102
"Bytes of the path of a socket beside the connection file: a longer one is made in the folder for temporary files."


class Check(NamedTuple):
    """The outcome of one check."""

    name: str
    state: str
    "ok, warning, failed, or unknown: it could not be checked."
    found: str
    remedy: str = ""


class Requirement(NamedTuple):
    """A line of this package's own metadata, as far as it is needed: `name>=1.2; extra == "trio"`."""

    name: str
    least: str
    extra: str

    @classmethod
    def parse(cls, text: str) -> Requirement | None:
        """None where the line says something else, or is for another system."""
        wanted, _, marker = text.partition(";")
        found = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([0-9.]+))?", wanted.strip())
        platform = re.search(r"sys_platform\s*(==|!=)\s*[\"'](\w+)[\"']", marker)
        if found is None or (platform and (sys.platform == platform[2]) is not (platform[1] == "==")):
            return None
        extra = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", marker)
        return cls(found[1], found[2] or "", extra[1] if extra else "")


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: all that `>=` of ours needs."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def python() -> Iterator[Check]:
    """The interpreter against `Requires-Python`."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        needed = metadata.metadata("async_kernel")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        yield Check(
            "python", "unknown", "async_kernel is not installed here: it has no metadata", _install("async_kernel")
        )
        return
    fits = sys.version_info[:3] >= _numbers(needed.removeprefix(">="))
    found = f"{version} ({sys.executable}), needs {needed}"
    yield Check("python", "ok" if fits else "failed", found, "" if fits else f"use a Python {needed}")


def dependencies() -> Iterator[Check]:
    """Every package that is needed, and the optional ones, with their versions."""
    try:
        lines = metadata.requires("async_kernel") or []
    except metadata.PackageNotFoundError:
        return  # told by `python`
    for each in filter(None, map(Requirement.parse, lines)):
        if each.extra and not (each.extra in OPTIONAL and each.name in (*OPTIONAL, "winloop")):
            continue
        yield _dependency(each)


def _dependency(each: Requirement) -> Check:
    needs = f"{each.name}>={each.least}" if each.least else each.name
    remedy = _install(needs)
    try:
        version = metadata.version(each.name)
    except metadata.PackageNotFoundError:
        if each.extra:
            return Check(each.name, "ok", f"not installed; optional: {remedy}")
        return Check(each.name, "failed", f"not installed, needs {needs}", remedy)
    if _numbers(version) >= _numbers(each.least):
        return Check(each.name, "ok", version)
    return Check(each.name, "warning" if each.extra else "failed", f"{version}, needs {needs}", remedy)


def _install(what: str) -> str:
    return f"{sys.executable} -m pip install {what!r}"


def folders() -> Iterator[Check]:
    """Jupyter's folders: there or to be made, ours, and closed to others where that matters."""
    for name, path, variable in (
        ("runtime folder", jupyter_runtime_dir(), "JUPYTER_RUNTIME_DIR"),
        ("config folder", jupyter_config_dir(), "JUPYTER_CONFIG_DIR"),
        ("data folder", jupyter_data_dir(), "JUPYTER_DATA_DIR"),
    ):
        yield _folder(name, Path(path), variable)


def _folder(name: str, path: Path, variable: str) -> Check:
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir():
        return Check(name, "failed", f"{path}: {there} is no folder", f"move {there} away, or set {variable}")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(name, "failed", f"{path}: {there} can't be written to", f"set {variable} to a folder of your own")
    if there != path:
        return Check(name, "ok", f"{path}, will be made")
    status = path.stat()
    if os.name == "posix" and status.st_uid != os.geteuid() and os.geteuid() != 0:
        return Check(name, "failed", f"{path} belongs to another user", f"set {variable} to a folder of your own")
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Check(name, "warning", f"{path} can be written to by others", f"chmod go-w {path}")
    return Check(name, "ok", str(path))


def kernelspecs() -> Iterator[Check]:
    """What Jupyter, JupyterLab and VS Code would say to each kernelspec of ours."""
    found = [row for row in rows(os.environ) if row["name"] != "-"]
    if not found:
        yield Check("kernelspecs", "warning", "none is installed", "async-kernel install")
    titles = Counter(_titles())
    for row in found:
        yield from _kernelspec(row, titles)


def _kernelspec(row: dict[str, Any], titles: Counter[str]) -> list[Check]:
    name, folder, title = f"kernelspec {row['name']}", Path(row["from"]), row["display_name"]
    again = f"async-kernel install --profile {row['profile']} --name {row['name']}"
    found: list[Check] = []
    if row["state"] != "ok":
        ours = row["state"] in ("profile changed since install", "interpreter missing")
        remedy = again if ours else f"mend the profile {row['profile']}, or async-kernel uninstall {row['name']}"
        state = "warning" if row["state"] == "profile changed since install" else "failed"
        found.append(Check(name, state, f"{row['state']} ({folder})", remedy))
    if fault := refused(json.loads((folder / "kernel.json").read_bytes()).get("argv")):
        found.append(Check(name, "failed", f"{fault} ({folder})", again))
    if not any(folder.glob("logo-*")):
        found.append(Check(name, "warning", f"it has no logo ({folder})", again))
    if titles[title] > 1:
        text = f"another kernel in the launcher is called {title!r} too"
        found.append(Check(name, "warning", text, f"{again} --display-name NAME"))
    return found or [Check(name, "ok", f"{title} ({folder})")]


def refused(argv: Any) -> str:
    """Why a frontend would not start a kernel with this `argv`; empty where all would."""
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        return "argv is no list of words"
    if "{connection_file}" not in argv:
        return "argv does not have {connection_file} as an argument of its own, which VS Code needs"
    if argv[1:3] != ["-m", "async_kernel"]:
        return "argv does not begin with `python -m async_kernel`, which VS Code needs"
    return "" if os.path.isabs(argv[0]) or shutil.which(str(argv[0])) else f"there is no interpreter {argv[0]}"


def _titles() -> Iterator[str]:
    """The display name of every kernelspec that the launcher shows, other programs' too."""
    names: set[str] = set()
    for path in (path for folder in kernel_dirs() for path in sorted(folder.glob("*/kernel.json"))):
        if path.parent.name.lower() in names:
            continue  # hidden by one of the same name
        names.add(path.parent.name.lower())
        try:
            yield str(json.loads(path.read_bytes())["display_name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another program's fault


def ports() -> Iterator[Check]:
    """Whether a kernel could listen, on tcp and on ipc."""
    try:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        yield Check("tcp", "ok", "ports of 127.0.0.1 can be bound")
    except OSError as error:
        yield Check("tcp", "failed", f"no port of 127.0.0.1 can be bound: {error.strerror}", "use the transport ipc")
    if os.name != "posix":
        return
    path = os.path.join(jupyter_runtime_dir(), f"kernel-{'0' * 32}-ipc", "channel-5")
    if (size := len(os.fsencode(path))) <= LONGEST_SOCKET:
        yield Check("ipc", "ok", f"the paths of the sockets fit ({size} of {LONGEST_SOCKET} bytes)")
    else:
        found = f"the runtime folder's path is long ({size} of {LONGEST_SOCKET} bytes for a socket): they go elsewhere"
        yield Check("ipc", "warning", found, "set JUPYTER_RUNTIME_DIR to a shorter path")


CHECKS: Final[Sequence[Callable[[], Iterator[Check]]]] = (python, dependencies, folders, kernelspecs, ports)
"""In the order in which they are told."""
