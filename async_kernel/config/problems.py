"""What is wrong with a profile, and where: every fault is a value with a position, and all of them are told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Mark", "Problem", "Problems", "ProfileError", "suggest"]


class Mark(NamedTuple):
    """Where a value was written: a file with line and column (from 1), or (line 0) an option or a variable."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One fault; its `str` is the line that the user reads, in the form that editors turn into a link."""

    mark: Mark
    message: str
    severity: str = "error"
    "`error`, or `warning`: told, but the profile is used."

    def __str__(self) -> str:
        return f"{self.mark}: {self.severity}: {self.message}"


Problems: TypeAlias = list[Problem]
"""Where faults are collected."""


class ProfileError(SetupError):
    """A profile that can't be used, with all its problems; its text has one line for each of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` with the nearest of the `known` words, or nothing."""
    import difflib  # only on the way to an error message: 3 ms that no good profile pays

    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
