"""`capture_fds`: what C code and child processes write to the file descriptors 1 and 2 goes to the cell too.

While it is captured, each descriptor is the end of a pipe that a thread reads; while C code keeps the GIL, and with it
that thread from reading, another process does (`fd_rescue`). `sys.__stdout__` and `sys.__stderr__`,
and with them the log, the messages on the kernel's life and faulthandler, stay at the terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import faulthandler
import io
import logging
import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Final, Self, TypeAlias

from async_kernel.runtime.foreign_code import has_foreign_code, told_of_foreign_code
from async_kernel.runtime.patches import patched
from async_kernel.scheduling.context import addressee
from async_kernel.threads import KernelThread
from async_kernel.typing import Job

try:
    import fcntl
except ImportError:
    fcntl = None

__all__ = ["FdCapture"]

log = logging.getLogger("async_kernel")

PIPE_BYTES: Final = 1 << 20
"What a pipe holds; Linux allows everybody so much. Who writes more waits for the reader."
READ_BYTES: Final = 1 << 16
JOIN_SECONDS: Final = 1.0
"How long the thread may take to end; it may wait for a slow client."
DRAIN_SECONDS: Final = 12.0
"""For so long a cell's end waits for its output: longer than a slow client may keep the thread, but not for ever, as a
finalizer may flush while its own thread has a lock that publishing needs."""
END, AGAIN = b"x", b"?"
"What the thread is told: that it is over, and to try again to capture what is lost."
LOOK_SECONDS: Final = 0.1
"After so long, who waits for the thread looks whether it lives."

Write: TypeAlias = Callable[[str], object]


class _Stream:
    """One captured descriptor.

    Attributes:
        descriptor: 1 or 2.
        real: What it was.
        reader: The end of the pipe that is read.
    """

    def __init__(self, descriptor: int, write: Write) -> None:
        self.descriptor = descriptor
        self.write = write
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.real: int = os.dup(descriptor)
        self.inheritable = os.get_inheritable(descriptor)
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        _widen(writer)
        os.dup2(writer, descriptor)  # Inheritable: child processes write into it.
        os.close(writer)

    def read(self) -> bytes:
        """What is in the pipe now; empty where there is nothing."""
        try:
            return os.read(self.reader, READ_BYTES)
        except BlockingIOError:
            return b""

    def reopen(self) -> bool:
        """Capture the descriptor again, which somebody has closed; False where it has been given to something else.

        Whatever is opened next would get its number, and what child processes print would be written there.
        """
        if fcntl is None:
            return False
        try:
            os.fstat(self.descriptor)
        except OSError:
            try:
                writer = os.open(f"/proc/self/fd/{self.reader}", os.O_WRONLY)
            except OSError:  # There can't be more descriptors, or this is not Linux.
                return False
        else:
            return False
        if writer != self.descriptor:
            ours = fcntl.fcntl(writer, fcntl.F_DUPFD, self.descriptor)
            os.close(writer)
            if ours != self.descriptor:
                os.close(ours)
                return False
        os.set_inheritable(self.descriptor, True)
        return True

    def restore(self) -> None:
        os.dup2(self.real, self.descriptor, self.inheritable)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.real)


class FdCapture:
    """Captures the descriptors 1 and 2 while it is entered, and puts back exactly what was there.

    Args:
        writes: Writes text to the cells, by descriptor.
        owner: The job that the text belongs to; None: it goes where it would have gone without this.
        crashes: Whether the stacks of a crash go to the real stderr; else somebody else sees to it.
    """

    def __init__(
        self, writes: Mapping[int, Write], owner: Callable[[], Job[Any] | None], *, crashes: bool = True
    ) -> None:
        self._writes = writes
        self._crashes = crashes
        self._owner = owner
        self._streams: list[_Stream] = []
        self._passed = threading.Condition()
        self._passes = 0
        self._passing = False
        self._stack = ExitStack()
        self._wake: tuple[int, int] = (-1, -1)
        self._thread: threading.Thread | None = None
        self._rescue: Any = None
        "A `Rescue`, from when there may be code that needs it."
        self._rescue_lock = threading.Lock()
        self._errors = 2
        self._lost: set[_Stream] = set()
        "Whose descriptors are something else's now."
        self._look: select.poll | None = None
        "What `drain` looks at: the readers that are not lost; None: they have changed."

    def __enter__(self) -> Self:
        if os.name != "posix":
            return self
        self._wake = os.pipe()
        stack = self._stack
        stack.callback(lambda: [os.close(end) for end in self._wake])
        for descriptor, write in self._writes.items():
            real = sys.__stdout__ if descriptor == 1 else sys.__stderr__
            if real is not None:
                real.flush()
            try:
                stream = _Stream(descriptor, write)
            except OSError as error:  # It is closed, or there can't be more descriptors.
                log.info("the file descriptor %d is not captured: %s", descriptor, error)
                continue
            self._streams.append(stream)
            stack.callback(stream.close)
            stack.enter_context(_pointed(real, descriptor, stream.real))
        self._errors = next((each.real for each in self._streams if each.descriptor == 2), 2)
        stack.callback(self._close_rescue)
        stack.callback(self._stop)
        if self._crashes and self._errors != 2:
            stack.enter_context(_crashes_told(self._errors))
        stack.enter_context(patched(told_of_foreign_code(self._start_rescue)))
        _captures.add(self)
        self._thread = KernelThread(target=self._read, name="FdCapture")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        _captures.discard(self)
        self._stack.close()
        self._streams = []

    def _start_rescue(self) -> None:
        with self._rescue_lock:
            if self._rescue is not None or not self._streams:
                return
            from async_kernel.runtime.fd_rescue import Rescue  # only where there is code that needs it

            rescue = Rescue([each.reader for each in self._streams], self._errors)
            try:
                rescue.start()
            except OSError as error:
                log.info("C code that keeps the GIL and prints more than %d bytes may hang: %s", PIPE_BYTES, error)
            self._rescue = rescue
        os.write(self._wake[1], AGAIN)

    def _close_rescue(self) -> None:
        if self._rescue is not None:
            self._rescue.close()

    def _stop(self) -> None:
        for stream in self._streams:
            stream.restore()
        os.write(self._wake[1], END)
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
            if self._thread.is_alive():
                log.warning("the last output of child processes may be missing: a client reads too slowly")
            else:
                self._pass()

    def drain(self) -> None:
        """Wait until what was written until now is passed on: the reply of a cell comes after its output.

        Only the thread reads. An interrupt can come into any other between the reading and the writing of a text.
        """
        if not self._streams or threading.current_thread() is self._thread:
            return
        if self._lost:
            os.write(self._wake[1], AGAIN)
        deadline = time.monotonic() + DRAIN_SECONDS
        with self._passed:
            wanted = self._passes + 1 + self._passing
            while self._passes < wanted and (self._passing or self._readable()) and self._reads():
                if time.monotonic() > deadline:
                    return
                self._passed.wait(LOOK_SECONDS)

    def _readable(self) -> bool:
        if self._rescue is not None and self._rescue.waiting:
            return True
        look = self._look
        if look is None:
            self._look = look = select.poll()
            lost = self._lost.copy()
            for stream in self._streams:
                if stream not in lost:
                    look.register(stream.reader, select.POLLIN)
        return bool(look.poll(0))

    def _reads(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        for stream in self._streams:
            poll.register(stream.reader, select.POLLIN)
        if has_foreign_code():
            self._start_rescue()
        told = -1
        while True:
            if self._rescue is not None and told != self._rescue.answered:
                poll.register(told := self._rescue.answered, select.POLLIN)
            ready = dict(poll.poll())
            if ready.get(told, select.POLLIN) & ~select.POLLIN:  # The process was killed.
                poll.unregister(told)
            if self._wake[0] in ready and os.read(self._wake[0], 1) == END:
                return
            # Closed: by a cell, and by everybody else.
            closed = [each for each in self._streams if ready.get(each.reader, select.POLLIN) & ~select.POLLIN]
            try:
                for stream in {*closed, *self._lost}:
                    self._reopen(stream, poll)
                self._pass()
            except Exception:
                log.exception("what was written to the file descriptors 1 and 2 could not be published")

    def _reopen(self, stream: _Stream, poll: select.poll) -> None:
        if not stream.reopen():
            if stream not in self._lost:
                self._lost.add(stream)
                self._look = None
                poll.unregister(stream.reader)
            return
        self._lost.discard(stream)
        self._look = None
        poll.register(stream.reader, select.POLLIN)
        if (job := self._owner()) is not None:
            number = stream.descriptor
            with _to(job):
                self._writes[2](f"the file descriptor {number} was closed; what programs write there is shown again\n")

    def _pass(self) -> None:
        with self._passed:
            self._passing = True
        try:
            for index, stream in enumerate(self._streams):
                self._pass_on(index, stream)
        finally:
            with self._passed:
                self._passing = False
                self._passes += 1
                self._passed.notify_all()

    def _pass_on(self, index: int, stream: _Stream) -> None:
        # No more than a pipe holds: a child process may write for ever.
        left = PIPE_BYTES
        while left > 0:
            rescue = self._rescue
            if rescue is None or not (data := rescue.turn(index)):
                if not (data := stream.read()):
                    return
                left -= len(data)
            with nullcontext() if rescue is None else rescue.publishing():
                self._write(stream, data)

    def _write(self, stream: _Stream, data: bytes) -> None:
        job = self._owner()
        if job is None:
            _write_all(stream.real, data)
            return
        with _to(job):
            stream.write(stream.decoder.decode(data))

    def forget(self) -> None:
        """Close the ends that are read, in a child process after a fork: they are the parent's to read."""
        for stream in self._streams:
            os.close(stream.reader)
        self._close_rescue()
        self._streams = []
        self._look = None
        self._rescue_lock = threading.Lock()
        self._passed = threading.Condition()  # A thread of the parent may have held it.


def _widen(pipe: int) -> None:
    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux has it.
    if fcntl is not None and set_size is not None:
        with contextlib.suppress(OSError):  # The user's share of pipe memory is used up: it stays as it is.
            fcntl.fcntl(pipe, set_size, PIPE_BYTES)


@contextmanager
def _to(job: Job[Any]) -> Generator[None]:
    token = addressee.set(job)
    try:
        yield
    finally:
        addressee.reset(token)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _pointed(stream: Any, before: int, to: int) -> Generator[None]:
    """Let a stream of Python's own, and everybody who holds it (log handlers, terminals), write to `to` for a while."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.FileIO) or raw.closed or raw.fileno() != before:
        yield
        return
    name = getattr(raw, "name", before)
    raw.__init__(to, "w", closefd=False)  # FileIO allows it: the object stays, its descriptor is another.
    try:
        yield
    finally:
        if not stream.closed:  # By a cell, then.
            stream.flush()
            raw.__init__(before, "w", closefd=False)
            raw.name = name  # pyright: ignore[reportAttributeAccessIssue]  # Python itself sets it: <stdout>


@contextmanager
def _crashes_told(descriptor: int) -> Generator[None]:
    """A crash writes its stacks to `descriptor`: nobody would read the pipe any more."""
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(descriptor)
    try:
        yield
    finally:
        faulthandler.disable()
        if was_enabled:
            faulthandler.enable(2)


_captures: weakref.WeakSet[FdCapture] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for capture in tuple(_captures):
        capture.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
