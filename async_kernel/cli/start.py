"""From a profile's name to a running kernel, and the one border where an error becomes lines on stderr.

Jupyter's way to a kernel goes through here too: nothing in it imports click or rich.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from async_kernel.cli.interpreter import change_interpreter
from async_kernel.config.layers import Override
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import Profile, load_profile
from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FAULT", "arguments", "guarded", "lacks", "run_kernel", "tell"]

FAULT = 2
"The exit code when nothing was started or written, because of what was asked for."


def tell(severity: str, text: str) -> None:
    """One line on stderr for each line of `text`."""
    for line in text.splitlines():
        print(f"async-kernel: {severity}: {line}" if severity else line, file=sys.stderr)


def guarded(command: Callable[[], int]) -> int:
    """The exit code of `command`; an error of whoever asked is told in one line each, without a traceback."""
    try:
        return command()
    except ProfileError as exc:
        tell("", str(exc))
    except SetupError as exc:
        tell("error", str(exc))
    except KeyboardInterrupt:
        return 130
    return FAULT


def run_kernel(name: str, connection_file: str | None, overrides: Sequence[Override] = ()) -> int:
    """Run a kernel in this process until it is stopped.

    Args:
        name: The profile's name or path.
        connection_file: As `run -f` takes it; None for a new one in Jupyter's runtime folder.
        overrides: What the command line says.

    Returns:
        The exit code.

    Raises:
        SetupError: The kernel can't be started as asked.
    """
    # What is imported and built until the kernel has started stays: looking through it again and again for garbage
    # costs a tenth of the start. `launch` lets the collector go on from there.
    gc.disable()
    profile = load_profile(name, overrides=overrides)
    change_interpreter(profile, arguments(name, connection_file, overrides))
    if fault := lacks(profile):
        raise SetupError(fault)
    tell_warnings(profile)
    from async_kernel.launch import launch  # it imports zmq, and the verbs that only list do without

    try:
        return launch(profile, Path(connection_file) if connection_file else None, reporter(profile))
    except SetupError as exc:
        if not exc.key:
            raise
        raise ProfileError([Problem(profile.origin_of(exc.key).mark, str(exc))]) from exc


def arguments(name: str, connection_file: str | None, overrides: Sequence[Override]) -> list[str]:
    """What `python -m async_kernel` is given to run the same kernel; see `run_kernel`."""
    file = [] if connection_file is None else ["-f", connection_file]
    sets = [part for override in overrides for part in ("--set", f"{override.key}={override.text}")]
    return ["run", *file, "--profile", name, *sets]


def lacks(profile: Profile) -> str:
    """What `profile` needs and this interpreter has not, with the remedy; empty where nothing is missing."""
    backend = profile.values["backend"]
    if backend == "asyncio" or importlib.util.find_spec(backend) is not None:
        return ""
    said = profile.origin("backend")
    return (
        f"backend {backend!r} ({said.mark}) needs the package {backend!r}, which {sys.executable} does not have: "
        f"{sys.executable} -m pip install {backend}"
    )


def tell_warnings(profile: Profile) -> None:
    """What the user should know of a profile, though it is used."""
    for warning in profile.warnings:
        tell("", str(warning))
    if keys := profile.without_effect():
        said = ", ".join(f"{key} ({profile.origin(key).mark})" for key in keys)
        tell("warning", f"not built yet, so without effect: {said}")


def reporter(profile: Profile) -> Callable[[str, Mapping[str, Any]], None] | None:
    """What tells of the kernel's life on stderr, or None where nobody wants to know.

    Somebody does who sits at a terminal (and did not start the kernel through Jupyter), or whose profile says so.
    """
    said: bool = profile.origin("print_kernel_messages").layer != "default"
    at_terminal = sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ
    if not profile.values["print_kernel_messages"] or not (said or at_terminal):
        return None

    # While the kernel runs, sys.stderr is the cells'.
    terminal = sys.stderr

    def line(text: str) -> None:
        print(f"async-kernel: {text}", file=terminal, flush=True)

    def report(event: str, facts: Mapping[str, Any]) -> None:
        if event == "started":
            values, file = profile.values, facts["connection_file"]
            line(f"started (profile {profile.name}, {values['backend']}, {values['transport']}): {file}")
            line(f"connect with: jupyter console --existing {file}    stop with Ctrl-C")
        elif event == "stopped":
            line(f"stopped after {facts['uptime']:.1f} s: {facts['reason'] or 'asked to'}")

    return report
