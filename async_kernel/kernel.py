"""`Kernel`: the public face of a running kernel. Each member hands its work to the room that knows how."""

from __future__ import annotations

import logging
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import traitlets

from async_kernel.comm import CommManager
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.protocol.messages import topic
from async_kernel.protocol.run_modes import DEFAULTS, ConcurrencyTable, RunModes
from async_kernel.protocol.session import Session
from async_kernel.runtime import failures
from async_kernel.runtime.connection import Connection, new_connection_file
from async_kernel.runtime.gui import Gui
from async_kernel.runtime.handlers import RequestHandlers, is_immediate
from async_kernel.runtime.identity import HELP_LINKS, kernel_info
from async_kernel.runtime.kernel_settings import KernelSettings
from async_kernel.runtime.lifecycle import life
from async_kernel.runtime.parts import Parts
from async_kernel.runtime.settings import PathTrait, split
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.caller import Caller
from async_kernel.scheduling.pending import Event
from async_kernel.shell.interactive import AsyncInteractiveShell
from async_kernel.shell.subshells import SubshellManager
from async_kernel.typing import (
    Backend,
    Content,
    HandlerType,
    Job,
    KernelName,
    Message,
    MsgType,
    NoValue,
    NoValueType,
    RunMode,
    SocketID,
)

__all__ = ["Kernel", "current_kernel"]

_running: weakref.ref[Kernel] | None = None
"The one slot for the kernel of this process."


def current_kernel() -> Kernel | None:
    """The kernel of this process; None where none was made."""
    return None if _running is None else _running()


class Kernel(RequestHandlers, KernelSettings, anyio.AsyncContextManagerMixin):
    """A kernel: one a process.

    `Kernel()` returns the kernel that was made before and has not stopped, a subclass's included. Start it with `run`,
    or with `async with Kernel():` inside a running asyncio or trio event loop. Run outside of the main thread it works,
    but an interrupt can't reach code that blocks: signals are handled in the main thread only.

    Args:
        settings: What `load_settings` takes.

    Raises:
        SettingError: A setting does not exist or does not fit.
    """

    anyio_backend = traitlets.UseEnum(Backend, help="The event loop that runs the cells.")
    anyio_backend_options = traitlets.Dict(
        value_trait=traitlets.Dict(allow_none=True),
        key_trait=traitlets.UseEnum(Backend),
        help="Options of the event loop by backend, as anyio.run takes them.",
    )
    kernel_name = traitlets.Unicode(help="The name of the kernelspec.")
    connection_file = PathTrait(help="The connection file: read where it exists, else written at start.")
    ip = traitlets.Unicode(help="The address to bind, or the path before the dash of the ipc endpoints.")
    help_links = traitlets.Tuple(HELP_LINKS, help="Links for the help menu of a frontend.")
    log = traitlets.Instance(logging.LoggerAdapter)

    owns_process: bool = False
    "Whether it was started by `run`: then signals that end a process end the kernel."
    stop_reason: str = ""
    "Why it was stopped; empty until then."

    _info: ConnectionInfo | None = None
    _connection: Connection | None = None
    _parts: Parts | None = None
    _observe: Callable[[str], object] = staticmethod(lambda _: None)

    @traitlets.default("anyio_backend")
    def _default_backend(self) -> Backend:
        running = event_loops.running_backend()
        by_name = Backend.trio if "trio" in self._trait_values.get("kernel_name", "").lower() else Backend.asyncio
        return running or by_name

    @traitlets.default("kernel_name")
    def _default_kernel_name(self) -> str:
        return KernelName[self.anyio_backend.name].value

    @traitlets.default("connection_file")
    def _default_connection_file(self) -> Path:
        return new_connection_file()

    @traitlets.default("log")
    def _default_log(self) -> logging.LoggerAdapter[logging.Logger]:
        return logging.LoggerAdapter(logging.getLogger("async_kernel"))

    def __new__(cls, settings: dict[str, Any] | None = None) -> Self:
        """The kernel of this process, made where there is none."""
        global _running
        kernel = None if _running is None else _running()
        if kernel is None or kernel.event_stopped.is_set():
            kernel = super().__new__(cls)
            _running = weakref.ref(kernel)
        return kernel  # pyright: ignore[reportReturnType]  # a subclass's instance, where one was made before

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        if "event_stopped" not in self.__dict__:
            super().__init__()
            self.interrupts: set[Callable[[], object]] = set()
            self.event_started: Event = Event()
            self.event_stopped: Event = Event()
            self.gui_events: Gui = Gui()
            self.shell_settings: dict[str, Any] = {}
            self._settings: dict[str, Any] = {}
        if settings:
            self.load_settings(settings)

    # What is known of it

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting loaded so far; `kernel_name` and `connection_file` always."""
        return {**self._settings, "kernel_name": self.kernel_name, "connection_file": self.connection_file}

    @property
    def kernel_info(self) -> Content:
        """The content of `kernel_info_reply`."""
        return kernel_info(self.help_links)

    @property
    def callers(self) -> dict[SocketID, Caller]:
        """The callers of shell and control."""
        return self._running_parts.callers

    @property
    def caller(self) -> Caller:
        """The caller of shell: what runs the cells."""
        return self.callers[SocketID.shell]

    @property
    def main_shell(self) -> Any:
        """The main shell."""
        return self._running_parts.shell

    @property
    def shell(self) -> Any:
        """The shell, or subshell, of the current context."""
        return self._running_parts.subshells.current()

    @property
    def subshell_manager(self) -> SubshellManager:
        """The subshells (JEP 91)."""
        return self._running_parts.subshells

    @property
    def session(self) -> Session:
        """Serialises, signs, sends and receives, with the public methods of `jupyter_client.session.Session`."""
        return self._running_parts.session

    @property
    def comm_manager(self) -> CommManager:
        """The comms and their targets."""
        return self._running_parts.comm_manager

    @property
    def _running_parts(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("the kernel is not running: start it with `run()` or `async with Kernel():`")
        return self._parts

    # Settings

    def load_connection_info(self, info: dict[str, Any]) -> None:
        """Take the connection info from `info` in place of a connection file.

        Its keys are those of the file: ip, transport, the ports, key, signature_scheme, curve_publickey, ...

        Raises:
            RuntimeError: It was loaded before.
            ConnectionInfoError: A field is missing or wrong.
        """
        if self._info is not None or self._connection is not None:
            raise RuntimeError("the connection info is loaded already")
        self._info = ConnectionInfo.parse(info)

    def load_settings(self, settings: dict[str, Any]) -> None:
        """Set attributes by their dotted path (`quiet`, `shell.timeout`); text is converted by the trait's own type.

        Raises:
            SettingError: A key does not exist, or a value does not fit; it names key, value and what was expected.
            RuntimeError: The kernel was started.
        """
        if self._parts is not None or self.event_started.is_set():
            raise RuntimeError("the kernel is running: settings are loaded before it is started")
        own, of_shell = split(type(self), lambda: AsyncInteractiveShell, settings)
        for name, value in own.items():
            setattr(self, name, value)
        self.shell_settings.update(of_shell)
        self._settings.update(own, **{f"shell.{name}": value for name, value in of_shell.items()})

    def use_connection(self, connection: Connection, observe: Callable[[str], object]) -> None:
        """Run on a connection that is open already, in place of one of its own.

        Args:
            connection: The connection; it stays open when the kernel stops.
            observe: Told when the kernel has `started` and when it is `stopping`, in whatever thread that happens.
        """
        self._connection, self._observe = connection, observe

    # Life

    def run(self, wait_exit: Callable[[], Awaitable[object]] = anyio.sleep_forever, /) -> None:
        """Run the kernel in a new event loop of this thread, until `wait_exit()` completes or the kernel is stopped.

        Raises:
            RuntimeError: The kernel was started before, or an event loop runs in this thread.
            SetupError: It can't be started as asked.
        """
        backend = self.anyio_backend
        options = self.anyio_backend_options.get(backend, event_loops.default_options(backend)) or {}
        options = {**options, **self.gui_events.host(self.gui, backend)}
        self.owns_process = True
        event_loops.run(self._serve, wait_exit, backend=backend, backend_options=options)

    async def _serve(self, wait_exit: Callable[[], Awaitable[object]]) -> None:
        # anyio's own sleep would import its backend, which takes longer than the rest of the start.
        wait = Event().wait_async if wait_exit is anyio.sleep_forever else wait_exit
        async with self:
            await wait()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self.event_started.is_set() or self._parts is not None:
            raise RuntimeError("the kernel was started before: make a new one with Kernel() after it has stopped")
        try:
            async with life(self, self._connection, self._info, self._attach):
                self.event_started.set()
                self._observe("started")
                yield self
        finally:
            self._parts = None
            self.event_stopped.set()

    def _attach(self, parts: Parts) -> None:
        self._parts = parts
        if self.stop_reason:
            parts.stop()

    @staticmethod
    def stop(reason: str = "stopped by its own process") -> None:
        """Stop the kernel, from any thread; one that is still starting stops as soon as it has started."""
        kernel = current_kernel()
        if kernel is not None and not kernel.stop_reason:
            kernel.stop_reason = reason
            kernel._observe("stopping")
            if kernel._parts is not None:
                kernel._parts.stop()

    # Messages

    def topic(self, name: str) -> bytes:
        """The iopub topic of `name`."""
        return topic(name)

    def iopub_send(
        self,
        msg_or_type: Message[Any] | str,
        content: Content | None = None,
        metadata: Content | None = None,
        parent: Message[Any] | Job[Any] | NoValueType | None = NoValue,
        ident: bytes | list[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
    ) -> None:
        """Publish a message from any thread.

        Args:
            msg_or_type: A message, or the type of a new one.
            content: What JSON can say, bytes (base64), dates and numpy scalars.
            metadata: The metadata.
            parent: The request that it belongs to; by default that of the current context.
            ident: The topic; by default that of the type.
            buffers: Sent as they are.

        Raises:
            RuntimeError: The kernel is not running.
            TypeError: JSON can't say the content.
        """
        self._running_parts.publish(msg_or_type, content, metadata, parent, ident, buffers)

    def output_to(self, parent: Message[Any] | Job[Any] | None) -> AbstractContextManager[None]:
        """A context whose output, and that of what it starts, goes to the cell of `parent`; None: to the real stderr.

        Raises:
            TypeError: `parent` is none of these.
        """
        return self._running_parts.publish.output_to(parent)

    def receive_msg_loop(self) -> None:
        """Begin to receive: each job goes to `msg_handler`, those first, in order, that waited for the kernel."""
        parts = self._running_parts
        parts.connection.reception.attach(lambda job: parts.receive(job, self.msg_handler))

    def msg_handler(self, job: Job[Any], /) -> None:
        """Start the handler of a job where its run mode says; called in the transport's thread."""
        self._running_parts.dispatch(job)

    async def run_handler(self, handler: HandlerType, job: Job[Any], /) -> None:
        """Publish busy, await `handler(job)`, reply with what it returns or raises, publish idle."""
        await self._running_parts.run_handler(handler, job, immediate=is_immediate(handler))

    def get_handler(self, msg_type: str) -> HandlerType:
        """The coroutine method that handles `msg_type`.

        Raises:
            TypeError: There is none.
        """
        if msg_type not in DEFAULTS:
            raise TypeError(f"unknown message type {str(msg_type)!r}")
        return getattr(self, msg_type)

    def is_immediate(self, handler: HandlerType) -> bool:
        """Whether a handler never waits, so that it needs no event loop."""
        return is_immediate(handler)

    def get_run_mode(
        self, msg_type: MsgType, *, socket_id: SocketID = SocketID.shell, job: Job[Any] | None = None
    ) -> RunMode:
        """How a message is run: the cell's first line, a cell tag, the profile, the default, in that order."""
        return self._modes().get(msg_type, socket_id=socket_id, job=job)

    def all_concurrency_run_modes(
        self, socket_ids: Iterable[SocketID] | None = None, msg_types: Iterable[MsgType] | None = None
    ) -> ConcurrencyTable:
        """The run modes as columns `SocketID`, `MsgType`, `RunMode` (None: not allowed), for `pandas.DataFrame`."""
        return self._modes().table(socket_ids, msg_types)

    def _modes(self) -> RunModes:
        return RunModes(self.run_modes) if self._parts is None else self._parts.run_modes

    def get_connection_info(self) -> dict[str, Any]:
        """What a connection file holds, with the real ports."""
        return self._running_parts.connection.info.as_dict()

    def get_parent(self) -> Message[Any] | None:
        """The request that the current context belongs to."""
        job = self._running_parts.publish.request()
        return None if job is None else job["msg"]

    # The person at the frontend

    def raw_input(self, prompt: object = "") -> str:
        """Ask the frontend for a line and wait for it.

        Raises:
            StdinNotImplementedError: The current request, or the profile, does not allow it.
            KernelInterruptError: The wait was interrupted.
        """
        return self._running_parts.inputs.raw_input(prompt)

    def getpass(self, prompt: object = "Password: ", stream: Any = None) -> str:
        """Ask the frontend for a line that is not echoed and wait for it; raises what `raw_input` does."""
        return self._running_parts.inputs.getpass(prompt, stream)

    def excepthook(self, kind: type[BaseException], value: BaseException | None, trace: Any) -> None:
        """`sys.excepthook`: to the real stderr and the log, not to the notebook's last cell."""
        failures.excepthook(kind, value, trace)

    def unraisablehook(self, unraisable: Any) -> None:
        """`sys.unraisablehook`: to the real stderr and the log."""
        failures.unraisablehook(unraisable)
