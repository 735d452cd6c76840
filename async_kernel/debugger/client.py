"""A client of debugpy's adapter: the Debug Adapter Protocol over TCP, in the event loop of one thread."""

from __future__ import annotations

import contextvars
import os
import socket
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import anyio

from async_kernel.errors import ClientError
from async_kernel.protocol.dap import DapError, DapParser, encode
from async_kernel.scheduling.pending import Event
from async_kernel.threads import KernelThread

__all__ = ["AdapterClient", "Spawn", "listen"]

HOST: Final = "127.0.0.1"
NO_VALIDATION: Final = "PYDEVD_DISABLE_FILE_VALIDATION"

SECONDS: Final = 10.0
"How long a response may take: debugpy leaves some requests unanswered, and others wait behind them."
SLOW_SECONDS: Final = 60.0
RUNS_CODE: Final = frozenset({"evaluate", "setExpression", "setVariable", "variables"})
"Requests that run code of the user."

_listening: list[tuple[tuple[str, int], socket.socket]] = []
"""Where debugpy's adapter of this process listens: debugpy itself can be told to listen only once in a process.

And a connection that is never used. To each new client the adapter tells its oldest one (`report_sockets`); where that
has just gone, the thread that accepts connections dies of it, and there is never another session (debugpy 1.8).
"""


class Spawn(Protocol):
    """Starts a coroutine function in the event loop of the thread that calls it; returns at once."""

    def __call__(self, func: Callable[[], Any], /) -> object: ...


async def listen() -> tuple[str, int]:
    """Start debugpy and its adapter where they don't run yet (it takes part of a second); where the adapter listens.

    Raises:
        ClientError: debugpy is not installed, or can't be started.
    """
    if not _listening:
        # debugpy begins to trace the thread that starts it, so that one must not be the event loop's.
        failed: list[Exception] = []
        done = Event()

        def start() -> None:
            try:
                _listening.append(_start())
            except Exception as error:  # noqa: BLE001  # raised below
                failed.append(error)
            finally:
                done.set()

        contextvars.Context().run(KernelThread(target=start, name="StartDebugger").start)
        await done.wait_async()
        if failed and isinstance(failed[0], ImportError):
            raise ClientError(
                f"the debugger needs debugpy ({failed[0]}): `pip install debugpy`, then restart the kernel"
            ) from failed[0]
        if failed:
            raise ClientError(f"debugpy can't be started: {failed[0]}") from failed[0]
    return _listening[0][0]


def _start() -> tuple[tuple[str, int], socket.socket]:
    with _hooks_kept():
        import debugpy  # 200 ms and threads of its own: with the first session only

        debugpy.configure(subProcess=False)
        address: tuple[str, int] = debugpy.listen((HOST, 0))
    return address, socket.create_connection(address)


@contextmanager
def _hooks_kept() -> Generator[None]:
    """Without the warning of frozen modules, which a cell would get; `breakpoint()` stays what it is."""
    hook, before = sys.breakpointhook, os.environ.get(NO_VALIDATION)
    os.environ[NO_VALIDATION] = "1"
    try:
        yield
    finally:
        sys.breakpointhook = hook
        if before is None:
            os.environ.pop(NO_VALIDATION, None)
        else:
            os.environ[NO_VALIDATION] = before


class _Waiting:
    """A request whose response has not come."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.came = anyio.Event()
        self.response: dict[str, Any] | None = None


class AdapterClient:
    """One connection to the adapter. Use it in the thread of one event loop.

    Args:
        spawn: Starts what reads.
        on_event: Called with each event, in order; never while a response that came before it is still waited for.
        on_lost: Called with the reason when the adapter has closed the connection, or talks nonsense.
    """

    def __init__(
        self, spawn: Spawn, on_event: Callable[[dict[str, Any]], object], on_lost: Callable[[str], object]
    ) -> None:
        self._spawn = spawn
        self._on_event = on_event
        self._on_lost = on_lost
        self._waiting: dict[int, _Waiting] = {}
        self._seq = 0
        self._stream: Any = None
        self._lost = ""
        self._initialized = _Waiting("attach")
        self._ended = anyio.Event()

    async def connect(self, address: tuple[str, int]) -> None:
        """Connect to the adapter.

        Raises:
            ClientError: It does not listen there.
        """
        try:
            self._stream = await anyio.connect_tcp(*address)
        except OSError as error:
            raise ClientError(f"debugpy's adapter does not answer at {address[0]}:{address[1]}: {error}") from error
        self._spawn(self._read)

    async def _begin(self, command: str, arguments: Mapping[str, Any]) -> _Waiting:
        if self._lost:
            raise ClientError(self._lost)
        self._seq += 1
        data = encode({"seq": self._seq, "type": "request", "command": command, "arguments": arguments})
        waiting = self._waiting[self._seq] = _Waiting(command)
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ClientError("the connection to debugpy's adapter was lost: attach again") from error
        return waiting

    async def _finish(self, waiting: _Waiting) -> dict[str, Any]:
        seconds = SLOW_SECONDS if waiting.command in RUNS_CODE else SECONDS
        with anyio.move_on_after(seconds):
            await waiting.came.wait()
        if waiting.response is None:
            reason = self._lost or f"debugpy has not answered within {seconds:g} seconds"
            raise ClientError(f"{waiting.command}: {reason}")
        return waiting.response

    async def request(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request; its response, whether it says success or not.

        Raises:
            ClientError: The connection is lost.
        """
        return await self._finish(await self._begin(command, arguments or {}))

    async def attach(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Send `attach`, which is answered when the configuration is done; that is said here, breakpoints come later.

        Raises:
            ClientError: The connection is lost.
        """
        self._initialized = _Waiting("attach")
        attach = await self._begin("attach", arguments)
        attach.came = self._initialized.came
        await attach.came.wait()
        if attach.response is None and not self._lost:
            attach.came = anyio.Event()
            await self.request("configurationDone")
        return await self._finish(attach)

    async def disconnect(self) -> dict[str, Any]:
        """End the session: what is paused goes on, the process lives; returns the response.

        The adapter ends its side after the response: a session that began before that would not be answered.

        Raises:
            ClientError: The connection is lost.
        """
        answer = await self.request("disconnect", {"restart": False, "terminateDebuggee": False})
        with anyio.move_on_after(SECONDS):
            await self._ended.wait()
        return answer

    async def close(self) -> None:
        """End the connection; who still waits for a response hears of it. Idempotent."""
        self._end("the debug session has ended")
        if self._stream is not None:
            await anyio.aclose_forcefully(self._stream)

    async def _read(self) -> None:
        parser = DapParser()
        reason = "debugpy's adapter has closed the connection: attach again"
        try:
            while True:
                for message in parser.feed(await self._stream.receive()):
                    self._take(message)
        except anyio.EndOfStream:
            pass  # `reason` says it.
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            reason = f"the connection to debugpy's adapter was lost ({type(error).__name__}): attach again"
        except DapError as error:
            reason = f"debugpy's adapter does not speak the Debug Adapter Protocol: {error}"
        finally:
            if not self._lost:
                self._end(reason)
                self._on_lost(reason)
            await anyio.aclose_forcefully(self._stream)
            self._ended.set()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "event":
            if message["event"] == "initialized":
                self._initialized.came.set()
            self._on_event(message)
        elif message["type"] == "response" and (waiting := self._waiting.pop(message["request_seq"], None)):
            waiting.response = message
            waiting.came.set()

    def _end(self, reason: str) -> None:
        self._lost = self._lost or reason
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.came.set()
