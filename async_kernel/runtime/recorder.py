"""What is left of a kernel that crashes or is killed: which cells ran, its memory, and the stacks of its threads.

It stands in a file that the kernel removes when it ends by itself; `async_kernel.runtime.deaths` reads it. A cell that
begins or ends costs a copy in memory, no system call.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import mmap
import os
import stat
import sys
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any, Final

from async_kernel.runtime.patches import patched
from async_kernel.runtime.record_layout import (
    CELL,
    CELLS,
    END,
    EXIT,
    LOGGED,
    MAGIC,
    MEMORY,
    OOM,
    PAGE,
    SUFFIX,
    prefix,
    record_folder,
)

try:
    import fcntl
except ImportError:
    fcntl = None

__all__ = ["Recorder"]

log = logging.getLogger("async_kernel")

SAMPLE_SECONDS: Final = 2.0
"While cells run, the memory is measured so often."
REST_SECONDS: Final = 10.0
"For so long it is measured after a cell, so that not each one has to begin it anew."
CODE_CHARACTERS: Final = 200
KIB: Final = 1024
_write_cell: Final = CELL.pack_into
_write_end, _END_AT = END[0].pack_into, END[1]
_exit: Final = os._exit
_enable: Final = faulthandler.enable


class Recorder:
    """Writes the file of this process's kernel. One that was not opened does nothing.

    Args:
        connection_file: The kernel's.
        profile: The name of its profile.
    """

    keeps_code: bool = True
    "Whether the first characters of each cell are kept."

    def __init__(self, connection_file: Path | None = None, profile: str = "") -> None:
        self._connection_file = connection_file
        self._profile = profile
        self._path: Path | None = None
        self._file = -1
        self._map: mmap.mmap | None = None
        self._free: list[int] = []
        self._stacks = -1
        self._resting = False
        self._wake = threading.Event()
        self._finding = threading.Lock()
        self._found: list[Any] | None = None
        self.untold: bool = False
        "Whether no cell has been told yet how the kernel before this one has died."

    # -- the cells: any thread ----------------------------------------------------------------------------------------

    def begin(self, msg_id: str, count: int, code: str) -> int:
        """A cell begins; returns what `end` wants.

        Args:
            msg_id: The id of its request.
            count: Its number; 0 where it has none.
            code: Its text.
        """
        page = self._map
        if page is None or not self._free:
            return 0  # It is not open, or more cells run than there are places for.
        try:
            place = self._free.pop()
        except IndexError:
            return 0  # Another thread has taken the last.
        text = code[:CODE_CHARACTERS].encode("utf-8", "replace") if self.keeps_code else b""
        _write_cell(page, place, time(), 0.0, count, msg_id.encode("utf-8", "replace"), text)
        if self._resting:
            self._resting = False
            self._wake.set()
        return place

    def end(self, place: int) -> None:
        """The cell for which `begin` has returned `place` has ended."""
        if place and self._map is not None:
            _write_end(self._map, place + _END_AT, time())
            self._free.append(place)

    # -- its life -----------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Generator[None]:
        """Inside, the file is there, and a crash writes the stacks of all threads.

        There is one place for them. Where Jupyter has started the kernel, it is the file: the next kernel passes them
        on. Elsewhere, or where faulthandler was enabled before (PYTHONFAULTHANDLER), it is stderr.
        """
        was_enabled = faulthandler.is_enabled()
        try:
            self._open(to_stderr=was_enabled or "JPY_PARENT_PID" not in os.environ)
        except OSError as error:
            log.info("a crash of the kernel will not be recorded: %s", error)
            self.close()
            self._release()
            yield
            return
        try:
            with patched([(os, "_exit", self._exit), (faulthandler, "enable", self._enable)]):
                yield
        finally:
            self.close()
            faulthandler.disable()
            if was_enabled:
                _enable(2)
            self._release()

    def _release(self) -> None:
        for file in {self._file, self._stacks} - {-1}:
            os.close(file)
        self._file = self._stacks = -1

    def close(self) -> None:
        """The kernel has ended by itself: remove the file. Idempotent."""
        self._free.clear()
        path, self._path = self._path, None
        if path is not None:
            with suppress(OSError):  # Somebody has removed it.
                path.unlink()

    def _open(self, *, to_stderr: bool) -> None:
        assert self._connection_file is not None
        folder = record_folder()
        private_folder(folder)
        path = folder / f"{prefix(self._connection_file)}{os.getpid()}{SUFFIX}"
        path.unlink(missing_ok=True)  # What had this number before is dead.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._path = path
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)
        facts = {
            "pid": os.getpid(),
            "started": time(),
            "connection_file": str(self._connection_file),
            "profile": self._profile,
            "runtime": os.environ.get("JUPYTER_RUNTIME_DIR", ""),
            "stacks": "stderr" if to_stderr else "here",
        }
        # All of it is written, so that no page that is mapped has still to be made. The stacks come after it.
        os.write(self._file, MAGIC.ljust(PAGE, b"\0") + json.dumps(facts).encode() + b"\n")
        self._map = mmap.mmap(self._file, PAGE)
        # With `capture_fds`, descriptor 2 itself will be a pipe that nobody reads after a crash.
        self._stacks = os.dup(2) if to_stderr else self._file
        _enable(self._stacks)
        self._free = list(reversed(CELLS))
        self.untold = True
        _recorders.add(self)

    def _enable(self, file: Any = None, all_threads: bool = True, **options: Any) -> None:
        """`faulthandler.enable`, as the cells have it: what is to go to the cells' stderr would be lost in a crash."""
        file = sys.stderr if file is None else file
        number = file if isinstance(file, int) else file.fileno()
        _enable(self._stacks if number == 2 else file, all_threads, **options)

    def _exit(self, status: int) -> None:
        if self._map is not None:
            EXIT[0].pack_into(self._map, EXIT[1], time(), status)
        _exit(status)

    def _forget(self) -> None:
        """A fork of the kernel is not the kernel: its crash is told on stderr, which is the cell's."""
        self._free.clear()
        self._path = None
        page, self._map = self._map, None
        if page is not None:
            page.close()
            if faulthandler.is_enabled():
                _enable(2)
            os.close(self._file)

    # -- how the kernel before this one has died ----------------------------------------------------------------------

    def predecessors(self) -> list[Any]:
        """The `Death`s of those that had the same connection file, the last one first. Read with the first call."""
        with self._finding:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> list[Any]:
        if self._path is None or self._connection_file is None:
            return []
        begin, own = prefix(self._connection_file), self._path.name
        with os.scandir(self._path.parent) as entries:
            paths = [Path(each) for each in entries if each.name.startswith(begin) and each.name != own]
        if not paths:
            return []
        from async_kernel.runtime.deaths import deaths  # only where one has died

        return deaths(paths)

    # -- memory -------------------------------------------------------------------------------------------------------

    def watch(self, ending: threading.Event) -> None:
        """Measure the memory while cells run, until `ending` is set and `wake` is called. Nothing while they don't."""
        if (page := self._map) is None:
            return
        self._note_oom(page)
        idle = 0.0
        while not ending.is_set():
            self._measure(page)
            idle = 0.0 if len(self._free) < len(CELLS) else idle + SAMPLE_SECONDS
            if idle < REST_SECONDS:
                ending.wait(SAMPLE_SECONDS)
                continue
            self._wake.clear()
            self._resting = True
            if len(self._free) == len(CELLS) and not ending.is_set():
                self._wake.wait()
            self._resting, idle = False, 0.0

    def log_begun(self) -> None:
        """The kernel has begun its log: that says who it is."""
        if self._map is not None:
            LOGGED[0].pack_into(self._map, LOGGED[1], 1)

    def wake(self) -> None:
        """Let `watch` look whether it is to end."""
        self._wake.set()

    def _measure(self, page: mmap.mmap) -> None:
        values = _numbers(Path("/proc/self/status"), ("VmRSS:", "VmHWM:"))
        if len(values) == 2:
            MEMORY[0].pack_into(page, MEMORY[1], time(), values["VmRSS:"] * KIB, values["VmHWM:"] * KIB)

    def _note_oom(self, page: mmap.mmap) -> None:
        for path in _oom_files():
            if (count := _numbers(path, ("oom_kill",)).get("oom_kill")) is not None:
                OOM[0].pack_into(page, OOM[1], count, os.fsencode(path))
                return


def private_folder(folder: Path) -> None:
    """Make `folder`, whose parent is there, for its owner only.

    Raises:
        OSError: It can't be made, or others may come in.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is no folder")
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        raise PermissionError(f"the folder {folder} is not this user's alone")


def _numbers(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    """The lines `name number` of a file of the system that have one of the names; empty where there is none."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {each[0]: int(each[1]) for each in fields if len(each) > 1 and each[0] in names and each[1].isdigit()}


def _oom_files() -> Generator[Path]:
    """The files that may count the processes killed for memory: of our control group (cgroups(7)), of the system."""
    root = Path("/sys/fs/cgroup")
    try:
        groups = Path("/proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        groups = []
    for number, controllers, group in (line.split(":", 2) for line in groups if line.count(":") >= 2):
        if number == "0":
            yield Path(f"{root}{group}/memory.events")
        elif "memory" in controllers.split(","):
            yield Path(f"{root}/memory{group}/memory.oom_control")
    yield Path("/proc/vmstat")


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for recorder in tuple(_recorders):
        recorder._forget()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
