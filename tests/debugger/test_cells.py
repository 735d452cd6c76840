"""The files that debugpy knows cells by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from async_kernel.debugger.cells import CellFiles
from async_kernel.errors import ClientError


def cells(folder: Path) -> CellFiles:
    return CellFiles(f"{folder}{os.sep}", ".py", lambda code: str(folder / f"{len(code)}.py"))


def test_they_are_private_and_removed(tmp_path: Path) -> None:
    """The code of cells would lie about, for everybody to read."""
    files = cells(tmp_path / "cells")
    path = Path(files.dump("x = 'é\ud800'\r\n"))
    assert path.read_bytes() == "x = 'é\ud800'\r\n".encode("utf-8", "surrogatepass")
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    files.remove()
    files.remove()
    assert not path.parent.exists()


def test_a_folder_that_was_there(tmp_path: Path) -> None:
    """Somebody else could read the cells, or say what is debugged."""
    (tmp_path / "cells").mkdir(mode=0o755)
    cells(tmp_path / "cells").dump("x")
    assert (tmp_path / "cells").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ClientError, match="is not a folder of yours"):
        cells(tmp_path / "link").dump("x")


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    """A file of the user's would be lost."""
    files = cells(tmp_path / "cells")
    files.dump("x")
    (tmp_path / "cells/mine.txt").touch()
    files.remove()
    assert [each.name for each in (tmp_path / "cells").iterdir()] == ["mine.txt"]


def test_reading(tmp_path: Path) -> None:
    """A source could not be shown, or a missing one not be told from an empty one."""
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"# coding: latin-1\nx = '\xe9'\n")
    assert cells(tmp_path).read(str(latin)).endswith("'é'\n")
    for path in ("/nope.py", str(tmp_path)):
        with pytest.raises(ClientError, match="source: "):
            cells(tmp_path).read(path)
