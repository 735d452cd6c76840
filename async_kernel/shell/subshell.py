"""Subshells (JEP 91): shells beside the main one, each with a thread, an event loop, a queue, a count and a history.

A subshell is the main shell seen from another thread: what it has not itself (magics, formatters, compiler, completer,
events, the cells that run, what an extension has put there) is the main shell's, so that making one costs little more
than its thread, and what a user registers in one shell is there in all.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from functools import cached_property
from types import MethodType
from typing import Any, Final, Literal, Self

from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.magic import Magics
from traitlets import HasTraits, default

from async_kernel.errors import ClientError
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import chosen_subshell, current_job
from async_kernel.shell.display import AsyncDisplayHook
from async_kernel.shell.execution import Running
from async_kernel.shell.history import KernelHistory
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.typing import Content, Job

__all__ = ["AsyncInteractiveSubshell"]

OWN_TRAITS: Final = frozenset(
    {
        *("builtin_trap", "execution_count", "exit_now", "exiter", "history_manager", "prefilter_manager"),
        *("last_execution_result", "last_execution_succeeded", "_post_execute"),
    }
)
"""The traits that a subshell does not take over from the main shell."""
NOTHING_SHOWN: Final = {"_": "", "__": "", "___": ""}
"""The last values, before there is one."""
SHARED_TRAITS: Final = ("ast_transformers", "input_transformer_manager", "input_transformers_post")
"""Those that are shared although they may not have a value yet."""


class NamesOver(dict[str, Any]):
    """The names of an isolated subshell; a name that it has not is looked up among those of the main shell.

    It serves as the globals of cells: Python asks a subclass of dict for a name with `__missing__` too, so functions
    and comprehensions find the names of their cell and those of the main shell alike.
    """

    def __init__(self, below: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._below = below

    def __missing__(self, name: str) -> Any:
        return self._below()[name]


class HeldTrap(BuiltinTrap):
    """The names that IPython adds to `builtins` are there as long as the main shell lives: nothing to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> Literal[False]:
        return False


class AsyncInteractiveSubshell(AsyncInteractiveShell):
    """A shell beside the main one; `SubshellManager.create_subshell` makes it. It changes nothing in the process.

    Args:
        main: The main shell.
        caller: Runs its cells; it is stopped with the subshell.
        subshell_id: What messages call it.
        name: What the user calls it; default: its id.
        protected: Only `stop(force=True)` stops it.
        namespace: `shared` (the names of the main shell) or `isolated` (its own over those of the main shell).
        when_ended: Called when nothing runs in it any more.

    Attributes:
        stopped: Whether it was asked to stop: it takes no requests any more.
    """

    _open = False
    Completer: Any = property(lambda self: self.main_shell.Completer)  # pyright: ignore[reportIncompatibleVariableOverride]
    inspector: Any = property(lambda self: self.main_shell.inspector)

    def __init__(
        self,
        main: AsyncInteractiveShell,
        caller: Caller,
        *,
        subshell_id: str,
        name: str = "",
        protected: bool = True,
        namespace: Literal["shared", "isolated"] = "shared",
        when_ended: Callable[[AsyncInteractiveSubshell], object] = lambda _: None,
    ) -> None:
        HasTraits.__init__(self)  # None of IPython's own: that sets up a process for its one shell.
        self.main_shell = main
        self.subshell_manager = main.subshell_manager
        self.caller = caller
        self.subshell_id = subshell_id
        self.name = name or subshell_id
        self.protected = protected
        self.stopped = False
        self.owns_names = namespace == "isolated"
        self._when_ended = when_ended
        self._lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._requests = 0
        self._magics: dict[int, tuple[Magics, Magics]] = {}
        self._take_over_traits()
        # Not its property: that makes what is made when it is needed.
        self._configurables = [self, *main._configurables[1:]]  # pyright: ignore[reportPrivateUsage]
        if self.owns_names:
            self.user_ns = NamesOver(lambda: main.user_ns)
            self.user_ns_hidden: dict[str, Any] = {}
            self.ns_table = {**main.ns_table, "user_local": self.user_ns}
            self.init_user_ns()

    def _take_over_traits(self) -> None:
        for name in SHARED_TRAITS:
            getattr(self.main_shell, name)
        values = self.main_shell._trait_values  # pyright: ignore[reportPrivateUsage]  # what is set, without defaults
        self._trait_values.update({name: value for name, value in values.items() if name not in OWN_TRAITS})

    def __getattr__(self, name: str) -> Any:
        """What it has not itself is the main shell's."""
        main = self.__dict__.get("main_shell")
        if main is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(main, name)

    def __repr__(self) -> str:
        state = "stopped" if self.stopped else "running"
        return f"<{type(self).__name__} {self.name!r}: {self.caller.backend.value}, {state}>"

    # -- its life -----------------------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """A request has come for it; False: it is stopped. Each one that was let in has to `leave`."""
        with self._lock:
            if not self.stopped:
                self._requests += 1
            return not self.stopped

    def leave(self) -> None:
        """A request has ended."""
        with self._lock:
            self._requests -= 1
            ended = self.stopped and not self._requests
        if ended:
            self._end()

    async def refuse(self, job: Job[Any], /) -> Content | None:
        """The handler of what was queued when it was stopped.

        Raises:
            ClientError: Always.
        """
        raise ClientError(f"{job['msg']['header']['msg_type']}: the subshell {self.subshell_id!r} was deleted")

    def stop(self, *, force: bool = False) -> None:
        """Stop it, from any thread: what awaits in it is interrupted, and what is queued is answered with an error.

        Its thread ends when nothing runs in it any more: code that blocks is not interrupted. Idempotent.

        Args:
            force: Stop a protected one too.
        """
        if self.protected and not force:
            return
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
            ended = not self._requests
        for cell in list(self.cells.values()):
            if cell.shell is self:
                self._interrupt(cell)
        if ended:
            self._end()

    def _interrupt(self, cell: Running) -> None:
        callers = (caller for caller in Caller.all_callers(running_only=False) if caller.ident == cell.thread)
        if (caller := next(callers, None)) is not None:
            with contextlib.suppress(RuntimeError):  # The cell has ended by now, and with it the subshell's thread.
                caller.call_direct(cell.interrupt)

    def _end(self) -> None:
        self.caller.stop(force=True)
        if (history := self._trait_values.get("history_manager")) is not None:
            history.close()
        self._when_ended(self)

    def _enter(self, cell: Running) -> Running | None:
        outer = super()._enter(cell)
        if self.stopped:  # Since the request was let in.
            cell.interrupted = True
        return outer

    # -- what is its own ----------------------------------------------------------------------------------------------

    @property
    def cell_globals(self) -> dict[str, Any]:
        return self.user_ns if self.owns_names else self.user_global_ns

    @default("builtin_trap")
    def _make_builtin_trap(self) -> HeldTrap:
        return HeldTrap(self.main_shell)

    @default("history_manager")
    def _make_history(self) -> KernelHistory:
        mode = "off" if self.main_shell.history_mode == "off" else "memory"
        return KernelHistory(shell=self, mode=mode, parent=self)

    @cached_property
    def displayhook(self) -> AsyncDisplayHook:
        hook = for_shell(self.main_shell.displayhook, self)
        hook._, hook.__, hook.___ = NOTHING_SHOWN.values()
        return hook

    def init_user_ns(self) -> None:
        """Put into its own namespace what is there before the first cell."""
        super().init_user_ns()
        self.user_ns.update(NOTHING_SHOWN)

    def _completions(self, code: str, cursor_pos: int) -> list[Any]:
        main = self.main_shell
        with main.completer_lock:
            completer = main.Completer
            names = completer.namespace
            completer.namespace = self.user_ns
            try:
                return main._completions(code, cursor_pos)  # pyright: ignore[reportPrivateUsage]
            finally:
                completer.namespace = names

    def reset(self, new_session: bool = True, aggressive: bool = False) -> None:
        """Empty the namespace, which where it is shared is the main shell's, and cancel what the cells left pending."""
        if self.owns_names:
            self._on_reset()
            self.user_ns.clear()
            self.user_ns_hidden.clear()
            self.init_user_ns()
        else:
            self.main_shell.reset(new_session, aggressive)
        self.history_manager.reset(new_session)  # pyright: ignore[reportOptionalMemberAccess]
        if new_session:
            self.execution_count = 1

    # -- magics: the main shell's, which know that they run in this one ------------------------------------------------

    def _find_with_lazy_load(self, type_: str, magic_name: str) -> Any:
        return self.find_magic(magic_name, type_)

    def find_line_magic(self, magic_name: str) -> Any:
        return self.find_magic(magic_name, "line")

    def find_cell_magic(self, magic_name: str) -> Any:
        return self.find_magic(magic_name, "cell")

    def find_magic(self, magic_name: str, magic_kind: Any = "line") -> Any:
        """A magic by name, None where there is none."""
        magic: Any = self.magics_manager.find(magic_kind, magic_name)
        owner = getattr(magic, "__self__", None)
        if not isinstance(owner, Magics) or owner.shell is not self.main_shell:
            return magic
        _, own = self._magics.setdefault(id(owner), (owner, for_shell(owner, self)))
        return MethodType(magic.__func__, own)

    # -- cells of other shells ----------------------------------------------------------------------------------------

    async def run_body(self, code: str, job: Job[Any] | None) -> Any:
        """Run code for a cell of another shell, which its output goes to; returns IPython's result."""
        token, choice = current_job.set(job), chosen_subshell.set(self.subshell_id)
        try:
            return await self.run_cell_async(code, store_history=True)
        finally:
            chosen_subshell.reset(choice)
            current_job.reset(token)
            self.leave()


def for_shell(part: Any, shell: AsyncInteractiveSubshell) -> Any:
    """A copy of a part of the main shell that belongs to a subshell; what it refers to is the same."""
    part = copy.copy(part)
    part.shell = shell
    return part
