"""The commands of `%pip` and `%uv`, and what is said of what they have changed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest
from IPython.core.error import UsageError

from async_kernel.shell.packages import Loaded, pip_command, uv_command


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("install x", "install x"),
        ("uninstall x", "uninstall --yes x"),
        ("uninstall -y x", "uninstall -y x"),
        ("uninstall x --yes", "uninstall x --yes"),
        ("install uninstall", "install uninstall"),
    ],
)
def test_pip_is_this_interpreters(line: str, arguments: str) -> None:
    """A package would go into another environment, or pip would ask somebody who is not there."""
    assert pip_command(line) == f"{sys.executable} -m pip {arguments}"


def test_without_an_installer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user would see a traceback of an interpreter, and not what to do."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="has no pip: install it with"):
        pip_command("list")
    with pytest.raises(UsageError, match="there is no uv, neither in"):
        uv_command("pip list")
    program = tmp_path / "uv"
    program.touch(mode=0o755)
    assert uv_command("pip list") == f"{program} pip list"


def test_what_is_loaded_and_has_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user would go on with the old code and not know it; or restart for nothing."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("changes_soon", "stays"):
        (tmp_path / f"{name}.py").write_text("x = 1\n")
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    loaded = Loaded()
    assert loaded.note() == ""
    (tmp_path / "new.py").touch()
    os.utime(tmp_path / "changes_soon.py", (1, 1))
    assert loaded.changed() == ["changes_soon"]
    assert loaded.note() == "Note: restart the kernel to use the new files of what is loaded already: changes_soon"
    (tmp_path / "stays.py").unlink()
    assert loaded.changed() == ["changes_soon", "stays"]
