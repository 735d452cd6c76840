"""What making a shell changes in the process, to put it back."""

from __future__ import annotations

import builtins
import os
import sys
from typing import Any, Final

__all__ = ["ENVIRONMENT", "ProcessState"]

ENVIRONMENT: Final = {
    # Programs that cells start may use colours, but there is no terminal to page in.
    "TERM": "xterm-color",
    "CLICOLOR": "1",
    "FORCE_COLOR": "1",
    "CLICOLOR_FORCE": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
}
"""What the environment of the cells says, as an IPython kernel sets it."""

CHANGED: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (builtins.__dict__, ("__IPYTHON__", "display", "get_ipython", "exit", "quit")),
    (sys.__dict__, ("displayhook", "excepthook", "ps1", "ps2", "ps3")),
    (sys.modules, ("__main__",)),
    (os.environ, (*ENVIRONMENT, "MPLBACKEND")),
)
_MISSING: Final = object()


class ProcessState:
    """The state of the process when this was made, of what a shell changes."""

    def __init__(self) -> None:
        self._saved: list[tuple[Any, str, Any]] = [
            (where, name, where.get(name, _MISSING)) for where, names in CHANGED for name in names
        ]
        self._had_cwd = "" in sys.path

    def restore(self) -> None:
        """Put it back."""
        for where, name, value in self._saved:
            if value is not _MISSING:
                where[name] = value
            else:
                where.pop(name, None)
        if (inline := sys.modules.get("matplotlib_inline.backend_inline")) is not None:
            # It remembers the shell, and that a shell shows figures already.
            inline.InlineBackend.clear_instance()
            inline.configure_inline_support.current_backend = "unset"
        if not self._had_cwd and "" in sys.path:
            sys.path.remove("")
