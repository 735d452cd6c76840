"""What a profile needs of the machine that it runs on: the files that it names."""

from __future__ import annotations

import os

from async_kernel.config.problems import Problem, Problems
from async_kernel.config.profile import Profile

__all__ = ["missing_files"]


def missing_files(profile: Profile) -> Problems:
    """A problem for each file that `profile` names and that a kernel can't start without.

    The logo is not among them: a kernel runs without it, and `install` tells.
    """
    values, problems = profile.values, Problems()

    def problem(place: str, message: str) -> None:
        problems.append(Problem(profile.origin(place).mark, message))

    for index, entry in enumerate(values["startup"]):
        if "file" in entry and not os.path.isfile(entry["file"]):
            problem(f"startup.{index}.file", f"startup[{index}].file: there is no file {entry['file']!r}")
    factory: str = values["kernel_factory"]
    file = factory.rpartition(":")[0]
    if file.endswith(".py") and not os.path.isfile(file):
        problem("kernel_factory", f"kernel_factory {factory!r} can't be loaded: FileNotFoundError: no file {file!r}")
    python: str = values["python"]
    if python and (os.path.isdir(python) or not os.access(python, os.X_OK)):
        what = "can't be executed" if os.path.exists(python) else "does not exist"
        problem("python", f"python: {python!r} {what}: name an interpreter that has async_kernel installed")
    return problems
