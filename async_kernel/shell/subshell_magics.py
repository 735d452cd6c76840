"""Magics about subshells."""

from __future__ import annotations

import shlex
from collections.abc import Coroutine
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

__all__ = ["SubshellMagics"]


@magics_class
class SubshellMagics(Magics):
    """`%subshell` and `%%subshell`."""

    shell: Any

    @line_cell_magic
    def subshell(self, line: str, cell: str | None = None) -> Coroutine[Any, Any, None] | None:
        """Print which shell this is, and which there are; or run a cell in a subshell.

        Usage:
          %subshell

          %%subshell NAME
          code that runs in the subshell NAME, which is made if there is none; its output is shown here
        """
        names = shlex.split(line)
        if cell is None:
            if names:
                raise UsageError("%subshell takes no arguments; %%subshell NAME runs a cell in a subshell")
            self._print()
            return None
        if len(names) != 1:
            raise UsageError(f"%%subshell: expected one NAME, got {line!r}")
        return self._run(names[0], cell)

    def _print(self) -> None:
        manager = self.shell.subshell_manager
        if manager is None:
            raise UsageError("%subshell: this shell has no kernel")
        current = manager.current()
        main = manager.main_shell
        rows = [("", "name", "subshell_id", "thread", "execution_count")]
        for each in (main, *manager.running()):
            mark = "*" if each is current else ""
            name, ident, caller = (
                ("main", "", manager.caller) if each is main else (each.name, each.subshell_id, each.caller)
            )
            rows.append((mark, name, ident, caller.name, str(each.execution_count)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())

    async def _run(self, name: str, code: str) -> None:
        shell = self.shell
        if shell.subshell_manager is None:
            raise UsageError("%%subshell: this shell has no kernel")
        outer = shell.running_cell()
        result = await shell.subshell_manager.run(name, code)
        error = result.error_before_exec or result.error_in_exec
        if outer is None:
            result.raise_error()
        elif error is not None:
            outer.result.error_in_exec = error  # It was shown where it happened; the reply says it too.
