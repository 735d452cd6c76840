"""Reads the pipes of `fd_capture` while the kernel can't: C code that keeps the GIL writes to descriptor 1 or 2.

Such code stops every thread of Python, so the thread that reads the pipes too; when they are full (1 MiB), it would
wait for ever. Only another process can read then. It is started with the first extension module of others that is
imported (`_ctypes` counts): before, there is no code that could do that, and a kernel that needs none of it pays
nothing. It sleeps until something is written, and touches it only when the kernel has not taken its turn for long;
what it reads it keeps in memory that both share, and the kernel, when it can again, takes that before what is in the
pipes. So nothing is lost, the order is kept, and everything else is as with pipes alone:

- A regular file in place of the pipe would never be full, but `echo > /dev/stderr` would empty it, a child that
  writes for ever would fill the disk, and one that outlives the kernel would never hear of its end.
- A terminal would change what programs write, a socket can't be opened as /dev/stdout, and a thread of C code alone
  needs an extension of our own.

The kernel is slow, not stopped, while a slow client keeps it waiting: then writers shall wait. The reader says so, and
is given more time than the slowest client gets.

This file is also the program of that process: it runs without the package, so it imports nothing but Python's own.
"""

from __future__ import annotations

import mmap
import os
import select
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

__all__ = ["Rescue"]

READ_BYTES: Final = 1 << 16
LOOK_SECONDS: Final = 0.25
"So often the process looks whether the kernel goes on, while there is something to read."
PATIENCE_LOOKS: Final = 2
PATIENCE_LOOKS_PUBLISHING: Final = 60
"More than a slow client may keep the kernel waiting (11 s)."
KEPT_BYTES: Final = 64 << 20
"What is kept for each descriptor; more is left out, and the kernel says how much."
TURN, PUBLISHING, HELD, LOST = slice(0, 8), 8, 9, (slice(16, 24), slice(24, 32))
"What is where in the shared memory: the reader's turn, whether it publishes, whether bytes are held, how many are lost"
SHARED_BYTES: Final = 64
KEEPS, GIVEN_BACK = b"k", b"!"
"What the process says: that it begins to read, and that it has ended."


class Rescue:
    """The kernel's side: tells of its reader's turns, and takes back what was kept. For one thread, but `start`.

    Args:
        readers: The ends of the pipes that are read.
        errors: The descriptor that the process may complain to.

    Attributes:
        answered: Readable when something is kept: what polls the pipes alone would not wake, as nothing is left there.
    """

    def __init__(self, readers: Sequence[int], errors: int) -> None:
        self._readers = readers
        self._errors = errors
        self._pid = os.getpid()
        self._starting = False
        self._files: list[int] = []
        self._shared: Any = None
        self.answered: int = -1
        self._ask = -1
        self._turn = 0
        self._position = [0] * len(readers)
        self._size = [0] * len(readers)

    def start(self) -> None:
        """Start the process, once; from any thread. Where that can't be done, there is none.

        Raises:
            OSError: There can be no more processes or descriptors.
        """
        if self._starting or os.getpid() != self._pid or not hasattr(os, "memfd_create"):
            return
        self._starting = True
        names = ("state", *(f"kept-{n}" for n, _ in enumerate(self._readers)))
        self._files = [os.memfd_create(f"async-kernel-{name}") for name in names]
        os.ftruncate(self._files[0], SHARED_BYTES)
        shared = mmap.mmap(self._files[0], SHARED_BYTES)
        asked, self._ask = os.pipe()
        self.answered, answer = os.pipe()
        try:
            self._spawn([asked, answer, *self._files, *self._readers])
        finally:
            os.close(asked)
            os.close(answer)
        self._shared = shared  # From now on the turns are told.

    def _spawn(self, given: list[int]) -> None:
        """Start the process so that it is not a child: a cell that waits for all of its children shall not wait."""
        first = max(*given, self._errors) + 1
        actions: list[Any] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, self._errors, 2),
            *((os.POSIX_SPAWN_DUP2, each, first + n) for n, each in enumerate(given)),
        ]
        program = [sys.executable, "-I", "-S", __file__, str(self._pid), str(first), str(len(self._readers))]
        command = ["sh", "-c", '"$0" "$@" &', *program]
        os.waitpid(os.posix_spawn("/bin/sh", command, os.environ, file_actions=actions), 0)

    def turn(self, index: int) -> bytes:
        """The reader is about to read a pipe: the next bytes that were kept of it; where there are none, read at once.

        Nothing may come between that lets another thread run.
        """
        if self._shared is None:
            return b""
        self._turn += 1
        self._shared[TURN] = self._turn.to_bytes(8, "little")
        if self._shared[HELD]:
            self._take_back()
        return self._next(index)

    @contextmanager
    def publishing(self) -> Generator[None]:
        """Inside, the reader may be waiting for a slow client."""
        if self._shared is None:
            yield
            return
        self._shared[PUBLISHING] = 1
        try:
            yield
        finally:
            self._shared[PUBLISHING] = 0

    @property
    def waiting(self) -> bool:
        """Whether something was kept that `turn` has not given yet."""
        return self._shared is not None and (bool(self._shared[HELD]) or self._position != self._size)

    def _next(self, index: int) -> bytes:
        if self._position[index] == self._size[index]:
            return b""
        file = self._files[1 + index]
        data = os.pread(file, READ_BYTES, self._position[index])
        self._position[index] += len(data)
        if self._position[index] >= self._size[index]:
            os.ftruncate(file, 0)
            self._position[index] = self._size[index] = 0
            data += self._note_of_lost(index)
        return data

    def _take_back(self) -> None:
        with suppress(BrokenPipeError):  # The process was killed: what it has kept is here all the same.
            os.write(self._ask, b"?")
        while os.read(self.answered, 1) == KEEPS:
            pass
        self._shared[HELD] = 0
        self._size = [os.fstat(file).st_size for file in self._files[1:]]

    def _note_of_lost(self, index: int) -> bytes:
        lost = int.from_bytes(self._shared[LOST[index]], "little")
        self._shared[LOST[index]] = bytes(8)
        note = f"\nasync-kernel: {lost} bytes are missing here: C code has written too much while it kept the GIL\n"
        return note.encode() if lost else b""

    def close(self) -> None:
        """End the process. In a child of a fork: let go of it."""
        self._starting = True
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()
        for file in (*self._files, self._ask, self.answered):
            if file >= 0:
                os.close(file)
        self._files, self._ask, self.answered = [], -1, -1


class _Keeper:
    """The process's side.

    Args:
        kernel: The kernel's process.
        first: The first of the descriptors that it was given: what the kernel asks by, what it is answered by, the
            state, what is kept, the pipes.
        count: How many pipes there are.
    """

    def __init__(self, kernel: int, first: int, count: int) -> None:
        self.kernel = kernel
        self.asked, self.answered, state = first, first + 1, first + 2
        self.shared = mmap.mmap(state, SHARED_BYTES)
        self.files = [state + 1 + n for n in range(count)]
        self.readers = [state + 1 + count + n for n in range(count)]
        self.ended = False

    def run(self) -> None:
        """Watch until the kernel has ended."""
        turn, looks = b"", 0
        while not self.ended:
            if not self.wait():
                continue
            looks = looks + 1 if self.shared[TURN] == turn else 0
            turn = self.shared[TURN]
            patience = PATIENCE_LOOKS_PUBLISHING if self.shared[PUBLISHING] else PATIENCE_LOOKS
            if looks > patience and not self.is_stopped():
                self.rescue(turn)
                looks = 0
            elif not self.ended:
                self.answer(LOOK_SECONDS)

    def wait(self) -> bool:
        """Wait until there is something to read; answer the kernel if it asks. Whether there is something."""
        poll = select.poll()
        for each in (self.asked, *self.readers):
            poll.register(each, select.POLLIN)
        ready = dict(poll.poll())
        if ready.pop(self.asked, 0):
            self.answer(0)
            return False
        if any(events & select.POLLIN for events in ready.values()):
            return True
        self.answer(LOOK_SECONDS)  # Nobody has the other ends, for now.
        return False

    def answer(self, seconds: float) -> bool:
        """Wait for a question, for at most so long; whether there was one, or the kernel's end."""
        poll = select.poll()
        poll.register(self.asked, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        self.ended = not os.read(self.asked, 1)
        self.shared[HELD] = 0
        if not self.ended:
            os.write(self.answered, GIVEN_BACK)
        return True

    def rescue(self, turn: bytes) -> None:
        """Read the pipes until the kernel asks."""
        self.shared[HELD] = 1
        if self.answer(LOOK_SECONDS):
            return
        if self.shared[TURN] != turn:  # It has begun its turn without having seen that.
            self.shared[HELD] = 0
            return
        os.write(self.answered, KEEPS)
        while self.shared[HELD]:
            if not sum(self.keep(index) for index in range(len(self.readers))):
                self.wait()

    def keep(self, index: int) -> int:
        """Keep what is in a pipe now; how much there was."""
        try:
            data = os.read(self.readers[index], READ_BYTES)
        except BlockingIOError:
            return 0
        file, written = self.files[index], 0
        size = os.fstat(file).st_size
        if size < KEPT_BYTES:
            with suppress(OSError):  # No memory: it is counted as lost.
                written = os.pwrite(file, data, size)
        lost = int.from_bytes(self.shared[LOST[index]], "little") + len(data) - written
        self.shared[LOST[index]] = lost.to_bytes(8, "little")
        return len(data)

    def is_stopped(self) -> bool:
        """Whether somebody has stopped the kernel as a whole (SIGSTOP, a debugger): then writers shall wait."""
        with open(f"/proc/{self.kernel}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in b"Tt"


def _main(kernel: str, first: str, count: str) -> None:
    os.chdir("/")  # It shall keep no folder in use.
    last = int(first) + 3 + 2 * int(count)
    given = range(int(first), last)
    for each in [int(name) for name in os.listdir("/proc/self/fd")]:
        if each > 2 and each not in given:
            with suppress(OSError):  # The one that the listing itself had open.
                os.close(each)
    with suppress(FileNotFoundError, ProcessLookupError):  # The kernel has ended just now.
        _Keeper(int(kernel), int(first), int(count)).run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
