"""Magics that run commands: the installers, and the scripts of cells."""

from __future__ import annotations

import io
import sys
from collections.abc import Coroutine
from subprocess import CalledProcessError
from typing import Any, cast

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magics.script import ScriptMagics
from IPython.utils._process_common import arg_split

from async_kernel.scheduling.sections import waits
from async_kernel.shell.packages import UV_ENVIRONMENT, Loaded, pip_command, uv_command

__all__ = ["CommandMagics", "KernelScripts"]

Later = Coroutine[Any, Any, None] | None
"What a magic returns: a coroutine where the cell awaits it; else it has blocked, and all is done."


@magics_class
class CommandMagics(Magics):
    """`%pip` and `%uv`."""

    shell: Any

    @line_magic
    @waits
    def pip(self, line: str) -> Later:
        """Run pip for the kernel's interpreter; its output is shown while it runs.

        Usage:
          %pip install NAME ...
        """
        return self._run("%pip", pip_command(line))

    @line_magic
    @waits
    def uv(self, line: str) -> Later:
        """Run uv for the kernel's interpreter; its output is shown while it runs.

        Usage:
          %uv pip install NAME ...
        """
        return self._run("%uv", uv_command(line), environment={UV_ENVIRONMENT: sys.executable})

    @waits
    def _run(self, name: str, command: str, **options: Any) -> Later:
        loaded = Loaded()
        child = self.shell.start_child(command, {"stdout": sys.stdout}, terminal=True, **options)
        if self.shell.is_awaited():
            return self._run_awaited(name, child, loaded)
        self._report(name, child.finish(), loaded)
        return None

    async def _run_awaited(self, name: str, child: Any, loaded: Loaded) -> None:
        self._report(name, await child.finish_async(), loaded)

    def _report(self, name: str, exit_code: int, loaded: Loaded) -> None:
        self.shell.user_ns["_exit_code"] = exit_code
        if exit_code:
            print(f"{name}: exit code {exit_code}", file=sys.stderr)
        if note := loaded.note():
            print(note)


@magics_class
class KernelScripts(ScriptMagics):
    """`%%script`, and its short forms: `%%bash`, `%%sh`, `%%perl`, ..."""

    shell: Any

    killbgscripts = line_magic("killbgscripts")(ScriptMagics.killbgscripts)

    @cell_magic("script")  # pyright: ignore[reportUntypedFunctionDecorator]
    @waits
    def shebang(self, line: str, cell: str) -> Later:
        """Run the cell by a program, whose output is shown while it runs.

        Usage:
          %%script [--out NAME] [--err NAME] [--bg [--proc NAME]] [--no-raise-error] PROGRAM [argument ...]

        --out, --err: Names for the text of stdout and stderr, which is not shown then.
        --bg: Don't wait for it.
        --proc: A name for the process, with --bg.
        --no-raise-error: A failure of the program is not an error of the cell.
        """
        stock: Any = ScriptMagics.shebang
        args, command = stock.parser.parse_known_args(arg_split(line, posix=sys.platform != "win32"))
        if args.bg:
            return stock(self, line, cell)
        if not command:
            raise UsageError("%%script: the name of a program is missing")
        kept = {name: io.StringIO() for name, to in (("stdout", args.out), ("stderr", args.err)) if to}
        sinks: Any = {"stdout": sys.stdout, "stderr": sys.stderr, **kept}
        text = cell if cell.endswith("\n") else f"{cell}\n"
        try:
            child = self.shell.start_child(command, sinks, feed=text.encode("utf-8", "replace"))
        except FileNotFoundError:
            raise UsageError(f"%%script: there is no program {command[0]!r} on the PATH") from None
        if self.shell.is_awaited():
            return self._run_awaited(child, args, kept, cell)
        try:
            child.finish()
        finally:
            self._keep(args, kept)
        self._report(child, args, cell)
        return None

    async def _run_awaited(self, child: Any, args: Any, kept: dict[str, io.StringIO], cell: str) -> None:
        __tracebackhide__ = True
        try:
            await child.finish_async()
        finally:
            self._keep(args, kept)
        self._report(child, args, cell)

    def _keep(self, args: Any, kept: dict[str, io.StringIO]) -> None:
        names = {"stdout": args.out, "stderr": args.err}
        self.shell.user_ns.update({names[stream]: text.getvalue() for stream, text in kept.items()})

    def _report(self, child: Any, args: Any, cell: str) -> None:
        __tracebackhide__ = True
        self.shell.user_ns["_exit_code"] = child.exit_code
        if child.returncode and args.raise_error:
            raise CalledProcessError(cast("int", child.returncode), cell)


# IPython's own, which runs what is in the background, reads its arguments with the parser of `self.shebang`.
vars(KernelScripts)["shebang"].parser = vars(ScriptMagics)["shebang"].parser
