"""Every change that a running kernel makes to the process, as one context manager that restores it exactly."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, TypeAlias

__all__ = ["Patch", "imports_from", "patched"]

Patch: TypeAlias = tuple[Any, str, Any]
"""The object, the name of its attribute, and the value that it has while the kernel runs."""


@contextmanager
def patched(patches: Iterable[Patch]) -> Generator[None]:
    """Apply `patches` in order; on leaving, put back what was there, in reverse."""
    with ExitStack() as stack:
        for owner, name, value in patches:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


class _OnlyFrom:
    """Finds modules in given folders for the thread that made it; others don't notice."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._thread = get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As `PathFinder` does."""
        if path is not None or get_ident() != self._thread:
            return None
        return PathFinder.find_spec(name, self._folders, target)


@contextmanager
def imports_from(folders: Sequence[str]) -> Generator[None]:
    """Inside, this thread imports what is found in `folders` first, whatever cells have done to `sys.path`."""
    finder = _OnlyFrom(folders)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
