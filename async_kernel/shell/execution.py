"""Run one cell: its record, its code under a policy, and how it ends."""

from __future__ import annotations

import ast
import inspect
import math
import os
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CodeType, TracebackType
from typing import Any, Final, cast

import anyio
from IPython.core.error import InputRejected
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from async_kernel.errors import KernelInterruptError
from async_kernel.protocol.cell_policy import NO_POLICY, CellPolicy
from async_kernel.scheduling.context import current_job
from async_kernel.scheduling.event_loops import outside_loop
from async_kernel.scheduling.sections import guarded
from async_kernel.shell.awaits import insert_awaits
from async_kernel.shell.compiler import KernelCompiler, again, split_at_futures
from async_kernel.shell.forks import end_child
from async_kernel.shell.tracebacks import awaiting
from async_kernel.shell.traits import assign
from async_kernel.shell.transform import transform
from async_kernel.shell.user_code import NOT_SHOWN, USER_CODE, await_user_code, call_user_code, run_user_code
from async_kernel.threads import hide_from_debugger
from async_kernel.typing import Content, Job, RunMode

__all__ = ["Running", "run", "user_traceback"]


UNBOUNDED: Final = nullcontext()
LATE_SECONDS: Final = 0.05
"A cell that awaits has been cancelled so long after its time is over."


def anyio_scope(deadline: float) -> anyio.CancelScope:
    return anyio.CancelScope(deadline=deadline)


class Running:
    """A cell that runs.

    Attributes:
        job: The request; None where the cell came another way.
        raw, cell, tree: The text as the user wrote it, as Python, and its syntax tree.
        compiler: What compiles it.
        policy, timeout, deadline: What it is run under; the deadline is one of `time.monotonic`.
        shell: The shell, or subshell, that runs it.
        result: IPython's record of how it went.
        payload: The payloads for the reply.
        error: The content of the last `error` message that was published for it.
        displaying, display_error: Whether its value is being formatted; what went wrong with that.
        interrupted: Somebody asked it to stop.
        overdue: It blocks beyond its time, and is being interrupted for that.
        timed_out: It was ended because it took too long.
        done: It does not run any more.
    """

    cell: str | None = None
    tree: ast.Module | None = None
    policy: CellPolicy = NO_POLICY
    timeout: float = 0.0
    deadline: float = math.inf
    error: Content | None = None
    display_error: Content | None = None
    displaying: bool = False
    interrupted: bool = False
    overdue: bool = False
    timed_out: bool = False
    done: bool = False
    scope: anyio.CancelScope | None = None
    prompt_count: int = 0
    outer: Running | None = None
    shell: Any = None

    def __init__(self, raw: str, store_history: bool, silent: bool, compiler: KernelCompiler, **info: Any) -> None:
        self.raw = raw
        self.silent = silent
        self.store_history = store_history and not silent
        self.compiler = compiler
        self.result: Any = ExecutionResult(ExecutionInfo(raw, self.store_history, silent, **info))
        self.payload: list[Any] = []
        self.job: Job[Any] | None = current_job.get()
        self.thread: int = get_ident()
        self.key: int = Running.current_key()

    @staticmethod
    def current_key() -> int:
        """What the cells of the current context are found by."""
        job = current_job.get()
        return -get_ident() if job is None else id(job)

    def in_its_thread(self) -> Running:
        """Of it and the cells around it, the innermost in the thread of the outermost: what is elsewhere ends too."""
        cells: list[Running] = [self]
        while (outer := cells[-1].outer) is not None:
            cells.append(outer)
        return next(cell for cell in cells if cell.thread == cells[-1].thread)

    def set_timeout(self, seconds: float) -> None:
        """End the cell after so many seconds; 0 is never."""
        self.timeout = seconds
        if seconds:
            self.deadline = time.monotonic() + seconds

    def interrupt(self) -> None:
        """Cancel what the cell awaits; call it in the thread of its event loop. The reply says KernelInterruptError."""
        self.interrupted = True
        if self.scope is not None:
            self.scope.cancel()

    @property
    def quiet(self) -> bool:
        """Whether the cell ends with a semicolon: its value is not shown."""
        if self.cell is None or self.tree is None or ";" not in self.cell or not self.tree.body:
            return False
        last = self.tree.body[-1]
        line, *rest = self.cell.split("\n")[(last.end_lineno or 1) - 1 :]
        tail = line.encode()[last.end_col_offset :].decode(errors="replace")
        return "\n".join((tail, *rest)).lstrip(" \t\f\\\n").startswith(";")

    def bounded(self, interrupt: Callable[[Job[Any]], object]) -> AbstractContextManager[None]:
        """Interrupt what the cell does inside when its time is over and it has not been cancelled: code that blocks."""
        return self._timed(interrupt) if self.timeout and self.job is not None else UNBOUNDED

    @contextmanager
    def _timed(self, interrupt: Callable[[Job[Any]], object]) -> Generator[None]:
        timer = threading.Timer(self.timeout + LATE_SECONDS, self._end, (interrupt,))
        timer.name, timer.daemon = "CellTimeout", True
        hide_from_debugger(timer)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self, interrupt: Callable[[Job[Any]], object]) -> None:
        if self.job is not None and not self.done:
            self.overdue = True
            interrupt(self.job)

    async def run_code(self, code: CodeType, global_ns: dict[str, Any], local_ns: dict[str, Any]) -> None:
        """Run a code object of the cell; where it awaits, under a scope that can be cancelled.

        Raises:
            KernelInterruptError: It was cancelled by `interrupt`.
            TimeoutError: It was cancelled because it took too long.
        """
        process = os.getpid()
        try:
            where = await self._run(code, global_ns, local_ns)
        except BaseException as exc:
            if os.getpid() != process:
                end_child(exc.with_traceback(user_traceback(exc)))
            if not (self.overdue and isinstance(exc, KernelInterruptError)):
                raise
            where = exc.__traceback__
        if os.getpid() != process:
            end_child(None)
        if where is not None:
            self.timed_out = True
            raise TimeoutError(f"the cell took longer than {self.timeout:g} seconds").with_traceback(awaiting(where))

    async def _run(self, code: CodeType, global_ns: dict[str, Any], local_ns: dict[str, Any]) -> TracebackType | None:
        """Where it was when its time was over; None where it came to its end."""
        if not code.co_flags & inspect.CO_COROUTINE:
            if self.interrupted:
                raise KernelInterruptError("interrupted")
            # A worker's loop is only there to receive the cell: code that blocks may run a loop of its own.
            with outside_loop() if self.policy.run_mode is RunMode.thread else nullcontext():
                guarded(run_user_code, code, global_ns, local_ns)
            return None
        try:
            where = await self._await_code(code, global_ns, local_ns)
        except BaseException as exc:
            if self._is_interrupt(exc):
                raise KernelInterruptError("interrupted").with_traceback(awaiting(exc.__traceback__)) from exc
            raise
        if where is not None and self.interrupted:
            raise KernelInterruptError("interrupted").with_traceback(awaiting(where))
        return where

    async def _await_code(
        self, code: CodeType, global_ns: dict[str, Any], local_ns: dict[str, Any]
    ) -> TracebackType | None:
        """Where it was cancelled; None where it came to its end."""
        where: TracebackType | None = None
        # The loop's own clock is asked here and no earlier: most cells don't await, and anyio's backend costs 25 ms.
        deadline = anyio.current_time() + self.deadline - time.monotonic() if self.timeout else math.inf
        # The first time it imports more of anyio, which parses its own modules for that.
        with again(anyio_scope, deadline) as self.scope:
            if self.interrupted:
                self.scope.cancel()
            try:
                await await_user_code(code, global_ns, local_ns)
            except BaseException as exc:
                where = exc.__traceback__
                raise
            where = None
        return where

    def _is_interrupt(self, exc: BaseException) -> bool:
        """Whether it is what an interrupt has raised in tasks of the cell: in all of a group, or in the one awaited."""
        if isinstance(exc, BaseExceptionGroup):
            return exc.split(KernelInterruptError)[1] is None
        return self.interrupted and isinstance(exc, anyio.get_cancelled_exc_class()) and not is_cancellation(exc)


def user_traceback(exc: BaseException) -> TracebackType | None:
    """The traceback from the code of the cell on, without the frames that run it."""
    entry = exc.__traceback__
    while entry is not None and entry.tb_frame.f_code not in USER_CODE:
        entry = entry.tb_next
    while entry is not None and entry.tb_frame.f_code in NOT_SHOWN:
        entry = entry.tb_next
    first = entry or exc.__traceback__
    # IPython shows the innermost frame even where it is hidden: an interrupt's would be the signal handler.
    last = entry = first
    while entry is not None:
        if not entry.tb_frame.f_locals.get("__tracebackhide__", False):
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None
    return first


def is_cancellation(exc: BaseException) -> bool:
    """Whether `exc` cancels the task that runs the cell, not just something that the cell waited for."""
    if not isinstance(exc, anyio.get_cancelled_exc_class()):
        return False
    if anyio.current_effective_deadline() == -math.inf:
        return True
    asyncio = sys.modules.get("asyncio")
    task = asyncio.current_task() if asyncio and isinstance(exc, asyncio.CancelledError) else None
    return task is not None and task.cancelling() > 0


async def run(shell: Any, running: Running) -> Any:
    """Run a cell as IPython does, events before it included; returns its `ExecutionResult`.

    Several cells may run at once, in tasks and threads: nothing of this one is kept in the shell.
    """
    result = running.result
    if not running.raw or running.raw.isspace():
        running.prompt_count = shell.execution_count - 1
        _finish(shell, running, succeeded=True)
        return result
    result.execution_count = shell.take_execution_count(running.store_history)
    running.prompt_count = result.execution_count - (not running.store_history)
    shell.events.tell("pre_execute")
    if not running.silent:
        shell.events.tell("pre_run_cell", result.info)
    failed = True
    codes = _compile(shell, running)
    if codes is not None:
        failed = False
        for code in codes:
            if failed := await _run_code(shell, running, code):
                break
    _finish(shell, running, succeeded=not failed)
    return result


def _finish(shell: Any, running: Running, *, succeeded: bool) -> None:
    assign(shell, "last_execution_succeeded", succeeded)
    assign(shell, "last_execution_result", running.result)
    if running.store_history and shell.history_manager is not None:
        shell.history_manager.store_output(running.result.execution_count)
        if not succeeded and running.error is not None:
            shell.history_manager.exceptions[running.result.execution_count] = running.error


def _compile(shell: Any, running: Running) -> list[CodeType] | None:
    """The code objects of a cell, noted in the history; None after showing why there are none."""
    failure: BaseException | None = None
    may_await = False
    try:
        if may_await := running.cell is None:
            running.cell, running.tree = call_user_code(transform, shell, running.raw)
            running.result.info.transformed_cell = running.cell
    except Exception as exc:  # noqa: BLE001 # a user's own transformation may raise anything; it is shown below
        failure = exc
    cell = running.cell or running.raw
    _remember(shell, running, cell)
    if failure is not None:
        shell.show_error(failure)
        running.result.error_before_exec = failure
        return None
    compiler = running.compiler
    filename = compiler.cache(cell, running.result.execution_count, raw_code=running.raw)
    try:
        if running.tree is None:
            running.tree = cast("ast.Module", compiler.ast_parse(cell, filename))
            if may_await and shell.autoawait:
                insert_awaits(shell, cell, running.tree)
        running.tree = call_user_code(shell.transform_ast, running.tree)
    except shell.custom_exceptions as exc:
        shell.CustomTB(type(exc), exc, exc.__traceback__)
        running.result.error_before_exec = exc
    except (InputRejected, SyntaxError, OverflowError, ValueError, TypeError, MemoryError, RecursionError) as exc:
        shell.show_compile_error(exc)
        running.result.error_before_exec = exc
    else:
        return _compile_tree(shell, running, compiler, filename)
    return None


def _remember(shell: Any, running: Running, cell: str) -> None:
    """Note a cell in the history and the transcript."""
    # IPython's own rule: the cell that pastes is not stored, what it pastes is.
    pastes = "get_ipython().run_line_magic(" in cell and "paste" in cell
    if running.store_history and not pastes and shell.history_manager is not None:
        shell.history_manager.store_inputs(running.result.execution_count, cell, running.raw)
    if not running.silent and shell.transcript is not None:
        shell.transcript.log(cell, running.raw)


def _compile_tree(shell: Any, running: Running, compiler: KernelCompiler, filename: str) -> list[CodeType] | None:
    assert running.tree is not None
    body = running.tree.body
    interactivity = "none" if running.silent else shell.ast_node_interactivity
    if interactivity == "last_expr_or_assign":
        _show_assigned(body)
    if interactivity.startswith("last_expr"):
        interactivity = "last" if body and isinstance(body[-1], ast.Expr) else "none"
    shown = {"none": 0, "last": 1, "all": len(body)}[interactivity]
    quiet, loud = body[: len(body) - shown], body[len(body) - shown :]
    parts = [(part, "exec") for part in split_at_futures(quiet)] + ([(loud, "single")] if loud else [])
    try:
        return [compiler.compile_nodes(part, filename, mode, allow_await=shell.autoawait) for part, mode in parts]
    except (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as exc:
        # What parses may still be wrong: a `return` outside of a function.
        running.result.error_before_exec = exc
        shell.show_compile_error(exc)
        return None


def _show_assigned(body: list[ast.stmt]) -> None:
    """Let the name that the last statement assigns to be shown."""
    match body[-1:]:
        case [ast.Assign(targets=[ast.Name(id=name)])]:
            pass
        case [ast.AugAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Name(id=name))]:
            pass
        case _:
            return
    expression = ast.Expr(ast.Name(name, ast.Load()))
    body.append(ast.fix_missing_locations(ast.copy_location(expression, body[-1])))


async def _run_code(shell: Any, running: Running, code: CodeType) -> bool:
    """Run a code object; whether it failed. The error is shown.

    Raises:
        BaseException: The task that runs the cell is cancelled, from outside of the cell.
    """
    result = running.result
    try:
        await running.run_code(code, shell.cell_globals, shell.user_ns)
    except SystemExit as exc:
        result.error_in_exec = exc
        shell.showtraceback(exception_only=True)
        shell.output.stderr.write("To exit: use 'exit' or 'quit'.\n")
    except shell.custom_exceptions as exc:
        result.error_in_exec = exc
        shell.CustomTB(type(exc), exc, user_traceback(exc))
    except BaseException as exc:
        if code.co_flags & inspect.CO_COROUTINE and is_cancellation(exc):
            raise
        result.error_in_exec = exc
        bdb = sys.modules.get("bdb")
        if bdb is None or not isinstance(exc, bdb.BdbQuit):  # The user has left the debugger.
            shell.show_error(exc)
    else:
        return False
    return True
