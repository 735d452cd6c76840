"""What ends a kernel that nobody else ends: a dead parent, a shutdown that hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Final

from async_kernel.threads import KernelThread

__all__ = ["bound_shutdown", "watch_parent"]

log = logging.getLogger("async_kernel")

POLL_SECONDS: Final = 1.0
TELL_SECONDS: Final = 0.5


def watch_parent(pid: int, when_dead: Callable[[], None]) -> None:
    """Call `when_dead` (in a daemon thread) when the process `pid` has ended.

    Where the system can wait for a process that is not a child (Linux), the thread sleeps until then.
    """

    def wait() -> None:
        if os.getppid() == pid:
            _wait_for(pid)
        log.warning("the parent process %d has ended: the kernel stops", pid)
        when_dead()

    KernelThread(target=wait, name="ParentWatch").start()


def _wait_for(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # Not Linux, or an old one: look now and then whether another has adopted us.
        ticks = threading.Event()
        while os.getppid() == pid:
            ticks.wait(POLL_SECONDS)
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def bound_shutdown(seconds: float, clean_up: Callable[[], None]) -> None:
    """End the process with status 1 if it has not ended by itself in `seconds`, after a dump and `clean_up`."""

    def tell() -> None:
        text = stacks()
        said = "the kernel did not end within %g s of being asked to; the stacks of its threads follow"
        log.error(said, seconds, extra={"stack": text})
        if sys.__stderr__ is not None and not sys.__stderr__.closed:
            sys.__stderr__.write(text)
            sys.__stderr__.flush()

    def wait() -> None:
        threading.Event().wait(seconds)
        # Whoever should read what is told may have stopped reading.
        telling = KernelThread(target=tell, name="ShutdownReport")
        telling.start()
        telling.join(TELL_SECONDS)
        clean_up()
        os._exit(1)

    try:
        KernelThread(target=wait, name="ShutdownWatch").start()
    except (MemoryError, RuntimeError) as error:  # It should end all the more.
        log.error("nobody watches whether the kernel ends: there can't be another thread: %s", error)


def stacks() -> str:
    """What every thread does now."""
    import tempfile  # only where a shutdown hangs

    # Not straight to stderr: faulthandler holds the GIL while it writes, and a full pipe would hold it for ever.
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
