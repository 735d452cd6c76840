"""`AsyncInteractiveShell`: IPython's shell for a kernel whose cells run side by side."""

from __future__ import annotations

import builtins
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from IPython.core.autocall import ExitAutocall
from IPython.core.error import InputRejected, StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Any as AnyTrait
from traitlets import Enum, Float, Instance, Type, default, observe

from async_kernel.errors import KernelInterruptError, SetupError
from async_kernel.interfaces import Publisher
from async_kernel.protocol.cell_policy import NO_POLICY, CellPolicy
from async_kernel.scheduling.context import current_job
from async_kernel.shell.compiler import KernelCompiler
from async_kernel.shell.display import AsyncDisplayHook, AsyncDisplayPublisher
from async_kernel.shell.execution import Running, run, user_traceback
from async_kernel.shell.history import HistoryMode
from async_kernel.shell.outstream import Output
from async_kernel.shell.setup import KernelSetup
from async_kernel.shell.traits import assign
from async_kernel.shell.user_code import call_user_code
from async_kernel.typing import Backend, Content, Job

__all__ = ["AsyncInteractiveShell"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class KernelExit(ExitAutocall):
    """`exit` and `quit`."""

    def __call__(self, keep_kernel: bool = False) -> None:
        """End the session. With `keep_kernel` the frontend closes, and the kernel goes on."""
        cast("AsyncInteractiveShell", self._ip).get_ipython().ask_exit(keep_kernel=keep_kernel)


class AsyncInteractiveShell(KernelSetup, InteractiveShell):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The shell of a kernel. Make it with `AsyncInteractiveShell.instance(...)`, end it with `close()`.

    Args:
        publish: Publishes messages.
        output: The stdout and stderr of the cells; it is flushed where order demands it.
        exit_now: Called when the user has asked to stop the kernel.
        connection_info: What `%connect_info` prints: the content of a connection file, and `connection_file`.
        on_reset: Called by `reset()`, to cancel what the cells left pending.
        interrupt: Called (in a thread of its own) to interrupt the code that runs for a request.
        jobs: What `%jobs` lists: what runs and waits.
        use_gui: Switches on the events of a GUI by its name, off with None; raises SetupError.
        cancel_job: What `%cancel` does with a name; returns what was cancelled, raises LookupError.
        backend: The backend of the event loop that runs the cells.
        history: `file` (IPython's database), `memory` or `off`.
        ipython_profile: The name of the IPython profile.
        traits: `timeout`, `completer`, and those of IPython's shell.

    Attributes:
        cells: The cells that run now, those of the subshells too.
        subshell_manager: The subshells; None where there can't be any.
        owns_names: Whether `_`, `In` and `Out` in the user's namespace are this shell's.
    """

    kernel: Any = None
    "The kernel, for the libraries that look for it here (ipywidgets); nothing of this package does."
    subshell_manager: Any = None
    owns_names = True
    ending: bool = False
    "Whether the kernel ends: what is interrupted now shall end soon."

    timeout = Float(0.0, min=0.0, help="Seconds after which a cell is ended; 0 is never.").tag(config=True)
    stop_on_error_time_offset = Float(
        0.0, min=0.0, help="Seconds after an error during which execute requests that arrive are aborted too."
    ).tag(config=True)
    completer = Enum(("jedi", "ipython", "off"), "jedi", help="What completes code.").tag(config=True)
    exiter = Instance(KernelExit)
    displayhook_class = Type(AsyncDisplayHook)
    display_pub_class = Type(AsyncDisplayPublisher)
    compiler_class = Type(KernelCompiler)
    # By where they are, or not before they are needed: as IPython declares them, they cost imports.
    profile_dir = Instance("IPython.core.profiledir.ProfileDir", allow_none=True)
    inspector_class = AnyTrait("async_kernel.shell.inspection.Inspector", help="The class that inspects.").tag(
        config=True
    )

    def __init__(
        self,
        *,
        publish: Publisher,
        output: Output,
        exit_now: Callable[[], object] = lambda: None,
        connection_info: Callable[[], Content] | None = None,
        on_reset: Callable[[], object] = lambda: None,
        interrupt: Callable[[Job[Any]], object] = lambda _job: None,
        jobs: Callable[[], list[Content]] | None = None,
        cancel_job: Callable[[str], Content] | None = None,
        use_gui: Callable[[str | None], object] = lambda _name: None,
        backend: str = Backend.asyncio,
        history: HistoryMode = "file",
        ipython_profile: str = "default",
        **traits: Any,
    ) -> None:
        self.publish = publish
        self.connection_info = connection_info
        self.jobs = jobs
        self.cancel_job = cancel_job
        self._use_gui = use_gui
        self.cells: dict[int, Running] = {}
        self._exit_kernel = exit_now
        self._on_reset = on_reset
        self._interrupt = interrupt
        self._count_lock = threading.Lock()
        super().__init__(output=output, history=history, ipython_profile=ipython_profile, **traits)
        self.loop_runner = str(backend)

    @default("exiter")
    def _make_exiter(self) -> KernelExit:
        return KernelExit(self)

    @default("prefilter_manager")
    def _make_prefilter_manager(self) -> Any:
        return self.make_prefilter_manager()

    @observe("colors")
    def init_syntax_highlighting(self, changes: Any = None) -> None:
        """Tell everything that colours text about a new theme."""
        super().init_syntax_highlighting(changes)

    def get_ipython(self) -> Any:
        """The shell, or subshell, that the current context belongs to."""
        return self if self.subshell_manager is None else self.subshell_manager.current()

    @property
    def cell_globals(self) -> dict[str, Any]:
        """The global names of cells."""
        return self.user_global_ns

    # -- running cells ------------------------------------------------------------------------------------------------

    def running_cell(self) -> Running | None:
        """The cell that the current context belongs to; None where it does not run any more."""
        return self.cells.get(Running.current_key())

    def take_execution_count(self, store: bool) -> int:
        """The number of the cell that begins; with `store` the next one gets another."""
        with self._count_lock:
            count: int = self.execution_count
            if store:
                assign(self, "execution_count", count + 1)
            return count

    async def execute_request(
        self,
        code: str = "",
        silent: bool = False,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = True,  # the kernel's input source obeys it
        stop_on_error: bool = True,  # the dispatch of requests obeys it
        *,
        cell_id: str | None = None,
        cell_meta: Content | None = None,
        policy: CellPolicy = NO_POLICY,
    ) -> Content:
        """Run a cell; returns the content of the `execute_reply`.

        Args:
            code: The cell.
            silent: Show no value, publish no input, store nothing.
            store_history: Store the cell, and count it.
            user_expressions: Expressions to evaluate after the cell, by name.
            allow_stdin: Whether the client can be asked for input.
            stop_on_error: Whether an error aborts the requests that wait.
            cell_id: The frontend's name of the cell.
            cell_meta: The request's metadata, for extensions.
            policy: What the cell's tags say.
        """
        info = {"shell_futures": True, "cell_id": cell_id, "cell_meta": cell_meta}
        cell = Running(code, store_history, silent, cast("KernelCompiler", self.compile), **info)
        cell.policy = policy
        cell.set_timeout(self.timeout if policy.timeout is None else policy.timeout)
        if not silent:
            self.publish("execute_input", {"code": code, "execution_count": self.execution_count})
        self._enter(cell)
        for problem in policy.problems:
            self.output.stderr.write(f"{problem}; it is ignored\n")
        try:
            with cell.bounded(self._interrupt):
                await self._run_with_events(cell)
            return self._reply(cell, user_expressions or {})
        finally:
            self._leave(cell)
            self.output.put_back()
            self.output.flush()

    async def _run_with_events(self, cell: Running) -> None:
        try:
            try:
                await run(self, cell)
            finally:
                self.events.tell("post_execute")
                if not cell.silent:
                    self.events.tell("post_run_cell", cell.result)
        except KernelInterruptError as exc:  # not in the cell's own code: while it was transformed, say
            cell.result.error_before_exec = exc
            self.show_error(exc)

    def _reply(self, cell: Running, user_expressions: dict[str, str]) -> Content:
        """The content of the reply."""
        result = cell.result
        error = result.error_before_exec or result.error_in_exec
        content: Content = {"status": "ok", "execution_count": cell.prompt_count, "user_expressions": {}}
        if cell.timed_out or cell.policy.suppress_error is not None:
            pass  # as the tags say: it was shown, or not, and that was all
        elif error is not None:
            content |= {"status": "error", **_error_content(error, (cell.error or {}).get("traceback", []))}
        elif cell.display_error is not None:
            content |= {"status": "error", **cell.display_error}
        if content["status"] == "ok" and user_expressions:
            content["user_expressions"] = call_user_code(self.user_expressions, user_expressions)
        content["payload"] = cell.payload
        return content

    async def run_cell_async(  # pyright: ignore[reportIncompatibleMethodOverride] # `cell_id` and the like are in `info`
        self,
        raw_cell: str,
        store_history: bool = False,
        silent: bool = False,
        shell_futures: bool = True,
        *,
        transformed_cell: str | None = None,
        preprocessing_exc_tuple: Any = None,
        **info: Any,
    ) -> Any:
        """Run code inside of a cell, or before the first one; see IPython's `run_cell_async`."""
        compiler = self.compile if shell_futures else self.compiler_class()
        info = {"cell_id": None, **info, "shell_futures": shell_futures}
        cell = Running(raw_cell, store_history, silent, cast("KernelCompiler", compiler), **info)
        if preprocessing_exc_tuple is None:  # Else the transformation is done again, and fails again.
            cell.cell = transformed_cell
        if (outer := self._enter(cell)) is not None:
            cell.payload = outer.payload
        try:
            return await run(self, cell)
        finally:
            self._leave(cell)

    def _enter(self, cell: Running) -> Running | None:
        cell.shell = self
        outer = cell.outer = self.cells.get(cell.key)
        self.cells[cell.key] = cell
        return outer

    def _leave(self, cell: Running) -> None:
        cell.done = True
        if cell.outer is None:
            self.cells.pop(cell.key, None)
        else:
            cell.outer.error = cell.error or cell.outer.error
            self.cells[cell.key] = cell.outer

    def reset(self, new_session: bool = True, aggressive: bool = False) -> None:
        """Empty the user's namespace, and cancel what the cells left pending."""
        self._on_reset()
        super().reset(new_session, aggressive)

    # -- errors -------------------------------------------------------------------------------------------------------

    def show_error(self, exc: BaseException) -> None:
        """Show an error that the code of a cell raised; in a line where the kernel ends, which waits for it."""
        if getattr(self, "main_shell", self).ending:
            self._showtraceback(type(exc), exc, [f"{type(exc).__name__}: {exc}"])
            return
        self.showtraceback((type(exc), exc, user_traceback(exc)), running_compiled_code=True)

    def show_compile_error(self, exc: BaseException) -> None:
        """Show why a cell can't be compiled; call it where `exc` is handled."""
        if isinstance(exc, InputRejected):
            self.showtraceback()
        elif isinstance(exc, IndentationError):
            self.showindentationerror()
        else:
            self.showsyntaxerror()

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show an error; IPython can't show groups of errors itself."""
        exc = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if isinstance(exc, SyntaxError | UsageError) or not _has_group(exc):
            super().showtraceback(exc_tuple, *args, **kwargs)
            return
        kind, value, where = cast("ExcInfo", self._get_exc_info(exc_tuple))
        self._showtraceback(kind, value, "".join(traceback.format_exception(kind, value, where)).splitlines())

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        """Publish an error; or what the cell's tag says instead."""
        content = _error_content(evalue, stb, etype.__name__)
        if (cell := self.running_cell()) is not None:
            cell.error = content
            if cell.displaying:
                cell.display_error = content
            if cell.policy.suppress_error is not None:
                if cell.policy.suppress_error:
                    print(cell.policy.suppress_error)
                return
        self.output.flush()
        self.publish("error", content)

    def get_parent(self) -> Content:
        """The message that the current context belongs to; empty where there is none. Libraries ask for it."""
        job = current_job.get()
        return cast("Content", job["msg"]) if job is not None else {}

    # -- what a frontend does for the shell ---------------------------------------------------------------------------

    def set_next_input(self, s: str, replace: bool = False) -> None:
        """Put text into the next cell, or with `replace` into this one."""
        self._write_payload({"source": "set_next_input", "text": s, "replace": replace})

    def ask_exit(self, *, keep_kernel: bool = False) -> None:
        """End the session, after asking the user whether to stop the kernel where it is to be stopped."""
        if keep_kernel or self._confirm_exit():
            self._write_payload({"source": "ask_exit", "keepkernel": keep_kernel})
            self.exit_now = not keep_kernel

    def _confirm_exit(self) -> bool:
        try:
            answer = builtins.input("Stop the kernel? [y/N] ")
        except StdinNotImplementedError:
            return True
        return answer.strip().lower() in {"y", "yes"}

    @observe("exit_now")
    def _on_exit_now(self, change: Any) -> None:
        if change["new"]:
            self._exit_kernel()

    def _write_payload(self, payload: Content) -> None:
        self.payload_manager.write_payload(payload)  # pyright: ignore[reportOptionalMemberAccess]

    active_eventloop: str | None = None

    def enable_gui(self, gui: str | None = None) -> None:
        """Process the events of a GUI (`tk` or `qt`) while the event loop is free; without one, no more.

        Raises:
            UsageError: It is not supported, or can't be used here.
        """
        none = gui in {None, "", "none", "inline", "asyncio", "trio"}
        try:
            self._use_gui(None if none else gui)
        except SetupError as error:
            raise UsageError(str(error)) from None
        self.active_eventloop = gui or None


def _error_content(error: BaseException, shown: list[str], name: str = "") -> Content:
    try:
        text = str(error)
    except Exception as exc:  # noqa: BLE001 # the `__str__` of a user's exception may raise anything
        text = f"<{type(exc).__name__} in its __str__>"
    return {"ename": name or type(error).__name__, "evalue": text, "traceback": shown}


def _has_group(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, BaseExceptionGroup):
            return True
        exc = exc.__context__
    return False
