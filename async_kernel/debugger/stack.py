"""Which frames of a stopped thread are the user's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["KERNEL_RULES", "users_frames"]

PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STANDARD_LIBRARY: Final = os.path.dirname(os.path.abspath(os.__file__))
MACHINERY: Final = ("IPython", "traitlets", "debugpy", "_pydevd_bundle", "_pydevd_sys_monitoring", "_pydev_bundle")
"Packages whose frames stand between those of a cell and of what it calls, and say nothing."
LOOPS: Final = ("asyncio", "anyio", "trio", "outcome", "concurrent", "uvloop", "winloop")
"Packages that call the code of a user."
STARTERS: Final = ("threading.py", "runpy.py", "contextlib.py", "selectors.py", "queue.py", "<frozen runpy>")

KERNEL_RULES: Final = [{"path": os.path.join(PACKAGE, "**"), "include": False}]
"What debugpy is told: it does not step into the kernel."


def users_frames(frames: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`frames` (innermost first) without the kernel's and IPython's, and without the loops and threads that call them.

    A loop between two frames of the user's stays: the user runs it.
    """
    left = [frame for frame in frames if not _is_machinery(_path(frame))]
    while left and _is_caller(_path(left[-1])):
        left.pop()
    return left


def _path(frame: Mapping[str, Any]) -> str:
    source = frame.get("source")
    return str(source.get("path") or "") if isinstance(source, dict) else ""


def _parts(path: str) -> list[str]:
    return os.path.normpath(path).split(os.sep)


def _is_machinery(path: str) -> bool:
    if path.startswith(PACKAGE + os.sep):
        return True
    parts = _parts(path)
    return "site-packages" in parts and any(name in parts for name in MACHINERY)


def _is_caller(path: str) -> bool:
    if not path:
        return True
    parts = _parts(path)
    if parts[-1] in STARTERS and (path.startswith(("<", STANDARD_LIBRARY))):
        return True
    in_libraries = "site-packages" in parts or path.startswith(STANDARD_LIBRARY)
    return in_libraries and any(name in parts for name in LOOPS)
