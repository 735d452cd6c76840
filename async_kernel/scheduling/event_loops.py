"""Run an event loop of either backend here or in a new thread, and what the room needs of a running one.

`asyncio_loop` and `trio_loop` fulfil `Driver`; each is imported when its backend is first used, so that nothing
of trio is loaded for a kernel that runs on asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import importlib.util
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

from async_kernel.errors import SetupError
from async_kernel.typing import Backend

__all__ = [
    "CancelScope",
    "Driver",
    "Ended",
    "Loop",
    "Waiter",
    "as_backend",
    "default_options",
    "driver",
    "instead_of_next_step",
    "outside_loop",
    "run",
    "running_backend",
    "start_thread",
    "this_driver",
]

T = TypeVar("T")

Ended: TypeAlias = Callable[[Any, BaseException | None, bool], None]
"""Told how a task ended: its value, or its exception, or (True) that it was cancelled."""


class Waiter(Protocol):
    """One suspended task."""

    def wake(self) -> None:
        """Let the task go on; from any thread, a signal handler included. Without effect once its loop is gone."""
        ...

    def resume(self) -> None:
        """What `wake` does, quicker; only for what `Loop.post` calls in the loop of the task."""
        ...

    async def wait(self, timeout: float | None = None) -> None:
        """Suspend the task that made this waiter until `wake`, for at most `timeout` seconds."""
        ...


class CancelScope(Protocol):
    """A part of a task that can be cancelled from inside its loop; leaving it swallows that cancellation only."""

    def cancel(self) -> None:
        """Cancel what runs between enter and exit; call it in the loop's thread."""
        ...

    def __enter__(self) -> object: ...
    def __exit__(self, *exc_info: object) -> bool | None: ...


class Loop(Protocol):
    """A running event loop."""

    backend: Backend

    def post(self, func: Callable[[], object]) -> None:
        """Call `func` in the loop's thread soon; from any thread, a signal handler included.

        Raises:
            RuntimeError: The loop is closed.
        """
        ...

    def spawn(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context, ended: Ended) -> Callable[[], None]:
        """Start a task in the loop's thread; returns what cancels it there. Nothing that it raises reaches the loop."""
        ...

    def scope(self) -> CancelScope:
        """A scope around a part of the current task."""
        ...


class Driver(Protocol):
    """What a backend module offers."""

    Loop: Callable[[], Loop]
    Waiter: Callable[[], Waiter]
    sleep: Callable[[float], Awaitable[None]]

    def run(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], options: dict[str, Any]) -> Any: ...
    def is_cancellation(self, exc: BaseException) -> bool: ...
    def absorb(self) -> bool: ...
    def shield(self, seconds: float) -> AbstractContextManager[Any]: ...
    def outside(self) -> AbstractContextManager[Any]: ...
    def instead_of_next_step(self, func: Callable[[], object]) -> Callable[[], None]: ...


_MODULES: Final = {
    Backend.asyncio: "async_kernel.scheduling.asyncio_loop",
    Backend.trio: "async_kernel.scheduling.trio_loop",
}
_FINDING: Final = threading.Lock()
PTHREAD: Final = "libpthread.so.0"
_UVLOOP: Final = "winloop" if sys.platform == "win32" else "uvloop"


def as_backend(backend: str) -> Backend:
    """`backend` as a member of `Backend`.

    Raises:
        ValueError: There is no such backend.
    """
    try:
        return Backend(backend)
    except ValueError:
        expected = " or ".join(repr(b.value) for b in Backend)
        raise ValueError(f"backend: expected {expected}, got {backend!r}") from None


def driver(backend: str) -> Driver:
    """The module that speaks `backend`.

    Raises:
        ValueError: There is no such backend.
        SetupError: Its package is not installed.
    """
    member = as_backend(backend)
    finder = contextlib.nullcontext() if member is Backend.asyncio or "trio" in sys.modules else _pthread_found()
    try:
        with finder:
            return cast("Driver", importlib.import_module(_MODULES[member]))
    except ModuleNotFoundError as exc:
        if exc.name != member.value:
            raise
        text = f"backend {member.value!r}: the package {exc.name!r} is not installed; pip install {exc.name}"
        raise SetupError(text) from None


@contextlib.contextmanager
def _pthread_found() -> Generator[None]:
    """Meanwhile nobody who looks for the library pthread starts a process for it, as `ctypes.util` does on Linux.

    trio looks for it when it is imported, to give its threads names: a process of 5 to 10 ms in each start of a kernel.
    """
    ctypes: Any = importlib.import_module("ctypes")
    util: Any = importlib.import_module("ctypes.util")

    def find_library(name: str) -> str | None:
        if name == "pthread":
            with contextlib.suppress(OSError):  # The name that glibc has given it; elsewhere it has to be looked for.
                ctypes.CDLL(PTHREAD)
                return PTHREAD
        return find(name)

    with _FINDING:
        find: Callable[[str], str | None] = util.find_library
        util.find_library = find_library
        try:
            yield
        finally:
            util.find_library = find


def running_backend() -> Backend | None:
    """The backend of the event loop that runs the calling code, None where there is none."""
    # trio first: in guest mode a trio task has an asyncio loop running below it.
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if lowlevel is not None and lowlevel.in_trio_task():
        return Backend.trio
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return Backend.asyncio


def this_driver() -> Driver:
    """The driver of the event loop that runs the calling code.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    if (backend := running_backend()) is None:
        raise RuntimeError("no event loop is running in this thread: expected asyncio or trio")
    return driver(backend)


def default_options(backend: str) -> dict[str, Any]:
    """The options of `run` for `backend` where none are given: uvloop (winloop on Windows) where it is installed."""
    if as_backend(backend) is Backend.asyncio and importlib.util.find_spec(_UVLOOP) is not None:
        return {"use_uvloop": True}
    return {}


def run(
    func: Callable[..., Awaitable[T]],
    *args: Any,
    backend: str = Backend.asyncio,
    backend_options: dict[str, Any] | None = None,
) -> T:
    """Run `await func(*args)` in a new event loop of this thread, and return its value once the loop is closed.

    A handler that was set for SIGINT before stays: both backends replace Python's default handler only.

    Args:
        backend: `asyncio` or `trio`.
        backend_options: Those of `anyio.run`: for asyncio `use_uvloop` (obeyed where it is installed), `debug` and
            `loop_factory`; for trio the keywords of `trio.run` and `host`, the GUI (see `gui`) to run in.

    Raises:
        RuntimeError: An event loop runs in this thread already.
        SetupError: The backend's package is not installed.
    """
    if (running := running_backend()) is not None:
        raise RuntimeError(f"an event loop ({running.value}) is already running in this thread")
    return driver(backend).run(func, args, dict(backend_options or {}))


def start_thread(
    func: Callable[..., Awaitable[Any]],
    *args: Any,
    name: str | None = None,
    backend: str = Backend.asyncio,
    backend_options: dict[str, Any] | None = None,
    ended: Callable[[BaseException | None], object] = lambda _: None,
) -> threading.Thread:
    """Start a daemon thread that does `run(func, *args)` in an empty context; returns the thread.

    Then it calls `ended` with what `run` has raised (there may be no descriptors left for a loop), or None.

    Raises:
        SetupError: The backend's package is not installed.
    """
    driver(backend)  # What is wrong with the backend is the caller's to hear of, not the new thread's.

    def target() -> None:
        try:
            run(func, *args, backend=backend, backend_options=backend_options)
        except BaseException as exc:
            ended(exc)
            raise
        ended(None)

    thread = threading.Thread(target=contextvars.Context().run, args=(target,), name=name, daemon=True)
    thread.start()
    return thread


def outside_loop() -> AbstractContextManager[Any]:
    """A context in which this thread looks as if no event loop was running, so that user code may run one of its own.

    Nothing may be awaited in it. Needed where blocking code runs in a thread whose loop is only there to receive it.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    return this_driver().outside()


def instead_of_next_step(func: Callable[[], object]) -> Callable[[], None] | None:
    """What is to be called in a child of a fork, so that `func`, which ends the process, is called when this step ends.

    Call this before the fork: asyncio knows no running loop in the child. None where no event loop runs.
    """
    return None if (backend := running_backend()) is None else driver(backend).instead_of_next_step(func)
