"""The folders whose `.async-kernel/` the user trusts: a project's own profiles, found by name below the project."""

from __future__ import annotations

import os
import stat

__all__ = ["PROJECT_FOLDER", "TrustFileError", "fault", "read", "text"]

PROJECT_FOLDER = ".async-kernel"
"""Where the profiles of a project are, in its folder."""


class TrustFileError(Exception):
    """The file with the trusted folders can't be used."""


def read(file: str) -> list[str]:
    """The trusted folders, real paths, as `file` has them; none where it does not exist.

    Raises:
        TrustFileError: It can't be read, is not what it should be, or somebody else can have written it.
    """
    try:
        handle = open(file, encoding="utf-8")  # noqa: SIM115 - most users have none, and nothing more is done for them
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise TrustFileError(f"can't be read: {exc.strerror}") from exc
    import json  # 2 ms, only where there is such a file

    with handle:
        if owned := _fault(os.fstat(handle.fileno())):
            raise TrustFileError(owned)
        try:
            folders = json.load(handle)["folders"]
        except (ValueError, TypeError, KeyError) as exc:
            raise TrustFileError(f'expected {{"folders": ["/a/path", …]}}: {exc}') from exc
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise TrustFileError('expected {"folders": ["/a/path", …]}')
    return folders


def text(folders: list[str]) -> str:
    """What the file holds for these folders."""
    import json

    return f"{json.dumps({'folders': sorted(folders)}, indent=2, ensure_ascii=False)}\n"


def fault(folder: str) -> str:
    """Why nothing in `folder` can be trusted; empty where it can."""
    for path in (folder, os.path.join(folder, PROJECT_FOLDER)):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if path != folder:
                continue  # it may be made later
            return f"there is no folder {path!r}"
        except OSError as exc:
            return f"{path!r} can't be read: {exc.strerror}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{path!r} is not a folder"
        if owned := _fault(found):
            return f"{path!r}: {owned}"
    return ""


def _fault(found: os.stat_result) -> str:
    if os.name != "posix":
        return ""
    if found.st_uid != os.getuid():
        return "it belongs to another user"
    return "everybody can write to it" if found.st_mode & stat.S_IWOTH else ""
