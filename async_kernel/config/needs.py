"""What a profile needs of the machine that it runs on: the files that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from async_kernel.config.problems import Problem, Problems
from async_kernel.config.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["missing_files"]


def missing_files(profile: Profile) -> Problems:
    """A problem for each file that `profile` names and that is not there.

    The logo is not among them: a kernel runs without it, and `install` tells.
    """
    return [
        Problem(profile.origin(place).mark, f"{said}: there is no file {path!r}")
        for place, said, path in _named(profile)
        if not os.path.isfile(path)
    ]


def _named(profile: Profile) -> Iterator[tuple[str, str, str]]:
    """Every file that is named: where (for `Profile.origin`), how messages call the place, and its path."""
    values = profile.values
    for index, entry in enumerate(values["startup"]):
        if "file" in entry:
            yield f"startup.{index}.file", f"startup[{index}].file", entry["file"]
    file = values["kernel_factory"].rpartition(":")[0]
    if file.endswith(".py"):
        yield "kernel_factory", "kernel_factory", file
    if values["python"]:
        yield "python", "python", values["python"]
