"""stdout and stderr of the cells: one ordered buffer, published in few messages.

A `write` appends to one list and returns: it takes no lock, so that a finalizer, a signal handler or an exiting
interpreter may print at any moment. Whoever drains the list, one thread at a time, makes messages of it: text of one
cell and stream goes together, the lines of threads that print to the same cell are never mixed, and the order between
stdout and stderr of a thread is kept.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
import weakref
from _thread import get_ident, start_new_thread
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, Final, Literal, Protocol, TypeAlias

from async_kernel.interfaces import Publisher
from async_kernel.scheduling.context import current_job
from async_kernel.shell.forks import by_whole_lines
from async_kernel.typing import Job

__all__ = ["OutStream", "Output"]

log = logging.getLogger("async_kernel")

INTERVAL: Final = 0.01
"Seconds that text may wait for more text."
PATIENCE: Final = 0.1
"Seconds that the beginning of a line waits for its end, which is often written by the same `print`."
PATIENCE_WITH_OTHERS: Final = 1.0
"The same, when other threads have printed to the cell meanwhile: theirs would be shown in the middle of the line."
FLUSH_CHARS: Final = 1 << 16
"Characters after which a writer publishes by itself: it is slowed down by a slow subscriber, and memory is bounded."
MESSAGE_CHARS: Final = 1 << 20
"Characters in one message."

Name: TypeAlias = Literal["stdout", "stderr"]
Parent: TypeAlias = "Job[Any] | None"
Entry: TypeAlias = tuple[Parent, int, Name, str]
"What was written: for which cell, by which thread, to which stream."
Ready: TypeAlias = tuple[Parent, Name, str, int]
"What to publish: for which cell, to which stream, and the text, whose beginning up to the number has been published."
Key: TypeAlias = tuple[int, int]
"The thread and the identity of the cell's Job."


class TextSink(Protocol):
    """Where the text is echoed to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class _Held:
    """The beginning of a line that waits for its end."""

    __slots__ = ("name", "others", "parent", "since", "text", "thread")

    def __init__(self, parent: Parent, thread: int, name: Name, text: str, since: float) -> None:
        self.parent = parent
        self.thread = thread
        self.name: Name = name
        self.text = text
        self.since = since
        self.others = False


class Output:
    """The two streams and their common buffer.

    Args:
        publish: Publishes `stream` messages; may block while a subscriber is slow.
        echo: Streams that get a copy of the text: the terminal's, by name.
        parent: Which Job a write belongs to; by default the one of the current context.

    Attributes:
        stdout, stderr: The streams; put them into `sys`.
        before_flush: Called by `flush`: it may write what comes from elsewhere.
    """

    def __init__(
        self,
        publish: Publisher,
        *,
        echo: dict[Name, TextSink] | None = None,
        parent: Callable[[], Parent] = current_job.get,
    ) -> None:
        self._publish = publish
        self._echo = echo or {}
        self.parent = parent
        self.before_flush: Callable[[], object] | None = None
        self.entries: list[Entry] = []
        self.chars = 0
        self._held: dict[Key, _Held] = {}
        self._ready: list[Ready] = []
        self._lock = threading.RLock()
        self.draining = False
        self._drainer = 0
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self.due = False
        self._flusher_pid = 0
        self.stdout: OutStream = OutStream(self, "stdout", 1)
        self.stderr: OutStream = OutStream(self, "stderr", 2)
        _outputs.add(self)

    def put(self, thread: int, name: Name, text: str) -> None:
        """Take what a thread has written, or a source with a number that no thread has: every flush ends its lines."""
        self.entries.append((self.parent(), thread, name, text))
        self.chars += len(text)
        if self.chars >= FLUSH_CHARS:
            self.drain()
        elif not self.due:
            self.arm()

    def flush(self) -> None:
        """Publish what was written before this call, but lines that other running threads have not finished yet."""
        if self.before_flush is not None and self._drainer != get_ident():
            self.before_flush()
        if self.entries or self._held or self._ready:
            self.drain(get_ident())

    def put_back(self) -> None:
        """Where a cell has deleted `sys.stdout` or `sys.stderr`, put them back, and say so."""
        for stream in (self.stdout, self.stderr):
            if not hasattr(sys, name := stream.name.strip("<>")):
                setattr(sys, name, stream)
                self.stderr.write(f"sys.{name} was deleted; it is the cells' {name} again\n")

    def close(self) -> None:
        """Publish everything, end the flusher; from now on the streams write to the process's own file descriptors."""
        self.flush()
        with self._lock:
            batch = _Batch({})
            for each in self._held.values():
                batch.add(each.parent, each.name, each.text)
            self._held = {}
            self._ready += batch.messages()
            self._send()
        for stream in (self.stdout, self.stderr):
            stream.detach_from_kernel()
        self._wake.put(False)

    def _after_fork(self) -> None:
        # The text in the buffers is the parent's to publish, and another thread may have held the lock.
        self.entries, self._held, self._ready = [], {}, []
        self._lock = threading.RLock()
        for stream in (self.stdout, self.stderr):
            stream.detach_from_kernel(by_lines=True)

    def arm(self) -> None:
        self.due = True
        if not self._flusher_pid:
            self._flusher_pid = os.getpid()
            try:
                # Not threading.Thread: its start takes locks that the interrupted code may hold.
                start_new_thread(self._flush_in_time, ())
            except RuntimeError:  # The interpreter is exiting: the last flush publishes the text.
                self._flusher_pid = 0
                return
        self._wake.put(True)  # Reentrant, says its documentation.

    def _flush_in_time(self) -> None:
        while self._wake.get():
            time.sleep(INTERVAL)
            self.due = False
            try:
                self.drain()
            except Exception:
                log.exception("text could not be published")
            if self._held and not self.due:
                self.due = True
                self._wake.put(True)

    def drain(self, flushed_thread: int | None = None) -> None:
        """Publish what was written; `flushed_thread` flushes explicitly: its unfinished lines are published too."""
        with self._lock:
            if self.draining:  # A finalizer or a signal handler prints while this thread drains.
                return
            try:
                self.draining = True
                self._drainer = get_ident()
                self._collect(flushed_thread)
                self._send()
            finally:
                self._drainer = 0
                self.draining = False

    def _collect(self, flushed_thread: int | None) -> None:
        """Move what can be published from the buffer to `_ready`."""
        entries = self.entries[:]
        count = len(entries)
        self.chars = 0
        batch = _Batch(self._held)
        for entry in _runs(entries):
            batch.add_run(entry)
        if batch.held:
            alive = set(sys._current_frames()) if flushed_thread is not None else None  # pyright: ignore[reportPrivateUsage]
            if alive is not None:
                # A thread that has ended since the entries were copied has written its end of the line to the others.
                alive.update(entry[1] for entry in self.entries[count:])
            batch.release(flushed_thread, alive)
        messages = batch.messages()
        # CPython lets signal handlers run at calls and jumps; here is none, so that an interrupt can't come between.
        self._held = batch.held
        self._ready = self._ready + messages
        del self.entries[:count]

    def _send(self) -> None:
        while self._ready:
            parent, name, text, start = self._ready[0]
            # Cut only here: memory that was just used is not fetched anew for each message.
            piece = text[start : (end := start + MESSAGE_CHARS)]
            rest: list[Ready] = [(parent, name, text, end)] if end < len(text) else []
            try:
                self._publish("stream", {"name": name, "text": piece}, parent=parent)
            except Exception:
                self._ready[:1] = rest
                raise
            # Only now: what an interrupt kept from being published is not lost.
            self._ready[:1] = rest
            if (echo := self._echo.get(name)) is not None:
                echo.write(piece)
                echo.flush()


class _Batch:
    """Makes messages of what was written, with as few as possible, and holds back the beginnings of lines."""

    def __init__(self, held: dict[Key, _Held]) -> None:
        self.held = dict(held)
        self._now = time.monotonic()
        self._texts: list[tuple[Parent, Name, list[str]]] = []
        self._room = 0

    def add(self, parent: Parent, name: Name, text: str) -> None:
        """Append text: to the last message, where it is the same cell and stream and there is room in it."""
        last = self._texts[-1] if self._texts else None
        if last is not None and last[0] is parent and last[1] == name and len(text) <= self._room:
            last[2].append(text)
            self._room -= len(text)
            return
        self._texts.append((parent, name, [text]))
        self._room = MESSAGE_CHARS - len(text)

    def add_run(self, entry: Entry) -> None:
        """Append what one thread wrote, up to the last end of a line."""
        parent, thread, name, text = entry
        key = (thread, id(parent))
        if (before := self.held.pop(key, None)) is not None:
            if before.name == name:
                text = before.text + text
            else:
                self.add(parent, before.name, before.text)
        for other in self.held.values():
            other.others = other.others or other.parent is parent
        end = text.rfind("\n") + 1
        if end < len(text) < end + FLUSH_CHARS:
            self.held[key] = _Held(parent, thread, name, text[end:], self._now)
            text = text[:end]
        if text:
            self.add(parent, name, text)

    def release(self, flushed_thread: int | None, alive: set[int] | None) -> None:
        """Append the held lines of the thread that flushes, of threads that have ended, and those that are old."""
        for key, each in list(self.held.items()):
            patience = PATIENCE_WITH_OTHERS if each.others else PATIENCE
            ended = alive is not None and each.thread not in alive
            if ended or each.thread == flushed_thread or self._now - each.since >= patience:
                del self.held[key]
                self.add(each.parent, each.name, each.text)

    def messages(self) -> list[Ready]:
        """What to publish, in order."""
        return [(parent, name, "".join(texts), 0) for parent, name, texts in self._texts]


def _runs(entries: list[Entry]) -> Iterable[Entry]:
    """What one thread wrote for one cell to one stream without a break, as one entry."""
    if not entries:
        return
    parent, thread, name, _ = entries[0]
    texts: list[str] = []
    for entry in entries:
        if entry[0] is not parent or entry[1] != thread or entry[2] != name:
            yield parent, thread, name, "".join(texts)
            parent, thread, name, _ = entry
            texts = []
        texts.append(entry[3])
    yield parent, thread, name, "".join(texts)


class OutStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of the cells; see `Output`."""

    encoding = "utf-8"
    errors = "backslashreplace"  # pyright: ignore[reportAssignmentType]
    newlines = None

    def __init__(self, output: Output, name: Name, descriptor: int) -> None:
        self._output = output
        self._name: Name = name
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def mode(self) -> str:
        return "w"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """For bytes of UTF-8 text."""
        return _Bytes(self)

    def write(self, text: str, /) -> int:
        """Write `text`, which is shown in the cell that the current context belongs to.

        Raises:
            TypeError: `text` is not a string.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._output.put(get_ident(), self._name, text)
        return len(text)

    def flush(self) -> None:
        """Publish what was written."""
        self._output.flush()

    def writelines(self, lines: Iterable[str], /) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for line in lines:
            self.write(line)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """The file descriptor of the process, which child processes inherit."""
        return self._descriptor

    def close(self) -> None:
        """Flush: the stream belongs to the kernel, and a cell that closes it can still print."""
        self.flush()

    def detach_from_kernel(self, *, by_lines: bool = False) -> None:
        """From now on write to the file descriptor, perhaps whole lines: the kernel is gone, or this a fork of it."""
        self.write = self._write_to_descriptor
        if by_lines:
            self.write, self.flush = by_whole_lines(self._write_to_descriptor)

    def _write_to_descriptor(self, text: str, /) -> int:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._descriptor, data) :]
        return len(text)


class _Bytes(io.BufferedIOBase):
    def __init__(self, stream: OutStream) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self._stream.write(str(view, "utf-8", "replace"))
        return len(view)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


_outputs: weakref.WeakSet[Output] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for output in tuple(_outputs):
        output._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
