"""The files that debugpy knows cells by: a folder of this process that nobody else can read."""

from __future__ import annotations

import contextlib
import linecache
import os
import stat
import tokenize
from collections.abc import Callable
from typing import Final

from async_kernel.errors import ClientError

__all__ = ["CellFiles"]

PRIVATE: Final = 0o700


class CellFiles:
    """The cells that were written for debugpy.

    Args:
        prefix: What the file name of a cell begins with: the folder, made with the first cell.
        suffix: What it ends with.
        file_of: The file name that a cell of this text is compiled with.
    """

    def __init__(self, prefix: str, suffix: str, file_of: Callable[[str], str]) -> None:
        self.prefix: str = prefix
        self.suffix: str = suffix
        self._file_of = file_of
        self._written: set[str] = set()

    def dump(self, code: str) -> str:
        """Write the text of a cell; returns the path.

        Raises:
            ClientError: It can't be written.
        """
        path = self._file_of(code)
        try:
            self._make_folder(os.path.dirname(path))
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(code.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise ClientError(f"dumpCell: {path} can't be written: {error.strerror}") from error
        self._written.add(path)
        return path

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder, PRIVATE)
        except FileExistsError:
            about = os.lstat(folder)
            mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if not stat.S_ISDIR(about.st_mode) or not mine:
                raise ClientError(
                    f"dumpCell: {folder} is there and is not a folder of yours: set TMPDIR to a folder that is"
                ) from None
            os.chmod(folder, PRIVATE)

    def read(self, path: str) -> str:
        """The text of a source file, or of a cell that has run.

        Raises:
            ClientError: There is none, or it can't be read.
        """
        try:
            with tokenize.open(path) as file:
                return file.read()
        except FileNotFoundError:
            if lines := linecache.getlines(path):
                return "".join(lines)
            raise ClientError(f"source: there is no file {path!r}") from None
        except (OSError, SyntaxError, ValueError) as error:
            raise ClientError(f"source: {path!r} can't be read: {error}") from error

    def remove(self) -> None:
        """Remove what was written here. Idempotent."""
        folders = {os.path.dirname(path) for path in self._written}
        for path in self._written:
            with contextlib.suppress(OSError):  # Somebody else has removed it.
                os.unlink(path)
        self._written.clear()
        for folder in folders:
            with contextlib.suppress(OSError):  # Somebody else has put a file there.
                os.rmdir(folder)
