"""Unix sockets as files: a folder that only its owner may enter, and what dead kernels have left in it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["check_path", "free_number", "is_alive", "make_folder", "owner_only", "remove_dead", "remove_folder"]

MAX_PATH: Final = 107
"""Bytes of the longest path of a Unix socket (`sun_path` in unix(7) holds 108 with the final zero)."""

_PROBE_TIMEOUT: Final = 0.5


def make_folder(folder: Path) -> bool:
    """Make `folder`, mode 0700; returns whether it was missing.

    Raises:
        SetupError: It can't be made.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_dir():
            return False
        raise SetupError(f"can't make the folder {folder} for the ipc sockets: a file is in its place") from None
    except OSError as error:
        raise SetupError(
            f"can't make the folder {folder} for the ipc sockets: {error.strerror}. Choose a folder that "
            "you may write to (the connection file's, or JUPYTER_RUNTIME_DIR), or another `ip` (a path)"
        ) from error
    return True


def remove_folder(folder: Path) -> None:
    """Remove `folder` unless there is something in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def owner_only() -> Generator[None]:
    """Files made inside are for their owner only, whatever the folder allows."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def is_alive(path: str) -> bool:
    """Whether a process listens on the socket at `path`; True where that can't be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def check_path(path: str) -> None:
    """Whether a socket can be bound at `path`.

    Raises:
        SetupError: The path is too long, or it is in use.
    """
    if (size := len(os.fsencode(path))) > MAX_PATH:
        raise SetupError(
            f"the path of the ipc socket {path} has {size} bytes, {MAX_PATH} are allowed. Choose a shorter `ip` "
            "(a path), or a shorter runtime folder (JUPYTER_RUNTIME_DIR)"
        )
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"can't bind the ipc socket {path}: it is a file. Choose another `ip` (a path)")
    # ZMQ itself would take the place of a living kernel's socket without a word.
    if is_alive(path):
        raise SetupError(
            f"can't bind the ipc socket {path}: another process listens on it. End that, or choose another number "
            "(0: a free one)"
        )


def free_number(prefix: str, used: set[int]) -> int:
    """The lowest number that is neither in `used` nor that of a file `<prefix>-<number>`."""
    number = 1
    while number in used or os.path.lexists(f"{prefix}-{number}"):
        number += 1
    return number


def remove_dead(path: str) -> bool:
    """Remove the socket at `path` if nobody listens on it; returns whether there is none now."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode) or is_alive(path):
            return False
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
