"""The kernel around its debugger: what the debugger asks of it, and what it is made of when it is first needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from async_kernel.interfaces import Publisher
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import current_job
from async_kernel.shell.compiler import HASH_METHOD, HASH_SEED, TMP_FILE_SUFFIX
from async_kernel.shell.user_code import call_user_code
from async_kernel.typing import Content, Job

__all__ = ["Debugging"]


class Debugging:
    """Makes the debugger with the first debug request; an `async_kernel.debugger.debugger.Surroundings`.

    Args:
        publish: Publishes debug events.
        control: What runs debug requests; its thread is hidden from debugpy.
        shell: Returns the main shell.
        paused: Told whether code of the user is paused: interrupts wait meanwhile.
    """

    hash_method: str = HASH_METHOD
    hash_seed: int = HASH_SEED

    def __init__(
        self, publish: Publisher, control: Caller, shell: Callable[[], Any], paused: Callable[[bool], object]
    ) -> None:
        self._publish = publish
        self._control = control
        self._shell = shell
        self.paused = paused
        self._debugger: Any = None
        self.cells: Any = None

    @property
    def debugger(self) -> Any:
        """The debugger."""
        if self._debugger is None:
            from async_kernel.debugger.cells import CellFiles
            from async_kernel.debugger.debugger import Debugger

            compiler = self._shell().compile
            self.cells = CellFiles(compiler.prefix, TMP_FILE_SUFFIX, lambda code: compiler.get_code_name(code, code, 0))
            self._debugger = Debugger(self._publish, self._control.call_direct, self)
        return self._debugger

    async def request(self, job: Job[Any]) -> Content:
        """Answer a `debug_request`."""
        return await self.debugger.process_request(job["msg"])

    def cell(self) -> None:
        """A cell is about to run in this thread."""
        if self._debugger is not None:
            self._debugger.trace_this_thread()

    def end(self) -> None:
        """End the debug session, from any thread: what is paused goes on."""
        if self._debugger is not None:
            self._control.call_direct(self._debugger.close)

    def close(self) -> None:
        """Remove the files of cells."""
        if self.cells is not None:
            self.cells.remove()

    @staticmethod
    def breakpoint(*args: Any, **kwargs: Any) -> Any:
        """`sys.breakpointhook` while no debugger is attached: pdb, without the signal handler that it would leave."""
        if "PYTHONBREAKPOINT" in os.environ:
            return sys.__breakpointhook__(*args, **kwargs)
        import pdb  # 10 ms, only where it is asked for

        return pdb.Pdb(nosigint=True).set_trace(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    def names(self) -> Mapping[str, Any]:
        """The user's namespace."""
        return self._shell().user_ns

    def hidden_names(self) -> Mapping[str, Any]:
        """What is in it that is not the user's."""
        return self._shell().user_ns_hidden

    def rich(self, expression: str) -> Content:
        """What IPython's `user_expressions` says of an expression."""
        return call_user_code(self._shell().user_expressions, {"value": expression})["value"]

    def idle_threads(self) -> set[str]:
        """The names of the workers that have nothing to do."""
        return {each.name for each in Caller.all_callers() if each.idle_since and not _busy(each)}


def _busy(worker: Caller) -> bool:
    return any(call.context.get(current_job) is not None for call in list(worker.live))  # Others are timers.
