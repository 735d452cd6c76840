"""The kernel's own log file: when it began, what went wrong, when and why it ended.

`<Jupyter's runtime folder>/async-kernel/<stem of the connection file>.log`, one JSON object a line, so that no text in
a record can pass for another record. A kernel holds a shared lock on its log while it lives: however it dies, the
system lets go of it, and what is not locked may be pruned. A log that has grown too long is renamed to `.log.1`.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import platform
import stat
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jupyter_core.paths import jupyter_runtime_dir

from async_kernel.runtime.kernel_log import KERNEL_LOG, text_of, trace_of

__all__ = ["OLDER", "SUFFIX", "LogFile", "is_locked", "log_folder", "prune"]

SUFFIX: Final = ".log"
OLDER: Final = ".log.1"
KEEP: Final = 20
"So many logs are kept, besides those of running kernels."
MAX_BYTES: Final = 512 * 1024
"A log that is longer becomes `OLDER`."
NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
MAX_TEXT: Final = 20_000
"Characters of a message or traceback."
SHORTEST_SECRET: Final = 8
"A key of fewer characters, which keeps nobody out, is left alone: it would be found in every word."


_fcntl: Final[Any] = importlib.import_module("fcntl") if os.name == "posix" else None


def _lock(file: int, *, exclusive: bool) -> None:
    """Lock an open file; raises OSError where an exclusive lock is not to be had now, or there are no locks.

    Elsewhere than on POSIX an open file can't be removed: that is lock enough.
    """
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB if exclusive else _fcntl.LOCK_SH)


def log_folder() -> Path:
    """Where the logs are."""
    return Path(jupyter_runtime_dir(), "async-kernel")


class LogFile(logging.Handler):
    """The log of one kernel. It never raises: what can't be written is told once on stderr, and the kernel goes on.

    Args:
        path: The file.
        secrets: What must not be in it: keys.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self.path: Path = path
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._pid = os.getpid()
        self._file = -1
        self._size = 0
        self._start: dict[str, Any] = {}

    def begin(self, **facts: Any) -> bool:
        """Open it and say that the kernel has started; returns whether that was written."""
        self._start = {"event": "started", **facts, "host": platform.node(), "python": sys.executable}
        try:
            _make_folder(self.path.parent)
            self._file, self._size = _open(self.path)
        except OSError as error:
            self._give_up(error)
            return False
        return self.say("INFO", "started", **self._start)

    def end(self, uptime: float, reason: str) -> None:
        """Say that the kernel has ended, and close it. Idempotent.

        Args:
            uptime: Seconds.
            reason: Why.
        """
        self.say("INFO", "stopped", event="stopped", uptime=round(uptime, 3), reason=self._shown(reason))
        self.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if os.getpid() != self._pid:
            return  # A fork of the kernel is not the kernel.
        text = text_of(record)
        more = {"traceback": trace_of(record), "stack": getattr(record, "stack", "")}
        self.say(record.levelname, text, **{name: self._shown(str(value)) for name, value in more.items() if value})

    def say(self, level: str, message: str, **facts: Any) -> bool:
        """Write a record of this kernel now; returns whether it has been written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return self.put({"time": now, "level": level, "pid": self._pid, "message": self._shown(message), **facts})

    def put(self, record: Mapping[str, Any]) -> bool:
        """Write a record; returns whether it has been written."""
        text = json.dumps(record, default=str)
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        data = f"{text}\n".encode()
        self.acquire()
        try:
            if self._file < 0:
                return False
            if self._size > MAX_BYTES:
                self._rotate()
            self._size += (written := os.write(self._file, data))
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up(error)
            return False
        finally:
            self.release()
        return True

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
        super().close()

    def _rotate(self) -> None:
        os.replace(self.path, self.path.with_suffix(OLDER))
        before = self._file
        self._file, self._size = _open(self.path)
        os.close(before)
        self.say("INFO", f"continued; what came before is in {self.path.with_suffix(OLDER).name}", **self._start)

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"

    def _give_up(self, error: OSError) -> None:
        self.close()
        if sys.__stderr__ is not None and not sys.__stderr__.closed:
            reason = error.strerror or error
            text = f"async-kernel: warning: can't write the kernel's log {self.path}: {reason}; it goes on without one"
            print(text, file=sys.__stderr__, flush=True)


def prune(folder: Path, keep: int = KEEP) -> list[Path]:
    """Remove all but the newest `keep` logs of kernels that have ended; returns what was removed.

    Kernels may do so at the same time: each removes a log only while it has the file's lock, and a kernel that has
    opened one sees, with the lock, whether it is still in its place.
    """
    found: list[tuple[float, Path]] = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            found.append((path.lstat().st_mtime, path))
        except FileNotFoundError:
            continue  # another kernel prunes too
    removed: list[Path] = []
    for _, path in sorted(found, reverse=True)[keep:]:
        if _remove_unlocked(path):
            removed.append(path)
    return removed


def is_locked(path: Path) -> bool:
    """Whether the kernel whose log this is may still live."""
    try:
        file = os.open(path, os.O_RDONLY | NO_LINK)
    except OSError:
        return False
    try:
        _lock(file, exclusive=True)
    except OSError:  # somebody has it, or this file system has no locks
        return True
    finally:
        os.close(file)
    return os.name == "nt"


def _remove_unlocked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | NO_LINK)
        try:
            _lock(file, exclusive=True)
            path.unlink()
        finally:
            os.close(file)
        path.with_suffix(OLDER).unlink(missing_ok=True)
    except OSError:
        return False  # it is in use, or gone, or not ours to remove
    return True


def _make_folder(folder: Path) -> None:
    """Make `folder` for its owner only.

    Raises:
        OSError: It can't be made, or it is somebody else's.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is no folder")
    if os.name == "posix":
        if status.st_uid != os.geteuid():
            raise PermissionError(f"the folder {folder} belongs to another user")
        if status.st_mode & 0o077:
            folder.chmod(0o700)


def _open(path: Path) -> tuple[int, int]:
    """The descriptor of the log at `path`, with a shared lock, and its size."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK
    while True:
        file = _above_standard(os.open(path, flags, 0o600))
        try:
            _share(file)
            if _is_in_place(file, path):
                return file, os.fstat(file).st_size
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # Somebody has pruned it between the two calls.


def _above_standard(file: int) -> int:
    """The file with another number, where it has that of stdout, which a cell may have closed: programs write there."""
    if file > 2 or _fcntl is None:
        return file
    try:
        return _fcntl.fcntl(file, _fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(file)


def _share(file: int) -> None:
    try:
        _lock(file, exclusive=False)
    except OSError as error:  # A file system without locks: then nothing is pruned there either.
        KERNEL_LOG.debug("no lock on the kernel's log: %s", error)


def _is_in_place(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
