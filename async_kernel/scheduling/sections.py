"""Where the code of a user runs in a thread that signals don't reach, and how an exception is raised in it there.

Python can raise an exception in another thread (`PyThreadState_SetAsyncExc`), but not at a chosen place: it lands when
that thread runs its next bytecode. A `Section` is the stretch in which it may land. It is sent only while the section
is open, at most one is on its way, and closing takes back what has not landed: nothing lands in the kernel's machinery.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from async_kernel.errors import KernelInterruptError
from async_kernel.scheduling.context import current_job, current_pending
from async_kernel.scheduling.pending import Event, Pending
from async_kernel.typing import Job

__all__ = [
    "BORDERS",
    "Section",
    "Stepped",
    "guarded",
    "in_user_code",
    "interrupt_task",
    "open_section",
    "open_sections",
    "task_error",
    "uninterrupted",
    "waits",
]

T = TypeVar("T")

MACHINERY: Final = "async_kernel."
INFRASTRUCTURE: Final = frozenset({"contextlib", "logging", "queue", "threading"})
"Modules that work for whoever called them: the caller decides."
WAITS: Final = {Pending.wait_sync.__code__, Event.wait.__code__}
"Functions of ours that only wait for whoever called them; see `waits`."
LOOPS: Final = ("asyncio.", "trio.", "uvloop", "winloop")

_frames = sys._current_frames  # pyright: ignore[reportPrivateUsage]
_open: dict[int, Section] = {}
"The section of each thread that runs the code of a user: what `sys._current_frames` doesn't say."

F = TypeVar("F", bound=Callable[..., Any])


def waits(func: F) -> F:
    """Mark a function that only waits for whoever called it: the code of a user may be interrupted in it."""
    WAITS.add(func.__code__)
    return func


UNINTERRUPTED: Final[set[CodeType]] = set()
"See `uninterrupted`."


def uninterrupted(func: F) -> F:
    """Mark a function that must come to its end, whatever it calls: nothing is raised while it runs."""
    UNINTERRUPTED.add(func.__code__)
    return func


class Section:
    """A stretch of a thread's time in which the code of a user runs.

    Attributes:
        thread: `threading.get_ident` of the thread.
        job: The request that the code belongs to.
        struck: An exception has landed in it.
    """

    __slots__ = ("_is_open", "_landed", "_lock", "_pending", "job", "struck", "thread")

    def __init__(self, thread: int) -> None:
        self.thread: int = thread
        self.job: Job[Any] | None = current_job.get()
        self.struck: bool = False
        self._pending = current_pending.get()
        self._lock = allocate_lock()
        self._is_open = False
        self._landed: Callable[[], object] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it runs for a Pending that was cancelled."""
        pending = None if self._pending is None else self._pending()
        return pending is not None and pending.cancelled()

    def open(self) -> None:
        """From now on an exception may land; called in its thread."""
        self._is_open = True

    def close(self) -> None:
        """Nothing lands from now on; called in its thread. Idempotent."""
        with self._lock:
            self._is_open = False
            if self._landed is not None:
                self._landed = None
                _set_async_exc(self.thread, None)

    def land(self) -> None:
        """The exception is being raised; called in its thread."""
        landed, self._landed = self._landed, None
        self.struck = True
        if landed is not None:
            landed()

    def interrupt(self, landed: Callable[[], object]) -> bool:
        """Raise `KernelInterruptError` in it, from another thread; False where that can't be done now: try again.

        Args:
            landed: Called in its thread when the exception is raised: what blocks in C has to return first.
        """
        raise_in = _set_async_exc
        with self._lock:
            if not self._is_open:
                return False
            if self._landed is not None:
                return True
            self._landed = landed
            # The thread goes on where it is seen now: it gets the GIL again when this one waits or has run its time.
            if in_user_code(_frames().get(self.thread), BORDERS):
                raise_in(self.thread, _Landed)
                # Where that was while it was looked at, the thread has gone on, and this one's time has just begun.
                frame = _frames().get(self.thread)
                if self._landed is None or (frame is not None and frame.f_code in _LANDING):
                    return True
                if in_user_code(frame, BORDERS) and not _wake_nested_loop(frame):
                    return True
                raise_in(self.thread, None)
                if in_user_code(frame, BORDERS):
                    self.land()
                    return True
            self._landed = None
            return False


class _Landed(KernelInterruptError):
    """A `KernelInterruptError` that was raised from another thread, and tells when it is: Python makes it there."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or ("interrupted",)))
        section = _open.get(get_ident())
        if section is not None:
            section.land()


_LANDING: Final = frozenset({_Landed.__init__.__code__, Section.land.__code__})
"What the thread runs while the exception is being made there."

_Landed.__name__ = _Landed.__qualname__ = KernelInterruptError.__name__
_Landed.__module__ = KernelInterruptError.__module__


def _set_async_exc(thread: int, kind: type[BaseException] | None) -> None:
    import ctypes  # 5 ms, only where something is interrupted

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))


def guarded(func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call the code of a user. Where signals don't reach, it may be interrupted while it runs, and only then."""
    thread = get_ident()
    if thread == threading.main_thread().ident or thread in _open:
        return func(*args, **kwargs)
    section = _open[thread] = Section(thread)
    try:
        try:
            section.open()
            return func(*args, **kwargs)
        except KeyboardInterrupt as exc:
            if section.struck and type(exc) is KeyboardInterrupt:  # A loop of the user's own has made it of ours.
                raise KernelInterruptError("interrupted") from exc
            raise
        finally:
            section.close()
    finally:
        # Where the exception has landed in `close` itself: there is no second one on its way.
        section.close()
        del _open[thread]


class Stepped(Coroutine[Any, Any, T]):
    """A coroutine of a user: each of its steps is `guarded`, the event loop between them is not part of it."""

    __slots__ = ("_coro",)

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro = coro

    def send(self, value: Any, /) -> Any:
        """Its next step."""
        return guarded(self._coro.send, value)

    def throw(self, *exc: Any) -> Any:
        """Its next step, which begins with an exception."""
        return guarded(self._coro.throw, *exc)

    def close(self) -> None:
        """End it."""
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # pyright: ignore[reportReturnType]  # All that `await` asks for: send, throw, close, __next__.

    def __iter__(self) -> Stepped[T]:
        return self

    def __next__(self) -> Any:
        return guarded(self._coro.send, None)


BORDERS: Final[frozenset[CodeType]] = frozenset(
    each.__code__ for each in (guarded, Stepped.send, Stepped.throw, Stepped.__next__)
)
"""The frames of these stand between the machinery and the code of a user."""

LEFT_ALONE: Final = (MACHINERY, "importlib", "_frozen_importlib", "pydevd", "_pydevd_", "_pydev_", "debugpy")
"""What is not raised in: the kernel, imports, whose locks stay locked for ever when their release is cut short, and the
debugger, which would lose the threads that it has paused."""
ERROR_DISPLAY: Final = "IPython.core.ultratb"
"Shows how a cell has ended; what it imports and computes for that is not the user's."


def open_section(thread: int) -> Section | None:
    """The section of a thread; None where no code of a user runs in it."""
    return _open.get(thread)


def open_sections() -> list[Section]:
    """The sections of all threads."""
    return list(_open.values())  # In one step, unlike `tuple`: threads open and close theirs meanwhile.


def in_user_code(frame: FrameType | None, borders: frozenset[CodeType]) -> bool:
    """Whether the code of a user is on the stack, and what runs for it now is not the kernel's own machinery.

    Args:
        frame: The innermost frame.
        borders: The code objects whose frame is on the stack exactly while the code of a user is.
    """
    innermost: str | None = None
    while frame is not None:
        if frame.f_code in borders:
            return innermost is not None and not innermost.startswith(LEFT_ALONE)
        name: str = frame.f_globals.get("__name__", "")
        if name == ERROR_DISPLAY or frame.f_code in UNINTERRUPTED:
            return False
        if innermost is None and frame.f_code not in WAITS:
            innermost = None if name in INFRASTRUCTURE else name
        frame = frame.f_back
    return False


def task_error(frame: FrameType | None) -> type[BaseException] | None:
    """What to raise where the code of a user runs as a task of its own, without harm to the event loop.

    Args:
        frame: The innermost frame of the thread; nothing of the kernel may be between it and the event loop.

    Returns:
        `asyncio.CancelledError` (a KeyboardInterrupt goes through the task and ends the loop); for a task in a trio
        nursery `KernelInterruptError`; None where nothing may be raised.
    """
    seen = False
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name.startswith(MACHINERY):
            return None
        if name.startswith(LOOPS):
            return None if not seen else _trio_error(frame) if name.startswith("trio.") else asyncio.CancelledError
        seen = seen or name not in INFRASTRUCTURE
        frame = frame.f_back
    return None


def _trio_error(frame: FrameType | None) -> type[BaseException] | None:
    while frame is not None:
        if (task := frame.f_locals.get("task")) is not None and hasattr(task, "parent_nursery"):
            # What a task of the system nursery raises would end the whole run.
            nursery = task.parent_nursery
            return KernelInterruptError if nursery and nursery.parent_task.parent_nursery else None
        frame = frame.f_back
    return None


def interrupt_task(thread: int) -> None:
    """Raise in the task that blocks a thread's event loop, if it is the code of a user; from another thread.

    There is no section around it, so call it only after it has blocked for long: it must not end just now.
    """
    raise_in = _set_async_exc
    if (kind := task_error(_frames().get(thread))) is not None:
        raise_in(thread, kind)
        if task_error(_frames().get(thread)) is None:  # It has gone on meanwhile: see `Section.interrupt`.
            raise_in(thread, None)


def _wake_nested_loop(frame: FrameType | None) -> bool:
    """Wake the event loop that the code of a user runs itself (`asyncio.run`) where it waits in its selector.

    Returns:
        Whether the loop was told to end, so that no exception has to land (in trio's own machinery none may).
    """
    if frame is None or not str(frame.f_globals.get("__name__")).startswith((*LOOPS, "selectors")):
        return False
    while frame is not None and frame.f_code not in BORDERS:
        for name in ("self", "runner"):
            value = frame.f_locals.get(name)
            loop = getattr(value, "_loop", value)
            if isinstance(loop, asyncio.AbstractEventLoop):
                with suppress(RuntimeError):  # It was closed meanwhile.
                    loop.call_soon_threadsafe(lambda: None)
                return False
            if (interrupt_trio := getattr(value, "deliver_ki", None)) is not None:
                interrupt_trio()
                return True
        frame = frame.f_back
    return False
