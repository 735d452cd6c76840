"""What a shell does for `!cmd`, and for magics that can be awaited."""

from __future__ import annotations

import inspect
import io
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import cached_property
from subprocess import CalledProcessError
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.magics._table import configured_script_magics
from IPython.utils.text import LSString, SList

from async_kernel.scheduling.sections import waits
from async_kernel.shell.awaits import CELL_MAGICS
from async_kernel.shell.lookup import Lookup
from async_kernel.shell.outstream import Output

__all__ = ["Commands"]

_awaited: ContextVar[bool] = ContextVar("awaited", default=False)
"Whether what the magic returns that is being called will be awaited."


class Commands(Lookup):
    """The part of the shell that runs commands and magics, blocking or awaited."""

    output: Output
    "The stdout and stderr of the cells."

    @cached_property
    def children(self) -> set[Any]:
        """The processes that cells have started and that have not ended."""
        return set()

    @cached_property
    def awaited_cell_magics(self) -> frozenset[str]:
        """The cell magics that the cell can await."""
        return CELL_MAGICS | {*configured_script_magics(self.config)}

    # Magics

    def run_line_magic_async(self, magic_name: str, line: str) -> Coroutine[Any, Any, Any]:
        """What `run_line_magic` does, where the cell awaits it."""
        return self._called_awaited(lambda: self.run_line_magic(magic_name, line, _stack_depth=4))

    def run_cell_magic_async(self, magic_name: str, line: str, cell: str) -> Coroutine[Any, Any, Any]:
        """What `run_cell_magic` does, where the cell awaits it."""
        return self._called_awaited(lambda: self.run_cell_magic(magic_name, line, cell))

    @staticmethod
    def _called_awaited(call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        token = _awaited.set(True)
        try:
            return finish(call())
        finally:
            _awaited.reset(token)

    @staticmethod
    def is_awaited() -> bool:
        """Whether the magic that asks may return a coroutine; it may ask once."""
        awaited = _awaited.get()
        _awaited.set(False)
        return awaited

    # Commands

    def start_child(self, command: str | Sequence[str], sinks: Any, **options: Any) -> Any:
        """Start a process that ends with the shell; see `Child`."""
        from async_kernel.shell.children import Child  # with the first command

        # A cell may have set `sys.stdout` to None, or to what can't be written to.
        sinks = {name: to if hasattr(to, "write") else getattr(self.output, name) for name, to in sinks.items()}
        children: set[Any] = getattr(self, "main_shell", self).children  # A subshell's end with the main shell.
        child = Child(command, sinks, ended=children.discard, **options)
        children.add(child)
        if child.ended:  # Meanwhile.
            children.discard(child)
        return child

    def end_children(self) -> None:
        """End the processes that still run, at once."""
        for child in list(self.children):
            child.kill()

    @waits
    def system(self, cmd: str) -> None:
        """Run a line in the user's shell; its output goes to the cell, its exit code to `_exit_code`. It blocks.

        Raises:
            UsageError: It ends in `&`.
            CalledProcessError: It failed, and `system_raise_on_error` is set.
        """
        cmd = self.var_expand(cmd, depth=1)
        self._note_exit(cmd, self._start_command(cmd, terminal=True).finish())

    system_piped = system

    def system_async(self, cmd: str) -> Coroutine[Any, Any, None]:
        """What `system` does, where the cell awaits it."""
        if "system" in vars(self):  # The user's own.
            return finish(self.system(cmd))
        return self._system(self.var_expand(cmd, depth=1))

    async def _system(self, cmd: str) -> None:
        self._note_exit(cmd, await self._start_command(cmd, terminal=True).finish_async())

    @waits
    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """Run a line in the user's shell; returns its output as a list of lines, or (`split=False`) as text. It blocks.

        Raises:
            UsageError: It ends in `&`.
            CalledProcessError: It failed, and `system_raise_on_error` is set.
        """
        cmd = self.var_expand(cmd, depth=depth + 1)
        texts = io.StringIO()
        self._note_exit(cmd, self._start_command(cmd, texts).finish())
        return _as_ipython(texts.getvalue(), split)

    def getoutput_async(self, cmd: str, split: bool = True) -> Coroutine[Any, Any, Any]:
        """What `getoutput` does, where the cell awaits it."""
        if "getoutput" in vars(self):
            return finish(self.getoutput(cmd, split))
        return self._getoutput(self.var_expand(cmd, depth=1), split)

    async def _getoutput(self, cmd: str, split: bool) -> Any:
        texts = io.StringIO()
        self._note_exit(cmd, await self._start_command(cmd, texts).finish_async())
        return _as_ipython(texts.getvalue(), split)

    def _start_command(self, cmd: str, texts: io.StringIO | None = None, *, terminal: bool = False) -> Any:
        if cmd.rstrip().endswith("&"):
            raise UsageError(
                "a command that ends in & would go on without the cell: "
                "leave the & out (the cell awaits it, others go on), or use %%script --bg, or subprocess.Popen"
            )
        return self.start_child(cmd, {"stdout": texts or sys.stdout}, terminal=terminal)

    def _note_exit(self, cmd: str, exit_code: int) -> None:
        __tracebackhide__ = True
        self.user_ns["_exit_code"] = exit_code
        if -exit_code in _ENDING:
            print(f"the command was ended by {signal.Signals(-exit_code).name}", file=sys.stderr)
        if self.system_raise_on_error and exit_code:
            raise CalledProcessError(exit_code, cmd)


_ENDING: Final = frozenset(
    getattr(signal, name, signal.SIGTERM)
    for name in ("SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGHUP")
)
"Signals that end a command in a way that the user should hear of."


async def finish(result: Any) -> Any:
    """The value of what a magic has returned, awaited where that is needed."""
    __tracebackhide__ = True
    return await result if inspect.iscoroutine(result) else result


def _as_ipython(text: str, split: bool) -> Any:
    return SList(text.splitlines()) if split else LSString(text)
