"""The folder of a kernelspec: written and removed whole, if this program wrote it, and what in it is the user's.

`kernel.json` holds a marker, and in it a digest of each file that was written. That is no signature: who may write into
the folder could as well remove it. It tells our own files from those that somebody has changed or added.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from async_kernel import folder_swap
from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

__all__ = [
    "MARKER",
    "digest",
    "is_current",
    "obstacle",
    "own_spec",
    "remove_folder",
    "sealed",
    "strangers",
    "write_files",
]

MARKER: Final = "async_kernel"
_SPEC: Final = "kernel.json"
_LITTER: Final = frozenset(("__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"))
"""What programs leave wherever they have been; nobody misses it."""


def digest(*parts: bytes) -> str:
    """A fingerprint of `parts`, in order."""
    result = hashlib.sha256()
    for part in parts:
        result.update(b"%d\0%b" % (len(part), part))
    return result.hexdigest()[:16]


def sealed(spec: Mapping[str, Any], others: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files of a kernelspec, name -> content; in the marker of `spec` there is a digest of each.

    Args:
        spec: The content of `kernel.json`, with a marker.
        others: The other files.
    """
    seals = {_SPEC: _seal(spec), **{name: digest(content) for name, content in others.items()}}
    metadata = {**spec["metadata"], MARKER: {**spec["metadata"][MARKER], "files": seals}}
    text = json.dumps({**spec, "metadata": metadata}, indent=2, ensure_ascii=False)
    return {**others, _SPEC: f"{text}\n".encode()}


def _seal(spec: Mapping[str, Any]) -> str:
    marker = {key: value for key, value in spec["metadata"][MARKER].items() if key != "files"}
    plain = {**spec, "metadata": {**spec["metadata"], MARKER: marker}}
    return digest(json.dumps(plain, sort_keys=True).encode())


def own_spec(folder: Path) -> dict[str, Any] | None:
    """The content of the `kernel.json` in `folder` if this program wrote it.

    Neither the folder nor the file may be a symbolic link: what it leads to is somewhere else.
    """
    path = folder / _SPEC
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode) or not stat.S_ISREG(path.lstat().st_mode):
            return None
        spec = json.loads(path.read_bytes())
        marker = spec["metadata"][MARKER]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # not a kernelspec, or somebody else's
    return spec if isinstance(marker, dict) and isinstance(marker.get("profile"), str) else None


def strangers(folder: Path) -> list[str]:
    """What in `folder`, a kernelspec of ours, is somebody else's: `notes.txt was added`, `kernel.json was changed`.

    Raises:
        OSError: The folder can't be read.
    """
    spec = own_spec(folder) or {"metadata": {MARKER: {}}}
    seals = spec["metadata"][MARKER].get("files")
    if not isinstance(seals, dict):
        return [f"{_SPEC} does not say what was written"]

    def unchanged(path: Path) -> bool:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        return seals[path.name] == (_seal(spec) if path.name == _SPEC else digest(path.read_bytes()))

    words = {True: "changed", False: "added"}
    names = sorted({*os.listdir(folder)} - _LITTER)
    return [f"{name} was {words[name in seals]}" for name in names if name not in seals or not unchanged(folder / name)]


def is_current(target: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the folder `target` holds exactly `files`."""
    try:
        if {*os.listdir(target)} - _LITTER != set(files):
            return False
        return all((target / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def write_files(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Make `target` a kernelspec of `files` (see `sealed`), whole or not at all.

    Raises:
        SetupError: Something foreign is in the way (see `obstacle`), or the folder can't be written.
    """
    if fault := obstacle(target, files, replace=replace):
        raise SetupError(fault)

    def check(moved: Path) -> None:
        if not replace and (fault := _foreign(moved, target)):
            raise SetupError(f"{fault}: choose another --name, or --replace it")

    if not is_current(target, files):
        with _told(target, "written"):
            folder_swap.publish(target, files, check)


@contextmanager
def _told(target: Path, what: str) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        place = f" ({exc.filename})" if exc.filename else ""
        remedy = "; try --user or --prefix DIR" if what == "written" else ""
        raise SetupError(f"{target} can't be {what}: {exc.strerror or exc}{place}{remedy}") from exc


def obstacle(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> str:
    """What keeps `files` from being written to the folder `target`, with the remedy; empty where nothing does."""
    with _told(target, "written"):
        return _obstacle(target, files, replace=replace)


def _obstacle(target: Path, files: Mapping[str, bytes], *, replace: bool) -> str:
    if target.is_symlink():
        return f"{target} is a symbolic link: it is not touched; remove it or choose another --name"
    folders = target.parent.iterdir() if target.parent.is_dir() else ()
    for other in folders:
        # They would be one kernel to Jupyter, which of the two by chance.
        if other.name != target.name and other.name.lower() == target.name.lower() and not other.name.startswith("."):
            return f"Jupyter does not tell {target.name!r} from {other}: choose another --name"
    if replace or not target.exists() or is_current(target, files):
        return ""
    fault = _foreign(target, target)
    return f"{fault}: choose another --name, or --replace it" if fault else ""


def _foreign(folder: Path, target: Path) -> str:
    """What in `folder`, which is or was the kernelspec `target`, this program did not write; empty where nothing is."""
    if own_spec(folder) is None:
        return f"{target} was not written by async-kernel"
    others = strangers(folder)
    return f"{target} is not as async-kernel wrote it ({', '.join(others)})" if others else ""


def remove_folder(target: Path, *, force: bool = False) -> None:
    """Remove the kernelspec in the folder `target`.

    Args:
        target: The folder.
        force: Also remove what others have added to it, or changed there.

    Raises:
        SetupError: It is none of ours, it can't be removed, or there is something of others in it.
    """

    def check(folder: Path) -> None:
        if own_spec(folder) is None:
            raise SetupError(f"{target} was not written by async-kernel: it is not touched")
        if not force and (fault := _foreign(folder, target)):
            raise SetupError(f"{fault}: move away what you want to keep; --force removes the rest")

    with _told(target, "removed"):
        check(target)
        folder_swap.withdraw(target, check)  # out of Jupyter's sight in one step
