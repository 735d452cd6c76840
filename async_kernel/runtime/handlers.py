"""The handlers of requests: one coroutine method for each message type, found by name on the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from async_kernel.protocol.content import parse
from async_kernel.shell.user_code import call_user_code
from async_kernel.typing import Content, HandlerType, Job, MsgType

__all__ = ["RequestHandlers", "immediate", "is_immediate"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "_async_kernel_immediate"


def immediate(handler: F) -> F:
    """Mark a handler that never waits: as `direct` it is run in the thread that receives, without an event loop."""
    setattr(handler, _MARK, True)
    return handler


def is_immediate(handler: HandlerType) -> bool:
    """Whether `handler` is marked; what overrides a marked one is not, unless it is marked itself."""
    return getattr(handler, _MARK, False)


class RequestHandlers:
    """One coroutine method for every `MsgType`: overriding it in a subclass is the way to customise a kernel.

    Each returns the content of the reply, or None where there is none; what it raises becomes an error reply.
    """

    _running_parts: Any
    kernel_info: Any
    comm_manager: Any
    shell: Any
    interrupts: Any
    iopub_send: Callable[..., None]
    stop: Callable[..., None]

    @property
    def debugger(self) -> Any:
        """The debugger; debugpy is imported with its first session."""
        return self._running_parts.debugging.debugger

    @immediate
    async def kernel_info_request(self, job: Job[Any], /) -> Content | None:
        """Who the kernel is, what it speaks, and whether it is busy."""
        return {**self.kernel_info, "async_kernel": self._running_parts.state()}

    @immediate
    async def comm_info_request(self, job: Job[Any], /) -> Content | None:
        """The open comms."""
        request = parse(MsgType.comm_info_request, job["msg"]["content"])
        return {"status": "ok", "comms": self.comm_manager.info(request.target_name)}

    @immediate
    async def connect_request(self, job: Job[Any], /) -> Content | None:
        """The ports of the channels."""
        ports = self._running_parts.connection.info.ports
        return {"status": "ok", **{f"{socket_id.value}_port": port for socket_id, port in ports.items()}}

    async def execute_request(self, job: Job[Any], /) -> Content | None:
        """Run a cell."""
        return await self._running_parts.execute(job)

    async def complete_request(self, job: Job[Any], /) -> Content | None:
        """Complete code at the cursor."""
        request = parse(MsgType.complete_request, job["msg"]["content"])
        return await self.shell.do_complete_request(request.code, request.cursor_pos)

    async def is_complete_request(self, job: Job[Any], /) -> Content | None:
        """Whether code is complete, for consoles."""
        request = parse(MsgType.is_complete_request, job["msg"]["content"])
        return await self.shell.is_complete_request(request.code)

    async def inspect_request(self, job: Job[Any], /) -> Content | None:
        """What is known of the object at the cursor."""
        request = parse(MsgType.inspect_request, job["msg"]["content"])
        return await self.shell.inspect_request(request.code, request.cursor_pos, request.detail_level)

    async def history_request(self, job: Job[Any], /) -> Content | None:
        """Earlier cells."""
        request = parse(MsgType.history_request, job["msg"]["content"])
        return await self.shell.history_request(**msgspec.structs.asdict(request))

    async def comm_open(self, job: Job[Any], /) -> Content | None:
        """A frontend opens a comm; one of an unknown target is closed again."""
        parse(MsgType.comm_open, job["msg"]["content"])
        call_user_code(self.comm_manager.comm_open, None, None, job["msg"])

    async def comm_msg(self, job: Job[Any], /) -> Content | None:
        """A message to a comm."""
        parse(MsgType.comm_msg, job["msg"]["content"])
        call_user_code(self.comm_manager.comm_msg, None, None, job["msg"])

    async def comm_close(self, job: Job[Any], /) -> Content | None:
        """A frontend closes a comm."""
        parse(MsgType.comm_close, job["msg"]["content"])
        call_user_code(self.comm_manager.comm_close, None, None, job["msg"])

    @immediate
    async def interrupt_request(self, job: Job[Any], /) -> Content | None:
        """Interrupt what runs; what a debugger has paused, when it goes on (`deferred`)."""
        request = parse(MsgType.interrupt_request, job["msg"]["content"])
        held = self._running_parts.interrupt(self.interrupts, request.msg_ids, request.subshell_id)
        return {"status": "ok", "deferred": True} if held else {"status": "ok"}

    @immediate
    async def shutdown_request(self, job: Job[Any], /) -> Content | None:
        """Stop the kernel, after the reply."""
        request = parse(MsgType.shutdown_request, job["msg"]["content"])
        content = {"status": "ok", "restart": request.restart}
        self.iopub_send("shutdown_reply", content)
        self.stop("a client asked for a restart" if request.restart else "a client asked for it")
        return content

    async def debug_request(self, job: Job[Any], /) -> Content | None:
        """A request of the Debug Adapter Protocol."""
        return await self._running_parts.debugging.request(job)

    async def create_subshell_request(self, job: Job[Any], /) -> Content | None:
        """Make a subshell (JEP 91)."""
        subshell = self._running_parts.subshells.create_subshell(protected=False)
        return {"status": "ok", "subshell_id": subshell.subshell_id}

    async def delete_subshell_request(self, job: Job[Any], /) -> Content | None:
        """Delete a subshell (JEP 91)."""
        request = parse(MsgType.delete_subshell_request, job["msg"]["content"])
        self._running_parts.subshells.delete_subshell(request.subshell_id)
        return {"status": "ok"}

    @immediate
    async def list_subshell_request(self, job: Job[Any], /) -> Content | None:
        """The ids of the subshells (JEP 91)."""
        return {"status": "ok", "subshell_id": self._running_parts.subshells.list_subshells()}

    async def usage_request(self, job: Job[Any], /) -> Content | None:
        """What the kernel and its host use: CPU and memory."""
        return self._running_parts.usage.measure()
