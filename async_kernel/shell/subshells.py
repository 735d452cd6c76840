"""The subshells of a kernel: made, found by id or context, deleted.

What a subshell is made of is imported with the first one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

from async_kernel.errors import ClientError
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import current_job, current_subshell_id
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.typing import SocketID

__all__ = ["Namespace", "SubshellManager", "lane"]

Namespace: TypeAlias = Literal["shared", "isolated"]


class SubshellManager:
    """The subshells of a kernel. Every method may be called from any thread.

    Args:
        main_shell: The main shell.
        caller: Runs the cells of the main shell; the callers of subshells are its children.
        namespace: `shared` or `isolated`: the names that a subshell has.
        when_ended: Called with the id of each subshell that has ended.
    """

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
        self._subshells: dict[str, Any] = {}
        self._subshell_class: Any = None
        main_shell.subshell_manager = self

    @property
    def default_subshell_class(self) -> Any:
        """What `create_subshell` makes an instance of: `AsyncInteractiveSubshell`, or a subclass that was set."""
        if self._subshell_class is None:
            from async_kernel.shell.subshell import AsyncInteractiveSubshell  # 8 ms, not needed by every kernel

            self._subshell_class = AsyncInteractiveSubshell
        return self._subshell_class

    @default_subshell_class.setter
    def default_subshell_class(self, value: Any) -> None:
        self._subshell_class = value

    def create_subshell(self, *, protected: bool = True, name: str = "") -> Any:
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

    def running(self) -> Iterable[Any]:
        """The subshells, oldest first."""
        return [each for each in list(self._subshells.values()) if not each.stopped]

    def get_shell(self, subshell_id: str | None = None) -> Any:
        """The subshell of that id; the main shell for None.

        Raises:
            ClientError: There is no such subshell, or it was deleted.
        """
        if subshell_id is None:
            return self.main_shell
        subshell = self._subshells.get(subshell_id) if isinstance(subshell_id, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if subshell is None or subshell.stopped:
            raise ClientError(f"subshell_id: there is no subshell {subshell_id!r:.100}: never made, or deleted")
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
        subshell = self.get_shell(subshell_id)
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

    def _forget(self, subshell: Any) -> None:
        self._subshells.pop(subshell.subshell_id, None)
        self._when_ended(subshell.subshell_id)


def lane(socket_id: SocketID, subshell_id: str | None, kind: str = "request") -> tuple[SocketID, str | None, str]:
    """The queue of a channel and (sub)shell; comm messages have one of their own: widgets live while a cell awaits."""
    return socket_id, subshell_id, kind
