"""Write, replace and remove a folder in one step, so that nobody ever sees half of one.

A folder is made, or ends, inside a staging folder beside it, and one rename brings it in or out. POSIX's `rename`
can't replace a folder that is not empty; Linux (`renameat2`) and macOS (`renamex_np`) can exchange two.

A process that is killed leaves its staging folder. Whoever works beside it next removes that, and knows it by three
things: its name and content are what is made here, it belongs to the same user, and no living process holds its lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

__all__ = ["publish", "put", "sweep", "withdraw"]

PREFIX: Final = ".async-kernel-"
_STAGING: Final = re.compile(re.escape(PREFIX) + r"(.+)-[a-z0-9_]{8}")
_NEW, _OLD, _GONE, _KEPT = "new", "old", "gone", "kept"
_STALE_SECONDS: Final = 24 * 3600
"Where files can't be locked (Windows, some network file systems), a staging folder of that age is nobody's."

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h, RENAME_SWAP of macOS's sys/stdio.h
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, *_UNSUPPORTED)


def publish(target: Path, files: Mapping[str, bytes], check: Callable[[Path], None]) -> None:
    """Make `target` a folder that holds exactly `files`; what was there is removed.

    Args:
        target: The folder. Those above it are made.
        files: Name -> content.
        check: Called with the folder that was there, when it has moved away already; where it raises, everything is
            put back. What it has seen can't be exchanged any more for something that must not be lost.

    Raises:
        OSError: It could not be done; `target` is as it was, or (where only making it durable failed) the new one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    with _staging(target) as stage:
        new, old = stage / _NEW, stage / _OLD
        new.mkdir(mode=0o775)  # others may read it, never write
        for name, content in files.items():
            _write(new / name, content)
        _sync(new)
        put(new, target, old=old)
        for moved in (path for path in (new, old) if os.path.lexists(path)):
            try:
                check(moved)
            except BaseException:
                put(moved, target, old=stage / _GONE)
                raise
        _sync(target.parent)


def withdraw(target: Path, check: Callable[[Path], None]) -> None:
    """Remove the folder `target`; `check` as for `publish`.

    Raises:
        OSError: It could not be done; `target` is as it was, or (where only making it durable failed) gone.
    """
    sweep(target.parent)
    with _staging(target) as stage:
        gone = target.rename(stage / _GONE)
        try:
            check(gone)
        except BaseException:
            _put_back(gone, target)
            raise
        _sync(target.parent)


def _put_back(gone: Path, target: Path) -> None:
    try:
        gone.rename(target)
    except OSError as exc:  # Something else is there by now.
        kept = gone.rename(gone.with_name(_KEPT))
        raise OSError(exc.errno, f"{exc.strerror}; what was there is in {kept}", str(target)) from exc


def put(new: Path, target: Path, *, old: Path) -> None:
    """Move the folder `new` to `target`; what was there moves to `new` or `old`, to be removed by the caller.

    Raises:
        OSError: It could not be moved; `target` is as it was.
    """
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise


def _exchange(one: Path, two: Path) -> bool:
    """Exchange two folders; False where this system or file system can't."""
    if sys.platform not in ("linux", "darwin"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(two)
    try:
        if sys.platform == "linux":
            failed = library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE)
        else:
            failed = library.renamex_np(*paths, _EXCHANGE)
    except AttributeError:
        return False  # a C library older than the call
    if failed and (number := ctypes.get_errno()) not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), str(two))
    return not failed


def _write(path: Path, content: bytes) -> None:
    """Write a new file so that it outlives a power cut: it is on the disk before a rename makes it visible."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o664), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    if sys.platform == "win32":
        return  # folders can't be opened there
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _UNSUPPORTED:  # network file systems that do it on their own
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _staging(target: Path) -> Generator[Path]:
    """A new folder beside `target`, locked and removed at the end.

    It has no kernel.json of its own, so Jupyter does not take it for a kernelspec.
    """
    stage, lock = _locked_folder(target)
    try:
        yield stage
    finally:
        interrupted = (stage / _OLD).exists() and not os.path.lexists(target)  # `sweep` can still put it back
        if not interrupted and not (stage / _KEPT).exists():
            shutil.rmtree(stage, ignore_errors=True)  # what can't be removed now is for the next `sweep`
        if lock is not None:
            os.close(lock)


def _locked_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        stage = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{target.name}-", dir=target.parent))
        try:
            lock = _lock(stage, exclusive=False)
        except FileNotFoundError:
            continue  # Between the two calls another process took it for a stale one.
        except OSError:
            stage.rmdir()
            raise
        if stage.exists():
            return stage, lock
        if lock is not None:
            os.close(lock)


def _lock(stage: Path, *, exclusive: bool) -> int | None:
    """A descriptor that locks the folder until it is closed or the process ends; None where that can't be had.

    Raises:
        BlockingIOError: Another process works in it, and `exclusive` was asked for.
    """
    if fcntl is None:
        return None
    descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
    except OSError as exc:
        os.close(descriptor)
        if exc.errno in _NO_LOCKS:
            return None
        raise
    return descriptor


def sweep(folder: Path) -> None:
    """Remove the staging folders that killed processes have left in `folder`, and put back what one had moved away."""
    for stage in sorted(folder.glob(f"{PREFIX}*")):
        try:
            if match := _STAGING.fullmatch(stage.name):
                _sweep(stage, folder / match[1])
        except OSError:
            continue  # It is litter, or somebody's who works in it: neither keeps anybody from the work.


def _sweep(stage: Path, target: Path) -> None:
    info = stage.lstat()
    if not stat.S_ISDIR(info.st_mode) or (sys.platform != "win32" and info.st_uid != os.geteuid()):
        return
    lock = _lock(stage, exclusive=True)
    try:
        recent = time.time() - info.st_mtime < _STALE_SECONDS
        if (lock is None and recent) or not {*os.listdir(stage)} <= {_NEW, _OLD, _GONE}:
            return
        if (stage / _OLD).exists() and not os.path.lexists(target):
            (stage / _OLD).rename(target)
        shutil.rmtree(stage)
    finally:
        if lock is not None:
            os.close(lock)
