"""Magics that run a cell in another thread, on an event loop of its own of either backend."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class

from async_kernel.scheduling import event_loops
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.pending import Event
from async_kernel.typing import Backend

__all__ = ["LoopMagics"]

GRACE_SECONDS: Final = 3.0
"How long a cell that is cancelled waits for what it has started in another thread."


@magics_class
class LoopMagics(Magics):
    """`%%thread`, `%%asyncio` and `%%trio`."""

    shell: Any

    @cell_magic
    def thread(self, line: str, cell: str) -> Coroutine[Any, Any, None]:
        """Run the cell in a worker thread, on an event loop of the kernel's backend; the cell awaits it."""
        return self._run("%%thread", line, cell, None)

    @cell_magic("asyncio")  # pyright: ignore[reportUntypedFunctionDecorator]
    def run_asyncio(self, line: str, cell: str) -> Coroutine[Any, Any, None]:
        """Run the cell in a worker thread, on an asyncio event loop; the cell awaits it."""
        return self._run("%%asyncio", line, cell, Backend.asyncio)

    @cell_magic("trio")  # pyright: ignore[reportUntypedFunctionDecorator]
    def run_trio(self, line: str, cell: str) -> Coroutine[Any, Any, None]:
        """Run the cell in a worker thread, on a trio event loop; the cell awaits it."""
        return self._run("%%trio", line, cell, Backend.trio)

    async def _run(self, name: str, line: str, cell: str, backend: Backend | None) -> None:
        if line.strip():
            raise UsageError(f"{name} takes no arguments, got {line.strip()!r}")
        caller = Caller.get_current()
        if caller is None:
            raise UsageError(f"{name}: this thread is not the kernel's")
        while caller.parent is not None:
            caller = caller.parent
        if backend not in (None, caller.backend):
            caller = caller.get(name=f"{caller.name}-{backend.value}", backend=backend, protected=True)
        shell = self.shell
        outer = shell.running_cell()
        result = await _run_elsewhere(caller, shell, cell)
        error = result.error_before_exec or result.error_in_exec
        if outer is None:
            result.raise_error()
        elif error is not None:
            outer.result.error_in_exec = error  # It was shown where it happened; the reply says it too.


async def _run_elsewhere(caller: Caller, shell: Any, cell: str) -> Any:
    """Run a cell in a worker of `caller`; where it is cancelled, it is given time to end there."""
    ended = Event()

    async def run() -> Any:
        try:
            return await shell.run_cell_async(cell)
        finally:
            ended.set()

    try:
        return await caller.to_thread(run)
    except BaseException:
        with event_loops.this_driver().shield(GRACE_SECONDS):
            await ended
        raise
