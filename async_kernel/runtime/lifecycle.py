"""The order in which a kernel starts and stops: nested contexts, so that what was opened last is closed first."""

from __future__ import annotations

import builtins
import getpass
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import comm

from async_kernel.comm import Comm
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.runtime.connection import Connection, connected
from async_kernel.runtime.exposure import Consent
from async_kernel.runtime.fd_capture import FdCapture
from async_kernel.runtime.forks import own_forks
from async_kernel.runtime.kernel_log import kernel_log
from async_kernel.runtime.parts import Living, Parts
from async_kernel.runtime.patches import Patch, patched
from async_kernel.runtime.signals import SignalHandler, signals_watched
from async_kernel.runtime.threads import system_task_patches, thread_patches
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.host import LoopHost
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.shell.subshells import SubshellManager
from async_kernel.threads import hide_from_debugger
from async_kernel.typing import Backend, SocketID

__all__ = ["Owner", "life"]


class Owner(Living, Protocol):
    """What a life asks of its kernel: its settings (traits, whose types a Protocol can't say) and what it is told."""

    connection_file: Any
    transport: Any
    ip: Any
    encryption: Any
    allow_unsigned: Any
    allow_network: Any
    capture_fds: Any
    gui: Any
    gui_events: Any
    kernel_name: Any
    history: Any
    completer: Any
    ipython_profile: Any
    log_level: Any
    startup: Any
    extensions: Any
    subshell_namespace: Any
    owns_process: bool
    shell_settings: dict[str, Any]

    def receive_msg_loop(self) -> None: ...
    def stop(self, reason: str = ...) -> None: ...
    def excepthook(self, kind: Any, value: Any, trace: Any) -> None: ...
    def unraisablehook(self, unraisable: Any) -> None: ...


@asynccontextmanager
async def life(
    kernel: Owner, connection: Connection | None, info: ConnectionInfo | None, attach: Callable[[Parts], None]
) -> AsyncGenerator[Parts]:
    """Everything that a running kernel needs, from its sockets to its patches.

    Args:
        kernel: The kernel.
        connection: A connection that is open already; else one is opened, and closed at the end.
        info: What to connect to, in place of what the connection file says.
        attach: Given the parts as soon as they stand: the kernel then receives.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(kernel_log(kernel.log_level))
        if connection is None:
            connection = stack.enter_context(_own_connection(kernel, info))
        backend = event_loops.running_backend() or Backend.asyncio
        shell_caller = await stack.enter_async_context(Caller("manual", name="Shell", protected=True))
        control = shell_caller.get(name="Control", protected=True)
        if control.thread is not None:
            hide_from_debugger(control.thread)  # It answers while what it debugs is paused.
        scope = event_loops.this_driver().Loop().scope()
        stack.enter_context(scope)
        callers = {SocketID.shell: shell_caller, SocketID.control: control}
        parts = Parts(kernel, connection, callers, scope, lambda: _idle_interrupt(kernel))
        stack.enter_context(parts.background.watching())
        stack.enter_context(_process_patched(kernel, parts))
        parts.shell = stack.enter_context(_open_shell(kernel, parts, backend))
        parts.subshells = SubshellManager(
            parts.shell, shell_caller, kernel.subshell_namespace, when_ended=parts.forget_subshell
        )
        stack.callback(parts.debugging.close)
        stack.callback(parts.subshells.stop_all_subshells, force=True)
        attach(parts)
        if kernel.capture_fds and kernel.owns_process:  # In another program, the descriptors are that program's.
            stack.enter_context(_captured(parts))
        kernel.receive_msg_loop()  # A cell in a thread runs at once.
        yield parts


def _own_connection(kernel: Owner, info: ConnectionInfo | None) -> Any:
    return connected(
        kernel.connection_file,
        info,
        transport=kernel.transport,
        ip=kernel.ip,
        kernel_name=kernel.kernel_name,
        encryption=kernel.encryption,
        consent=Consent(kernel.allow_unsigned, kernel.allow_network),
        kernel_info=None,
    )


def _idle_interrupt(kernel: Owner) -> None:
    # Ctrl-C in the terminal of a kernel that nobody manages and that runs nothing is meant for the kernel.
    if kernel.owns_process and "JPY_PARENT_PID" not in os.environ:
        kernel.stop("interrupted in its terminal")


@contextmanager
def _process_patched(kernel: Owner, parts: Parts) -> Generator[None]:
    """The process as cells expect it."""
    patches: list[Patch] = [
        (sys, "stdout", parts.output.stdout),
        (sys, "stderr", parts.output.stderr),
        (sys, "excepthook", kernel.excepthook),
        (sys, "unraisablehook", kernel.unraisablehook),
        (sys, "breakpointhook", parts.debugging.breakpoint),
        (threading, "excepthook", parts.background.thread_excepthook),
        (LoopHost, "default_excepthook", parts.background.call_excepthook),
        *thread_patches(),
        *system_task_patches(parts.background.show, parts.background.system_task),
        (builtins, "input", parts.inputs.raw_input),
        (getpass, "getpass", parts.inputs.getpass),
        (comm, "create_comm", Comm),
        (comm, "get_comm_manager", lambda: parts.comm_manager),
    ]
    with (
        signals_watched(_signals(kernel, parts), partial(_unheard, kernel, parts)) as handlers,
        own_forks(handlers, patches) if kernel.owns_process else nullcontext(),
        patched(patches),
    ):
        yield


@contextmanager
def _captured(parts: Parts) -> Generator[None]:
    """What C code and child processes write belongs to the cell that began last: a descriptor does not say more."""
    output = parts.output
    writes = {1: partial(output.put, -1, "stdout"), 2: partial(output.put, -2, "stderr")}
    recorded = parts.connection.recorder is not None  # It has the stacks of a crash.
    with FdCapture(writes, lambda: parts.publish.latest, crashes=not recorded) as capture:
        output.before_flush = capture.drain
        try:
            yield
        finally:
            output.before_flush = None


def _signals(kernel: Owner, parts: Parts) -> dict[signal.Signals, SignalHandler]:
    handlers: dict[signal.Signals, SignalHandler] = {signal.SIGINT: parts.interrupts.on_signal}
    if kernel.owns_process:

        def terminate(signum: int, frame: FrameType | None) -> None:
            kernel.stop(f"signal {signal.Signals(signum).name}")
            parts.interrupts.on_signal(signum, frame)

        ending = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
        handlers.update(dict.fromkeys(ending, terminate))
    return handlers


def _unheard(kernel: Owner, parts: Parts, number: signal.Signals) -> None:
    if number is signal.SIGINT:
        parts.interrupts.on_unheard()
    else:
        kernel.stop(f"signal {number.name}")


@contextmanager
def _open_shell(kernel: Owner, parts: Parts, backend: Backend) -> Generator[AsyncInteractiveShell]:
    """The main shell, its extensions loaded and its startup code run."""
    shell = AsyncInteractiveShell.instance(
        publish=parts.publish,
        output=parts.output,
        exit_now=lambda: kernel.stop("a cell asked for it"),
        on_reset=parts.background.reset,
        interrupt=parts.interrupt_job,
        connection_info=lambda: {
            **parts.connection.info.as_dict(),
            "connection_file": str(parts.connection.path),
        },
        jobs=parts.jobs.describe,
        cancel_job=parts.cancel_job,
        use_gui=kernel.gui_events.use,
        backend=backend,
        history=kernel.history,
        ipython_profile=kernel.ipython_profile,
        completer=kernel.completer,
        **kernel.shell_settings,
    )
    shell.kernel = kernel  # Where ipywidgets and other libraries look for it.
    try:
        startup = [Path(each["file"]) if "file" in each else each["code"] for each in kernel.startup]
        if kernel.gui != "none":
            shell.enable_gui(kernel.gui)
        shell.startup(kernel.extensions, startup)
        yield shell
    finally:
        kernel.gui_events.use(None)
        shell.close()
        parts.output.close()
