"""`%pip` and `%uv`: the installer of this interpreter, and what a change of packages means for what is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Final

from IPython.core.error import UsageError

__all__ = ["Loaded", "pip_command", "uv_command"]

SHOWN: Final = 8
"How many names of modules a note has."


def pip_command(line: str) -> str:
    """The command for `%pip LINE`.

    Raises:
        UsageError: This interpreter has no pip.
    """
    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            f"%pip: {sys.executable} has no pip: install it with `!{{sys.executable}} -m ensurepip`, "
            "or use %uv pip, where uv is installed"
        )
    # Nobody can be asked: the command's stdin is closed.
    line = re.sub(r"^(\s*uninstall)(?!.*(?:^|\s)(?:-y|--yes)(?:\s|$))", r"\1 --yes", line)
    return f"{_quoted(sys.executable)} -m pip {line}"


def uv_command(line: str) -> str:
    """The command for `%uv LINE`; uv is this interpreter's, or what is on the PATH.

    Raises:
        UsageError: There is none.
    """
    if importlib.util.find_spec("uv") is not None:
        return f"{_quoted(sys.executable)} -m uv {line}"
    beside = shutil.which("uv", path=os.path.dirname(sys.executable))
    if (program := beside or shutil.which("uv")) is None:
        raise UsageError(
            f"%uv: there is no uv, neither in {sys.executable} nor on the PATH: install it with `%pip install uv`"
        )
    return f"{_quoted(program)} {line}"


UV_ENVIRONMENT: Final = "UV_PYTHON"
"The variable that tells uv which interpreter it works for."


def _quoted(program: str) -> str:
    return subprocess.list2cmdline([program]) if sys.platform == "win32" else shlex.quote(program)


class Loaded:
    """The files of the packages that are loaded, as they are now."""

    def __init__(self) -> None:
        self._before = _files()

    def changed(self) -> list[str]:
        """The names of those whose files have changed since; what is new can be imported."""
        importlib.invalidate_caches()
        return sorted(name for name, (path, state) in self._before.items() if _state(path) != state)

    def note(self) -> str:
        """What the user has to know of it; empty where that is nothing."""
        names = self.changed()
        if not names:
            return ""
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        return f"Note: restart the kernel to use the new files of what is loaded already: {shown}"


def _files() -> dict[str, tuple[str, object]]:
    files = (
        (name, getattr(module, "__file__", None)) for name, module in sys.modules.copy().items() if "." not in name
    )
    return {name: (path, _state(path)) for name, path in files if isinstance(path, str)}


def _state(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
