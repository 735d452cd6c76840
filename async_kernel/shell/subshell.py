"""Subshells (JEP 91): shells beside the main one, each with a thread, an event loop, a queue, a count and a history.

A subshell is the main shell seen from another thread: what it has not itself (magics, formatters, compiler, completer,
events, the cells that run, what an extension has put there) is the main shell's, so that making one costs little more
than its thread, and what a user registers in one shell is there in all.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from types import MethodType
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.magic import Magics
from traitlets import HasTraits, default

from async_kernel.errors import ClientError
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import chosen_subshell, current_job, current_subshell_id
from async_kernel.shell.display import AsyncDisplayHook
from async_kernel.shell.execution import Running
from async_kernel.shell.history import KernelHistory
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.typing import Content, Job, SocketID

__all__ = ["AsyncInteractiveSubshell", "Namespace", "SubshellManager"]

Namespace: TypeAlias = Literal["shared", "isolated"]

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
        namespace: Namespace = "shared",
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
        for cell in tuple(self.cells.values()):
            if cell.shell is self:
                self._interrupt(cell)
        if ended:
            self._end()

    def _interrupt(self, cell: Running) -> None:
        callers = (caller for caller in Caller.all_callers(running_only=False) if caller.ident == cell.thread)
        if (caller := next(callers, None)) is not None:
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


class SubshellManager:
    """The subshells of a kernel. Every method may be called from any thread.

    Args:
        main_shell: The main shell.
        caller: Runs the cells of the main shell; the callers of subshells are its children.
        namespace: `shared` or `isolated`: the names that a subshell has.
        when_ended: Called with the id of each subshell that has ended.
    """

    default_subshell_class: ClassVar[type[AsyncInteractiveSubshell]] = AsyncInteractiveSubshell
    "What is made; a subclass of `AsyncInteractiveSubshell`."

    def __init__(
        self,
        main_shell: AsyncInteractiveShell,
        caller: Caller,
        namespace: Namespace = "shared",
        when_ended: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.main_shell = main_shell
        self.namespace: Namespace = namespace
        self.caller = caller
        self._when_ended = when_ended
        self._subshells: dict[str, AsyncInteractiveSubshell] = {}
        main_shell.subshell_manager = self

    def create_subshell(self, *, protected: bool = True, name: str = "") -> AsyncInteractiveSubshell:
        """Make a subshell, with a thread and an event loop of the main shell's backend.

        Args:
            protected: It can't be deleted: only its own `stop(force=True)`, and the end of the kernel, stop it.
            name: What the user calls it; default: its id.

        Raises:
            RuntimeError: The kernel is stopping.
        """
        subshell_id = os.urandom(16).hex()
        subshell = self.default_subshell_class(
            self.main_shell,
            self.caller.get(name=f"Subshell {name or subshell_id[:8]} {subshell_id[8:16]}", protected=True),
            subshell_id=subshell_id,
            name=name,
            protected=protected,
            namespace=self.namespace,
            when_ended=self._forget,
        )
        self._subshells[subshell_id] = subshell
        return subshell

    def list_subshells(self) -> list[str]:
        """The ids of the subshells, oldest first."""
        return [each.subshell_id for each in self.running()]

    def running(self) -> Iterable[AsyncInteractiveSubshell]:
        """The subshells, oldest first."""
        return [each for each in tuple(self._subshells.values()) if not each.stopped]

    def get_shell(self, subshell_id: str | None = None) -> Any:
        """The subshell of that id; the main shell for None.

        Raises:
            ClientError: There is no such subshell, or it was deleted.
        """
        if subshell_id is None:
            return self.main_shell
        subshell = self._subshells.get(subshell_id) if isinstance(subshell_id, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if subshell is None or subshell.stopped:
            raise ClientError(f"subshell_id: there is no subshell {subshell_id!r}: never made, or deleted")
        return subshell

    def current(self) -> Any:
        """The subshell that the current context belongs to; the main shell where that is none, or has ended."""
        if not self._subshells or (subshell_id := current_subshell_id()) is None:
            return self.main_shell
        return self._subshells.get(subshell_id, self.main_shell)

    def delete_subshell(self, subshell_id: str) -> None:
        """Stop a subshell.

        Raises:
            ClientError: There is no such subshell, it was deleted before, or it is protected.
        """
        subshell: AsyncInteractiveSubshell = self.get_shell(subshell_id)
        if subshell.protected:
            raise ClientError(f"the subshell {subshell_id!r} is protected: only its own `stop(force=True)` stops it")
        subshell.stop()

    def stop_all_subshells(self, *, force: bool = False) -> None:
        """Stop every subshell; protected ones only with `force`."""
        for each in self.running():
            each.stop(force=force)

    async def run(self, name: str, code: str) -> Any:
        """Run code in the subshell of that name, made where there is none, after what is queued there.

        The output goes to the cell that the current context belongs to. Returns IPython's result.

        Raises:
            ClientError: The subshell was deleted meanwhile.
        """
        named = (each for each in self.running() if name in (each.name, each.subshell_id))
        subshell = next(named, None) or self.create_subshell(protected=False, name=name)
        if self.current() is subshell:
            return await subshell.run_cell_async(code, store_history=True)
        if not subshell.enter():
            raise ClientError(f"the subshell {name!r} was deleted")
        key = lane(SocketID.shell, subshell.subshell_id)
        return await subshell.caller.queue_call(subshell.run_body, code, current_job.get(), key=key)

    def _forget(self, subshell: AsyncInteractiveSubshell) -> None:
        self._subshells.pop(subshell.subshell_id, None)
        self._when_ended(subshell.subshell_id)


def lane(socket_id: SocketID, subshell_id: str | None, kind: str = "request") -> tuple[SocketID, str | None, str]:
    """The queue of a channel and (sub)shell; comm messages have one of their own: widgets live while a cell awaits."""
    return socket_id, subshell_id, kind
