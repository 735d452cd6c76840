"""What a running kernel is made of, and what it does with a request."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Protocol

import msgspec

from async_kernel.comm import CommManager
from async_kernel.errors import ClientError, KernelInterruptError
from async_kernel.protocol.cell_policy import CellPolicy
from async_kernel.protocol.content import ExecuteRequest, parse
from async_kernel.protocol.messages import error_content
from async_kernel.protocol.run_modes import RunModes
from async_kernel.protocol.session import Session
from async_kernel.runtime.background import Background
from async_kernel.runtime.comm_lanes import comm_lane
from async_kernel.runtime.connection import Connection
from async_kernel.runtime.debugging import Debugging
from async_kernel.runtime.dispatch import Aborts, Dispatch, Handlers
from async_kernel.runtime.input_requests import InputRequests
from async_kernel.runtime.interrupts import Interrupts
from async_kernel.runtime.jobs import Entry, Jobs
from async_kernel.runtime.publishing import Publishing
from async_kernel.runtime.recorder import Recorder
from async_kernel.runtime.timing import timing
from async_kernel.runtime.variables import Variables
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.context import current_job
from async_kernel.scheduling.event_loops import CancelScope
from async_kernel.shell.execution import Running
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.shell.outstream import Name, Output, TextSink
from async_kernel.shell.subshells import SubshellManager
from async_kernel.shell.user_code import USER_CODE
from async_kernel.typing import Content, HandlerType, Job, MsgType, SocketID

__all__ = ["Living", "Parts"]

log = logging.getLogger("async_kernel")


class Living(Handlers, Protocol):
    """What the parts ask of the kernel: its settings."""

    run_modes: Any
    stdin: Any
    comms: Any
    quiet: Any
    thread_output: Any
    output_limit: Any


class Parts:
    """The parts of one running kernel.

    Args:
        kernel: The kernel: its settings and handlers.
        connection: Its open connection.
        callers: The callers of shell and control.
        scope: Cancelled, in the shell caller's loop, to stop the kernel.
        when_idle: Called (main thread) for an interrupt signal from outside while nothing runs.
    """

    shell: AsyncInteractiveShell
    subshells: SubshellManager
    _stopping: bool = False

    def __init__(
        self,
        kernel: Living,
        connection: Connection,
        callers: dict[SocketID, Caller],
        scope: CancelScope,
        when_idle: Callable[[], None],
    ) -> None:
        self.connection: Connection = connection
        self.callers: dict[SocketID, Caller] = callers
        self.recorder: Recorder = connection.recorder or Recorder()
        self.messenger = connection.reception.messenger
        self.publish: Publishing = Publishing(self.messenger, kernel.thread_output, kernel.output_limit)
        self.session: Session = Session(connection.wire)
        self.run_modes: RunModes = RunModes(kernel.run_modes)
        self.aborts: Aborts = Aborts()
        self.jobs: Jobs = Jobs(self._cell_of)
        self.dispatch: Dispatch = Dispatch(
            kernel,
            self.messenger,
            callers,
            self.run_modes.allowed,
            self.aborts,
            self._subshell,
            self.jobs.accepted,
            connection.reception.refuse,
            self.jobs.end,
            comms=comm_lane(kernel.comms, callers[SocketID.shell]),
        )
        self.comm_manager: CommManager = CommManager(self.publish, lambda name: self.shell.events.trigger(name))
        self.output: Output = Output(self.publish, echo=terminal(kernel.quiet), parent=self.publish.parent)
        self.background: Background = Background(self.publish, self.output, self._failed)
        self.inputs: InputRequests = InputRequests(
            self.messenger, allowed=lambda: kernel.stdin == "allow", flush=self.output.flush
        )
        self.variables: Variables = Variables()
        self._scope = scope
        self.interrupts: Interrupts = self._make_interrupts(when_idle)
        self.debugging = Debugging(self.publish, callers[SocketID.control], lambda: self.shell, self.interrupts.hold)

    def _make_interrupts(self, when_idle: Callable[[], None]) -> Interrupts:
        return Interrupts(
            running=self.jobs.running,
            wake_input=self.inputs.interrupt,
            user_code=USER_CODE,
            when_idle=when_idle,
            begun=self._interrupted,
        )

    @cached_property
    def usage(self) -> Any:
        """What measures what the process uses."""
        from async_kernel.runtime.usage import Usage  # with the first request

        return Usage()

    def _interrupted(self, count: int) -> None:
        self.connection.reception.tell("interrupted", {"count": count})

    def _failed(self, what: str, error: str) -> None:
        self.connection.reception.tell("failed", {"what": what, "error": error})

    def _subshell(self, subshell_id: str) -> Any:
        return self.subshells.get_shell(subshell_id)

    def _cell_of(self, job: Job[Any]) -> Running | None:
        shell = self.__dict__.get("shell")  # It is made after the signal handlers are set.
        cell = None if shell is None else shell.cells.get(id(job))
        return None if cell is None else cell.in_its_thread()

    def state(self) -> Content:
        """Whether it is busy, and who it is, for `async-kernel ps`."""
        running = len(self.jobs.running())
        return self.connection.state("busy" if running else "idle", running)

    def receive(self, job: Job[Any], handler: Callable[[Job[Any]], None]) -> None:
        """Take a job from the reception: an answer to `input()` goes to who waits for it, the rest to `handler`."""
        if job["socket_id"] is not SocketID.stdin:
            handler(job)
        elif (msg_type := job["msg"]["header"]["msg_type"]) == "input_reply":
            self.inputs.receive(job)
        else:
            self.connection.reception.refuse("type", "dropped a message of type %.100r on the stdin channel", msg_type)

    async def run_handler(self, handler: HandlerType, job: Job[Any], *, immediate: bool) -> None:
        """The life of one request: busy, the handler, its output, the reply, idle."""
        token = current_job.set(job)
        entry = self.jobs.begin(job)
        began = time.time_ns()
        try:
            with self.messenger.exchange(job) as exchange:
                if entry is not None:
                    entry.check()
                try:
                    content = await handler(job)
                finally:
                    if not immediate:  # That runs in the transport's thread, which must not wait for a full outbox.
                        self.output.flush()
                        self.publish.settle(job)
                if content is not None:
                    exchange.reply(content, timing(job, began) if exchange.msg_type == "execute_request" else None)
        except ClientError as error:
            self.connection.reception.refuse("content", "%s", error)
        except KernelInterruptError as error:
            log.info("%s was interrupted: %s", job["msg"]["header"]["msg_type"], error)
        except (Exception, KeyboardInterrupt):
            log.exception("the handler of %s failed", job["msg"]["header"]["msg_type"])
        finally:
            self.jobs.end(job)
            current_job.reset(token)

    def forget_subshell(self, subshell_id: str) -> None:
        """A subshell has ended: nothing of it is kept."""
        self.aborts.forget(subshell_id)
        self.variables.forget(subshell_id)

    async def execute(self, job: Job[Any]) -> Content:
        """Run a cell; where an earlier error aborts it, say so."""
        if self._stopping or self.aborts.covers(job):
            reason = "the kernel stops" if self._stopping else "Aborting due to prior exception"
            return {**error_content(RuntimeError(reason)), "status": "aborted"}
        request: ExecuteRequest = parse(MsgType.execute_request, job["msg"]["content"])
        policy = CellPolicy.parse(job["msg"]["metadata"])
        if (mode := self.jobs.mode_of(job)) is not policy.run_mode:
            policy = msgspec.structs.replace(policy, run_mode=mode)
        self.publish.latest = job
        shell = self.subshells.current()
        self.debugging.cell()
        token = self.background.begin(job)
        try:
            self.variables.begin(job)
            try:
                content: Content = await self._recorded(job, request, shell, policy)
            finally:
                self.variables.end(job)
        finally:
            self.background.end(job, token)
        stops = request.stop_on_error if policy.stop_on_error is None else policy.stop_on_error
        if content["status"] == "error" and stops and not policy.raises_exception:
            self.aborts.failed(job, shell.stop_on_error_time_offset)
        return content

    async def _recorded(self, job: Job[Any], request: ExecuteRequest, shell: Any, policy: CellPolicy) -> Content:
        """Run a cell, so that it is known which one it was if the kernel dies of it."""
        counted = request.store_history and not request.silent
        if counted and self.recorder.untold:
            self._tell_of_predecessor(job)
        place = self.recorder.begin(
            job["msg"]["header"]["msg_id"], shell.execution_count if counted else 0, request.code
        )
        try:
            return await shell.execute_request(
                request.code,
                silent=request.silent,
                store_history=bool(request.store_history),
                user_expressions=request.user_expressions,
                allow_stdin=request.allow_stdin,
                stop_on_error=request.stop_on_error,
                cell_id=job["msg"]["metadata"].get("cellId"),
                policy=policy,
            )
        finally:
            self.recorder.end(place)

    def _tell_of_predecessor(self, job: Job[Any]) -> None:
        """Say in the first cell why all names are gone."""
        self.recorder.untold = False
        if dead := self.recorder.predecessors():
            text = f"the kernel before this one died ({dead[0].summary}): async-kernel logs --last\n"
            self.publish("stream", {"name": "stderr", "text": text}, parent=job)

    def interrupt(
        self, callbacks: Iterable[Callable[[], object]], msg_ids: tuple[str, ...] = (), subshell_id: str | None = None
    ) -> bool:
        """Interrupt what runs, or only what is named; `callbacks` are called in the control thread.

        Without names, what is queued and has not begun is left alone: it runs next, unless the error aborts it.
        Returns whether the interrupt waits until what a debugger has paused goes on.
        """
        for callback in tuple(callbacks):
            self.callers[SocketID.control].call_direct(callback)
        if msg_ids or subshell_id is not None:
            self.cancel(self.jobs.matching(msg_ids, subshell_id))
        elif not self.interrupts.request():
            self._interrupted(0)
        return self.interrupts.held

    def cancel(self, entries: Iterable[Entry]) -> None:
        """End requests: what runs is interrupted, what waits is answered with the error when its turn comes."""
        entries = tuple(entries)
        for entry in entries:
            entry.revoked = True
        # One that begins just now has seen it, or is seen here to have begun.
        self.interrupts.request(entry for entry in entries if entry.began is not None)

    def interrupt_job(self, job: Job[Any]) -> None:
        """Interrupt the code that runs for a request, from any thread."""
        self.interrupts.request(entry for entry in self.jobs.running() if entry.job is job)

    def cancel_job(self, name: str) -> Content:
        """End the request that `%cancel` names by its number or the beginning of its id; returns what it was."""
        entry = self.jobs.find(name)
        description = entry.describe()
        self.cancel([entry])
        return description

    def stop(self) -> None:
        """End the kernel's life, from any thread: what blocks is interrupted, then its scope is cancelled."""
        self._stopping = True
        if (cells := self.__dict__.get("shell")) is not None:
            cells.ending = True
        shell = self.callers[SocketID.shell]
        try:
            self.debugging.end()
            self.interrupts.request_until(lambda: shell.stopped.is_set())
        finally:
            shell.call_direct(self._scope.cancel)


def terminal(quiet: bool) -> dict[Name, TextSink]:
    """Where output is echoed to."""
    return {} if quiet else {"stdout": sys.stdout, "stderr": sys.stderr}
