"""A child process whose output is read in threads, so that neither an event loop nor a cell is needed to go on.

Threads, because they are the same for asyncio, trio and code without a loop, in whatever thread that runs.
"""

from __future__ import annotations

import codecs
import contextvars
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final, Literal, Protocol, TypeAlias

from async_kernel.scheduling import event_loops
from async_kernel.scheduling.context import addressee, current_job
from async_kernel.scheduling.pending import Event
from async_kernel.scheduling.sections import uninterrupted, waits

if sys.platform != "win32":
    import pty
    import termios
    import tty

    def open_terminal() -> tuple[int, int]:
        """Our end of a new terminal, and the end of the process that shall have it."""
        ours, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[tty.OFLAG] &= ~termios.ONLCR  # The ends of lines as they are written.
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        termios.tcsetwinsize(theirs, (24, 80))
        return ours, theirs
else:

    def open_terminal() -> tuple[int, int]:
        """There are none here.

        Raises:
            OSError: Always.
        """
        raise OSError("there are no terminals on Windows")


__all__ = ["Child", "Sinks"]


class Sink(Protocol):
    """What takes text."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


Sinks: TypeAlias = Mapping[Literal["stdout", "stderr"], Sink]
"""Where text goes; without a `stderr` it goes to stdout."""

CHUNK: Final = 1 << 16
IDLE_SECONDS: Final = 0.2
"After the end of the child, output of what it has left running is waited for as long as some comes within this time."
POLL_SECONDS: Final = 0.05
"How often a thread that blocks looks up: where signals don't reach, an interrupt can only land then."
ESCALATION: Final = tuple(
    (signal.Signals[name], seconds)
    for name, seconds in (("SIGINT", 1.0), ("SIGTERM", 1.0), ("SIGKILL", 0.0))
    if name in signal.Signals.__members__
)
"What ends a process group, and how many seconds it is given to obey."
GRACE: Final = sum(seconds for _, seconds in ESCALATION) + 0.5


class Child:
    """A child process, in a process group of its own; its stdin is closed, or what it is fed.

    Args:
        command: A program and its arguments, or a line for the user's shell.
        sinks: What takes its output, in a thread of its own, in the context of whoever started it.
        terminal: Its stdout and stderr are one terminal, where there are any: then programs write line by line.
        feed: What its stdin holds.
        environment: Variables over those of this process.
        ended: Called (in a thread) when it has ended.

    Raises:
        OSError: The program can't be started.

    Attributes:
        ended: Set when the process has ended, and its output is read.
        exit_code: As IPython says it: negative where a signal has ended it, or the last command of its shell.
        returncode: As `subprocess` says it.
    """

    @uninterrupted  # Else there might be a process that nobody knows.
    def __init__(
        self,
        command: str | Sequence[str],
        sinks: Sinks,
        *,
        terminal: bool = False,
        feed: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ended: Callable[[Child], object] = lambda _: None,
    ) -> None:
        self.ended = Event()
        self.exit_code = self.returncode = 0
        self._when_ended = ended
        self._stopping = False
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL if feed is None else subprocess.PIPE}
        if environment:
            options["env"] = {**os.environ, **environment}
        if isinstance(command, str):
            options["shell"] = True
            if os.name == "posix":
                options["executable"] = _user_shell()
        if os.name == "posix":
            options["start_new_session"] = True
        if terminal and os.name == "posix":
            self._process, outputs = _in_terminal(command, options)
        else:
            options["stderr"] = subprocess.PIPE if "stderr" in sinks else subprocess.STDOUT
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, **options)
            outputs = [_own(each) for each in (self._process.stdout, self._process.stderr) if each is not None]
        self._readers = [_Reader(descriptor, sink) for descriptor, sink in zip(outputs, sinks.values(), strict=False)]
        _start(self._watch, f"Child {self._process.pid}")
        if feed is not None:
            _start(self._feed, f"Child {self._process.pid} stdin", feed)

    # Waiting for it

    @waits
    def finish(self) -> int:
        """Block until it has ended; returns the exit code. An interrupt ends it."""
        try:
            while not self.ended.wait(POLL_SECONDS):
                pass
        except BaseException:
            self.stop()
            self.ended.wait(GRACE)
            raise
        return self.exit_code

    async def finish_async(self) -> int:
        """What `finish` does, in any event loop. A cancellation ends it."""
        try:
            await self.ended
        except BaseException:
            self.stop()
            with event_loops.this_driver().shield(GRACE):
                await self.ended
            raise
        return self.exit_code

    def stop(self) -> None:
        """End its process group, from any thread: it is asked to, and killed where it does not obey."""
        if not self._stopping:
            self._stopping = True
            _start(self._end_group, f"Stop child {self._process.pid}")

    def kill(self) -> None:
        """End its process group at once."""
        self._signal(ESCALATION[-1][0])

    def _end_group(self) -> None:
        for number, seconds in ESCALATION:
            if not self._signal(number):
                return
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(POLL_SECONDS)
                if not self._signal(0):
                    return

    def _signal(self, number: int) -> bool:
        """Send a signal (0: none) to its process group; False where there is none any more."""
        try:
            if os.name == "posix":
                os.killpg(self._process.pid, number)
            elif self._process.poll() is None and number:
                self._process.terminate()
        except (ProcessLookupError, PermissionError):  # It is gone; on macOS also where only zombies are left.
            return False
        return os.name == "posix" or self._process.poll() is None

    # Its threads

    def _watch(self) -> None:
        code = self._process.wait()
        for reader in self._readers:
            reader.finish()
        self.returncode = code
        # A shell says 128 + N where its last command was ended by signal N.
        self.exit_code = code if code <= 128 or os.name != "posix" else 128 - code
        self.ended.set()
        self._when_ended(self)

    def _feed(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                stdin.write(data)
        except BrokenPipeError:
            """It has ended, or does not read: as with a pipe in a shell, that is its own matter."""


class _Reader:
    """Reads a descriptor to its end, in a thread."""

    def __init__(self, descriptor: int, sink: Sink) -> None:
        self._descriptor = descriptor
        self._sink = sink
        self._waits = False
        self._count = 0
        self._ended = threading.Event()
        context = contextvars.copy_context()
        # Whatever the policy for threads is: this one speaks for the cell.
        context.run(lambda: addressee.set(addressee.get() or current_job.get()))
        _start(context.run, f"Read {descriptor}", self._read)

    def finish(self) -> None:
        """Wait until all is read, or until nothing comes from those who keep the other end open."""
        seen = -1
        while not self._ended.wait(IDLE_SECONDS) and not (self._waits and seen == self._count):
            seen = self._count

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            data = b" "
            while data:
                self._waits = True
                data = self._next()
                self._waits = False
                self._count += 1
                if text := decoder.decode(data, final=not data):
                    self._sink.write(text)
            self._sink.flush()
        finally:
            os.close(self._descriptor)
            self._ended.set()

    def _next(self) -> bytes:
        try:
            return os.read(self._descriptor, CHUNK)
        except OSError as exc:
            if exc.errno == errno.EIO:  # Linux: nobody has the terminal open any more.
                return b""
            raise


def _in_terminal(command: str | Sequence[str], options: dict[str, Any]) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a process whose stdout and stderr are a terminal; what reads from that."""
    ours, theirs = open_terminal()
    try:
        process = subprocess.Popen[bytes](command, stdout=theirs, stderr=theirs, bufsize=0, **options)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, [ours]


def _own(file: IO[bytes]) -> int:
    """The descriptor of a file that is given up."""
    with file:
        return os.dup(file.fileno())


def _user_shell() -> str:
    shell = os.environ.get("SHELL", "")
    return shell if os.path.isabs(shell) and os.access(shell, os.X_OK) else "/bin/sh"


def _start(func: Callable[..., object], name: str, *args: Any) -> None:
    threading.Thread(target=func, args=args, name=name, daemon=True).start()
