"""Only what this program wrote is replaced or removed, whatever is in the folder by then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from async_kernel import kernelspec, spec_folder
from async_kernel.errors import SetupError


def state(root: Path) -> dict[str, str]:
    """Everything below a folder: path -> content, or where a link leads."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text("latin-1")
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kernelspecs with `async` in it; an own one, `real/async`, and a user's file are elsewhere."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    for folder in ("kernels", "real"):
        kernelspec.write_kernel_spec(kernel_dir=tmp_path / folder)
    (tmp_path / "precious.txt").write_text("precious")
    return tmp_path / "kernels"


def linked_folder(spec: Path) -> None:
    shutil.rmtree(spec)
    spec.symlink_to(spec.parents[1] / "real/async")


def linked_file(spec: Path) -> None:
    (spec / "kernel.json").unlink()
    (spec / "kernel.json").symlink_to(spec.parents[1] / "real/async/kernel.json")


def linked_logo(spec: Path) -> None:
    (spec / "logo-svg.svg").unlink()
    (spec / "logo-svg.svg").symlink_to(spec.parents[1] / "precious.txt")


def faked_marker(spec: Path) -> None:
    """Somebody's kernelspec with a marker like ours."""
    marker = json.loads((spec / "kernel.json").read_bytes())["metadata"]
    (spec / "kernel.json").write_text(json.dumps({"argv": ["mine"], "metadata": marker}))


def bare_marker(spec: Path) -> None:
    """A marker that does not say what was written."""
    (spec / "kernel.json").write_text(json.dumps({"metadata": {"async_kernel": {"profile": "default"}}}))


CHANGES: list[tuple[Callable[[Path], Any], str]] = [
    (linked_folder, "was not written by async-kernel"),
    (linked_file, "was not written by async-kernel"),
    (linked_logo, "logo-svg.svg was changed"),
    (faked_marker, "kernel.json was changed"),
    (bare_marker, "kernel.json does not say what was written"),
    (lambda spec: (spec / "notes.txt").write_text("mine"), "notes.txt was added"),
    (lambda spec: (spec / "data").mkdir(), "data was added"),
    (lambda spec: (spec / "logo-64x64.png").write_bytes(b"mine"), "logo-64x64.png was changed"),
    (lambda spec: (spec / "kernel.json").write_text('{"argv": ["mine"]}'), "was not written by async-kernel"),
    (lambda spec: (spec / "kernel.json").write_text("[" * 100_000), "was not written by async-kernel"),
    (lambda spec: (spec / "kernel.json").unlink(), "was not written by async-kernel"),
]


@pytest.mark.parametrize(("change", "fault"), CHANGES)
def test_what_is_somebody_elses_is_not_removed(kernels: Path, change: Callable[[Path], Any], fault: str) -> None:
    """Neither by `uninstall`, nor by an `install` that would put its own in the place."""
    change(kernels / "async")
    before = state(kernels.parent)
    with pytest.raises(SetupError, match=fault):
        kernelspec.remove_kernel_spec("async", kernel_dir=kernels)
    with pytest.raises(SetupError, match="symbolic link" if (kernels / "async").is_symlink() else fault):
        kernelspec.write_kernel_spec(title="other", kernel_dir=kernels)
    assert state(kernels.parent) == before


@pytest.mark.parametrize(("change", "fault"), [each for each in CHANGES if "was not written" not in each[1]])
def test_what_was_added_goes_where_that_is_asked_for(kernels: Path, change: Callable[[Path], Any], fault: str) -> None:
    """And nothing that a link leads to."""
    change(kernels / "async")
    kernelspec.remove_kernel_spec("async", kernel_dir=kernels, force=True)
    assert os.listdir(kernels) == []
    assert (kernels.parent / "precious.txt").read_text() == "precious", fault
    assert (kernels.parent / "real/async/kernel.json").exists()


def test_what_changes_between_the_look_and_the_removal_is_seen(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is made again on the folder that was moved away, where nobody exchanges it any more."""
    withdraw = spec_folder.folder_swap.withdraw

    def change_first(target: Path, check: Callable[[Path], None]) -> None:
        (target / "notes.txt").write_text("mine")
        withdraw(target, check)

    monkeypatch.setattr(spec_folder.folder_swap, "withdraw", change_first)
    with pytest.raises(SetupError, match=r"notes\.txt was added"):
        kernelspec.remove_kernel_spec("async", kernel_dir=kernels)
    assert (kernels / "async/notes.txt").read_text() == "mine"


def test_litter_of_programs_is_nobodys(kernels: Path) -> None:
    """A kernel factory that was imported from there leaves its byte code."""
    (kernels / "async/__pycache__").mkdir()
    (kernels / "async/__pycache__/x.pyc").write_bytes(b"")
    kernelspec.write_kernel_spec(kernel_dir=kernels)
    assert (kernels / "async/__pycache__").exists(), "it was written again, although nothing had changed"
    kernelspec.remove_kernel_spec("async", kernel_dir=kernels)
    assert os.listdir(kernels) == []


@pytest.mark.parametrize(
    "name", ["..", ".", "a,", "async,", "async/", "async/../x", "/etc", "../kernels/async", "", " async", "async\n",
             "async\0", "\\async", "~", "$HOME", "*", "a" * 101]
)  # fmt: skip
def test_a_name_that_leads_elsewhere(kernels: Path, name: str) -> None:
    """A name becomes a path that is replaced or removed."""
    before = state(kernels.parent)
    with pytest.raises(SetupError, match="is not a name"):
        kernelspec.remove_kernel_spec(name, kernel_dir=kernels, force=True)
    if name:
        with pytest.raises(SetupError, match="is not a name"):
            kernelspec.write_kernel_spec(name=name, kernel_dir=kernels, replace=True)
    assert state(kernels.parent) == before


def test_the_case_of_a_name(kernels: Path) -> None:
    """To Jupyter `ASYNC` and `async` are one kernel: which of the two would be started is chance."""
    with pytest.raises(SetupError, match=r"there is no kernelspec 'ASYNC' .*did you mean 'async'"):
        kernelspec.remove_kernel_spec("ASYNC", kernel_dir=kernels)
    with pytest.raises(SetupError, match=r"Jupyter does not tell 'ASYNC' from .*/kernels/async"):
        kernelspec.write_kernel_spec(name="ASYNC", kernel_dir=kernels)
    assert os.listdir(kernels) == ["async"]


def test_the_way_to_the_kernelspecs_may_be_a_link(kernels: Path, tmp_path: Path) -> None:
    """A home folder whose data are on another disk."""
    (tmp_path / "link").symlink_to(kernels)
    assert kernelspec.remove_kernel_spec("async", kernel_dir=tmp_path / "link") == tmp_path / "link/async"
    assert os.listdir(kernels) == []
    kernelspec.write_kernel_spec(kernel_dir=tmp_path / "link")
    assert os.listdir(kernels) == ["async"]
