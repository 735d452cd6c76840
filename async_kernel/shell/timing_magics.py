"""`%time`, `%timeit` and `%%capture`: IPython's own, and where the code awaits, what they mean then."""

from __future__ import annotations

import ast
import gc
import inspect
import io
import itertools
import time
import timeit
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Final, Literal, cast

from IPython.core import magic_arguments
from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.core.magics.execution import (
    ExecutionMagics,
    TimeitResult,
    _format_time,  # pyright: ignore[reportPrivateUsage] # as IPython's own shows times
)
from IPython.utils.capture import CapturedIO
from IPython.utils.timing import clock2

from async_kernel.scheduling.context import Diverted, addressee, current_job
from async_kernel.shell.awaits import insert_awaits
from async_kernel.typing import Content

__all__ = ["TimingMagics"]

ENOUGH_SECONDS: Final = 0.2
"How long the loops of `%timeit` take together, at least."
TIMED: Final = """
async def inner(_it, _timer):
    setup
    _t0 = _timer()
    for _i in _it:
        stmt
    _t1 = _timer()
    return _t1 - _t0
"""


@magics_class
class TimingMagics(Magics):
    """`%time`, `%timeit` and `%%capture`."""

    shell: Any

    def __init__(self, shell: Any = None) -> None:
        super().__init__(shell=shell)
        self._stock: Any = ExecutionMagics(shell)

    # %time

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def time(self, line: str = "", cell: str | None = None, local_ns: Any = None) -> Any:
        """Time a statement, or a cell: its CPU and wall time are printed, its value is that of the magic.

        Usage:
          %time statement

          %%time [--no-raise-error]
          code
        """
        args, extra = magic_arguments.parse_argstring(ExecutionMagics.time, line, partial=True)
        statement = " ".join(extra)
        if cell and statement:
            raise UsageError("Can't use statement directly after '%%time'!")
        codes = self._awaiting_codes(cell or statement)
        quiet = bool(DisplayHook.semicolon_at_end_of_expression(cell or line))
        if codes is None:
            value = self._stock.time(line, cell, local_ns)
            return None if quiet else value
        return self._time(codes, quiet=quiet, raises=not args.no_raise_error)

    async def _time(self, codes: list[CodeType], *, quiet: bool, raises: bool) -> Any:
        wall, (user, system) = time.perf_counter(), clock2()
        try:
            value = await self._run_codes(codes)
        except Exception:
            if raises:
                raise
            value = None
        finally:
            user, system = (after - before for after, before in zip(clock2(), (user, system), strict=True))
            wall = time.perf_counter() - wall
            cpu = (_format_time(each) for each in (user, system, user + system))
            print("CPU times: user {}, sys: {}, total: {}".format(*cpu))
            print(f"Wall time: {_format_time(wall)}")
        return None if quiet else value

    def _awaiting_codes(self, text: str) -> list[CodeType] | None:
        """The code objects of code that awaits, the last one an expression's where it ends with one; else None."""
        if not self.shell.is_awaited():
            return None
        tree = self._parse(text)
        if not self._awaits(tree):
            return None
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        codes = [self._compile(ast.Module(tree.body, []), "exec")]
        return [*codes, self._compile(ast.Expression(last.value), "eval")] if isinstance(last, ast.Expr) else codes

    def _parse(self, text: str) -> ast.Module:
        text = self.shell.transform_cell(text)
        tree: ast.Module = self.shell.compile.ast_parse(text, "<timed code>")
        if self.shell.autoawait:
            insert_awaits(self.shell, text, tree)
        return self.shell.transform_ast(tree)

    def _awaits(self, tree: ast.Module) -> bool:
        try:
            return bool(self._compile(tree, "exec").co_flags & inspect.CO_COROUTINE)
        except SyntaxError:
            return False  # IPython's own says what is wrong.

    def _compile(self, tree: ast.AST, mode: Literal["exec", "eval"]) -> CodeType:
        flags = self.shell.compile.flags | (ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self.shell.autoawait else 0)
        return cast("CodeType", compile(cast("Any", tree), "<timed code>", mode, flags, True))

    async def _run_codes(self, codes: list[CodeType]) -> Any:
        value = None
        for code in codes:
            value = eval(code, self.shell.cell_globals, self.shell.user_ns)
            if code.co_flags & inspect.CO_COROUTINE:
                value = await value
        return value

    # %timeit

    @no_var_expand
    @line_cell_magic
    @needs_local_scope
    def timeit(self, line: str = "", cell: str | None = None, local_ns: Any = None) -> Any:
        """Time a statement by running it again and again.

        Usage:
          %timeit [-n<N> -r<R> -p<P> -q -o -v <NAME>] statement

          %%timeit [the same options] setup
          code
        """
        options, statement = self.parse_options(line, "n:r:tcp:qov:", posix=False, strict=False, preserve_non_opts=True)
        if self.shell.is_awaited() and (statement or cell):
            setup, timed = self._parse("pass" if cell is None else statement), self._parse(cell or statement)
            if self._awaits(setup) or self._awaits(timed):
                return self._timeit(setup, timed, options)
        return self._stock.timeit(line, cell, local_ns)

    async def _timeit(self, setup: ast.Module, timed: ast.Module, options: Any) -> Any:
        names: dict[str, Any] = {}
        began = time.perf_counter()
        exec(self._compile(_filled(setup, timed), "exec"), self.shell.cell_globals, names)
        compiling = time.perf_counter() - began
        inner: Callable[..., Awaitable[float]] = names["inner"]
        timer = time.process_time if "c" in options else time.time if "t" in options else timeit.default_timer

        async def run(number: int) -> float:
            with _without_gc():
                return await inner(itertools.repeat(None, number), timer)

        repeat = int(options.get("r", 7))
        if not (number := int(options.get("n", 0))):
            number = 1
            while await run(number) < ENOUGH_SECONDS and number < 10**9:
                number *= 10
        runs = [await run(number) for _ in range(repeat)]
        best, worst = min(runs) / number, max(runs) / number
        result = TimeitResult(number, repeat, best, worst, runs, compiling, int(options.get("p", 3)))
        if "q" not in options:
            print(result)
        if "v" in options:
            self.shell.user_ns[options["v"]] = result
        return result if "o" in options else None

    # %%capture

    @cell_magic
    def capture(self, line: str, cell: str) -> Any:
        """Run the cell, and keep what it prints and displays: its tasks and threads too, while it runs.

        Usage:
          %%capture [--no-stdout] [--no-stderr] [--no-display] [NAME]
        """
        args = magic_arguments.parse_argstring(ExecutionMagics.capture, line)
        if not self.shell.is_awaited():
            return self._stock.capture(line, cell)
        return self._capture(args, cell)

    async def _capture(self, args: Any, cell: str) -> None:
        shell = self.shell
        outer = shell.running_cell()
        captured = _Captured(args)
        shell.output.flush()
        token = addressee.set(Diverted(addressee.get() or current_job.get(), captured.keep))
        try:
            result = await shell.run_cell_async(cell)
        finally:
            shell.output.flush()
            captured.ended = True
            addressee.reset(token)
        if DisplayHook.semicolon_at_end_of_expression(cell):
            shell.user_ns.pop(args.output, None)
        elif args.output:
            shell.user_ns[args.output] = captured.io
        error = result.error_before_exec or result.error_in_exec
        if outer is not None and error is not None:
            outer.result.error_in_exec = error  # It was shown; the reply says it too.


class _Captured:
    """What `%%capture` keeps, as IPython's `CapturedIO`."""

    def __init__(self, args: Any) -> None:
        self._texts = {
            "stdout": None if args.no_stdout else io.StringIO(),
            "stderr": None if args.no_stderr else io.StringIO(),
        }
        self._outputs: list[Content] | None = None if args.no_display else []
        self.ended = False  # What goes on after the cell prints to the cell.
        self.io = CapturedIO(self._texts["stdout"], self._texts["stderr"], self._outputs)

    def keep(self, msg_type: str, content: Content) -> bool:
        """Keep what a message shows; False where it is not to be kept."""
        if self.ended:
            return False
        if msg_type == "stream":
            if (text := self._texts[content["name"]]) is not None:
                text.write(content["text"])
            return text is not None
        if self._outputs is None or msg_type not in _KEPT:
            return False
        if msg_type == "clear_output":
            self._outputs.clear()
        else:
            shown = {name: content[name] for name in ("data", "metadata", "transient") if name in content}
            self._outputs.append({**shown, "update": msg_type == "update_display_data"})
        return True


_KEPT: Final = frozenset({"display_data", "update_display_data", "execute_result", "clear_output"})


def _filled(setup: ast.Module, timed: ast.Module) -> ast.Module:
    """The function that times, with the code of the user in it."""
    tree = ast.parse(TIMED)
    function = cast("ast.AsyncFunctionDef", tree.body[0])
    loop = cast("ast.For", function.body[2])
    loop.body[:] = timed.body
    function.body[:1] = setup.body
    return ast.fix_missing_locations(tree)


@contextmanager
def _without_gc() -> Generator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
