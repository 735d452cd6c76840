"""A process is after the kernel what it was before."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from async_kernel.runtime.patches import imports_from, patched


def test_patches_are_undone_in_reverse_even_after_an_error() -> None:
    thing = SimpleNamespace(a=1)

    def fail_inside() -> None:
        with patched([(thing, "a", 2), (thing, "a", 3)]):
            assert thing.a == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert thing.a == 1


def test_a_missing_attribute_leaves_what_came_before_as_it_was() -> None:
    thing = SimpleNamespace(a=1)
    with pytest.raises(AttributeError), patched([(thing, "a", 2), (thing, "b", 3)]):
        pass
    assert thing.a == 1


def test_imports_from_folders_for_one_thread(tmp_path: Path) -> None:
    """What the kernel imports late would come from the notebook's folder, where a stranger's module may lie."""
    for name in ("trusted", "strange"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who_am_i_of_patches.py").write_text(f"answer = {name!r}")
    before = list(sys.meta_path)
    code = "import who_am_i_of_patches; found.append(who_am_i_of_patches.answer)"
    found: list[str] = []

    def elsewhere() -> None:
        sys.modules.pop("who_am_i_of_patches", None)
        exec(code, {"found": found})

    sys.path.insert(0, str(tmp_path / "strange"))
    try:
        with imports_from([str(tmp_path / "trusted")]):
            exec(code, {"found": found})
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join(20)
    finally:
        sys.path.remove(str(tmp_path / "strange"))
        sys.modules.pop("who_am_i_of_patches", None)
    assert found == ["trusted", "strange"]
    assert sys.meta_path == before
