"""Put a folder in the place of another in one step, so that nobody ever sees half of one or none.

POSIX's `rename` can't replace a folder that is not empty; Linux (`renameat2`) and macOS (`renamex_np`) can exchange
two.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["put"]

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h, RENAME_SWAP of macOS's sys/stdio.h
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


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
