"""A file is written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

from async_kernel.errors import SetupError

__all__ = ["write"]


def write(path: str, text: str, *, replace: bool, mode: int = 0o644) -> None:
    """Write `text` to the file `path`; its folder is made where it does not exist.

    Args:
        path: The file.
        text: What it shall hold.
        replace: Whether a file that is there is replaced.
        mode: The permissions of the file.

    Raises:
        SetupError: It can't be written, or is there and not to be replaced; nothing is changed then.
    """
    folder = os.path.dirname(path)
    temporary = ""
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".async-kernel-", dir=folder)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # unlike a rename, it fails where the file exists
    except FileExistsError as exc:
        raise SetupError(f"{path} exists: it is not overwritten") from exc
    except OSError as exc:
        raise SetupError(f"{path} can't be written: {exc.strerror or exc}") from exc
    finally:
        with suppress(FileNotFoundError):  # it was renamed, or never made
            os.unlink(temporary)
