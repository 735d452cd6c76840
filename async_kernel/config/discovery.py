"""The name of a profile -> its file. The working folder is never searched: it may be a stranger's."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from async_kernel.config import trust

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "SAFE_PATH",
    "find",
    "folders",
    "in_folder",
    "is_path",
    "is_projects",
    "local_file",
    "profile_name",
    "profiles",
    "trust_file",
    "trusted",
    "user_folder",
    "wrong_name",
]

SAFE_PATH = "async_kernel:"
"""What our kernelspecs put before the value of PYTHONSAFEPATH. Where that variable is not empty, `python -m` does not
look into the working folder, not even for the modules that it imports before the first line of this package."""

SUFFIX = ".yaml"
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def wrong_name(name: str) -> str:
    """What is wrong with `name` as the name of a profile or kernelspec; empty where nothing is."""
    if name and _ALLOWED.issuperset(name) and not name.startswith((".", "-")) and len(name) <= 100:
        return ""
    return f"{name!r} is not a name: ASCII letters, digits, '-', '_' and '.' are, not beginning with '-' or '.'"


def is_path(text: str) -> bool:
    """Whether `text` means a file rather than a name."""
    return "/" in text or os.sep in text or text.endswith((SUFFIX, ".yml"))


def profile_name(path: str) -> str:
    """The name of the profile in the file `path`."""
    return os.path.splitext(os.path.basename(path))[0]


def is_projects(path: str) -> bool:
    """Whether the file `path` is a project's own profile: its name means it in that project only."""
    return os.path.basename(os.path.dirname(path)) == trust.PROJECT_FOLDER


def local_file(path: str) -> str:
    """The file beside `path` that changes it for this machine only."""
    return f"{os.path.splitext(path)[0]}.local{SUFFIX}"


def builtin_folder() -> str:
    """Where the profiles are that come with this package: inside the wheel, or in a checkout beside the package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside, beside = os.path.join(package, "profiles"), os.path.join(os.path.dirname(package), "profiles")
    in_checkout = os.path.isfile(os.path.join(os.path.dirname(package), "pyproject.toml"))
    return beside if in_checkout and not os.path.isdir(inside) else inside


def _config_folder(environ: Mapping[str, str]) -> str:
    """The user's Jupyter config folder, as `jupyter_core.paths.jupyter_config_dir` finds it (importing that: 25 ms)."""
    if folder := environ.get("JUPYTER_CONFIG_DIR"):
        return folder
    home = os.path.realpath(os.path.expanduser("~"))
    if environ.get("JUPYTER_PLATFORM_DIRS", "0").lower() in ("", "0", "false", "no", "off", "n", "f"):
        return os.path.join(home, ".jupyter")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "Jupyter")
    if sys.platform == "win32":
        return os.path.join(environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "Jupyter")
    return os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "jupyter")


def user_folder(environ: Mapping[str, str]) -> str:
    """The folder of the user's own profiles."""
    return os.path.join(_config_folder(environ), "async-kernel", "profiles")


def trust_file(environ: Mapping[str, str]) -> str:
    """The file with the folders that the user trusts."""
    return os.path.join(_config_folder(environ), "async-kernel", "trusted.json")


def trusted(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """The folders of profiles of the trusted projects that the working folder is in, innermost first.

    Each with what keeps it from being searched all the same; empty where nothing does.
    """
    try:
        known = trust.read(trust_file(environ))
    except trust.TrustFileError as exc:
        return [(trust_file(environ), str(exc))]
    if not known:
        return []
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:
        return []  # the working folder is gone
    around = [folder for folder in known if here == folder or here.startswith(os.path.join(folder, ""))]
    return [(os.path.join(f, trust.PROJECT_FOLDER), trust.fault(f)) for f in sorted(around, key=len, reverse=True)]


def folders(environ: Mapping[str, str]) -> dict[str, str]:
    """The folders that are searched for a name, in order, with a word for each that says whose it is."""
    tail = ("jupyter", "async-kernel", "profiles")
    result = {
        path: "ASYNC_KERNEL_PROFILES" for path in environ.get("ASYNC_KERNEL_PROFILES", "").split(os.pathsep) if path
    }
    for path, fault in trusted(environ):
        if not fault:
            result.setdefault(path, "trusted")
    result.setdefault(user_folder(environ), "user")
    result.setdefault(os.path.join(sys.prefix, "share", *tail), "environment")
    if sys.platform == "win32":
        system = [os.path.join(environ["PROGRAMDATA"], *tail)] if "PROGRAMDATA" in environ else []
    else:
        system = [os.path.join(root, "share", *tail) for root in ("/usr/local", "/usr")]
    for path in system:
        result.setdefault(path, "system")
    result.setdefault(builtin_folder(), "built-in")
    return result


def find(name: str, searched: Sequence[str], not_this: str = "") -> str | None:
    """The first file of that name in the folders `searched` that is not the file `not_this`."""
    for folder in searched:
        path = os.path.join(folder, name + SUFFIX)
        if os.path.isfile(path) and not (not_this and os.path.samefile(path, not_this)):
            return path
    return None


def profiles(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name, file and whose it is of every profile that can be used by name; what is hidden by another is left out."""
    seen: set[str] = set()
    for folder, whose in folders(environ).items():
        for name, path in in_folder(folder):
            if name not in seen:
                seen.add(name)
                yield name, path, whose


def in_folder(folder: str) -> list[tuple[str, str]]:
    """Name and file of every profile in `folder`; none where it does not exist."""
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        return []  # searched places need not exist
    names = [(file.removesuffix(SUFFIX), os.path.join(folder, file)) for file in files if file.endswith(SUFFIX)]
    return [(name, path) for name, path in names if not name.endswith(".local") and not wrong_name(name)]
