"""`python:` of a profile: the kernel goes on in another interpreter, as the same process where there is a way."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["change_interpreter", "is_running"]

GUARD: Final = "_ASYNC_KERNEL_PYTHON"
"""Says in the environment which interpreter was asked for: it may be a script that starts one with another name, and
would be started again and again. (No `ASYNC_KERNEL_…`: that would set a key.)"""


def change_interpreter(profile: Profile, arguments: Sequence[str]) -> None:
    """Return where this interpreter is the one that `profile` asks for; else go on there and never return.

    Args:
        profile: The profile.
        arguments: What follows `python -m async_kernel`.

    Raises:
        ProfileError: There is no such interpreter.
    """
    python: str = profile.values["python"]
    guard = os.environ.pop(GUARD, "")
    if not python or python == guard or is_running(python):
        return
    where = profile.origin("python").mark
    if not os.access(python, os.X_OK) or os.path.isdir(python):
        what = "can't be executed" if os.path.exists(python) else "does not exist"
        remedy = "name an interpreter that has async_kernel installed"
        raise ProfileError([Problem(where, f"python: {python!r} {what}: {remedy}")])
    command = [python, "-m", "async_kernel", *arguments]
    try:
        _become(command, {**os.environ, GUARD: python})
    except OSError as exc:
        raise ProfileError([Problem(where, f"python: {python!r} can't be started: {exc.strerror}")]) from exc


def is_running(python: str) -> bool:
    """Whether `python` is this process's interpreter, by whatever path.

    The interpreter of a virtual environment is mostly a link to the one that made it: the folder with `pyvenv.cfg`
    tells them apart.
    """
    here = sys.executable
    return os.path.realpath(python) == os.path.realpath(here) and _environment(python) == _environment(here)


def _environment(python: str) -> str:
    """The virtual environment that Python finds when it is started by this path; empty where there is none."""
    folder = os.path.dirname(os.path.abspath(python))
    for place in (folder, os.path.dirname(folder)):
        if os.path.exists(os.path.join(place, "pyvenv.cfg")):
            return os.path.realpath(place)
    return ""


def _become(command: list[str], environ: Mapping[str, str]) -> NoReturn:
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(command[0], command, environ)  # The same process: its pid, its parent, its signals.
    import subprocess  # only where a process can't become another

    # What ends this process by force leaves the kernel to `JPY_PARENT_PID`; Ctrl-C reaches the whole console.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, env=environ) as child:
        signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
        sys.exit(child.wait())
