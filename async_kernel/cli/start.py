"""From a profile's name to a running kernel, and the one border where an error becomes lines on stderr.

Jupyter's way to a kernel goes through here too: nothing in it imports click or rich.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from async_kernel.cli.checks import lacks, refused
from async_kernel.cli.interpreter import change_interpreter
from async_kernel.config.layers import Override
from async_kernel.config.needs import missing_files
from async_kernel.config.problems import Problem, ProfileError
from async_kernel.config.profile import DEFAULT, PLACEHOLDER, Profile, load_profile
from async_kernel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

__all__ = ["FAULT", "arguments", "guarded", "lacks", "run_kernel", "tell"]

FAULT = 2
"The exit code when nothing was started or written, because of what was asked for."
LAST_WORDS_SECONDS = 1.0
"For so long an ending kernel waits for a terminal that takes no text."


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
        name: The profile's name or path, or what stands in a kernelspec where nobody has chosen one.
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
    profile = load_profile(DEFAULT if name == PLACEHOLDER else name, overrides=overrides)
    if problems := missing_files(profile):
        raise ProfileError(problems)
    change_interpreter(profile, arguments(name, connection_file, overrides))
    if fault := lacks(profile):
        raise SetupError(fault)
    tell_warnings(profile)
    from async_kernel.launch import launch  # it imports zmq, and the verbs that only list do without

    report = reporter(profile) if is_watched(profile) else None
    try:
        return launch(profile, Path(connection_file) if connection_file else None, report)
    except SetupError as exc:
        if not exc.key:
            raise
        # The kernel refuses the first; whoever mends it wants to know of all.
        raise ProfileError(refused(profile) or [Problem(profile.origin_of(exc.key).mark, str(exc))]) from exc


def arguments(name: str, connection_file: str | None, overrides: Sequence[Override]) -> list[str]:
    """What `python -m async_kernel` is given to run the same kernel; see `run_kernel`."""
    file = [] if connection_file is None else ["-f", connection_file]
    sets = [part for override in overrides for part in ("--set", f"{override.key}={override.text}")]
    return ["run", *file, "--profile", name, *sets]


def tell_warnings(profile: Profile) -> None:
    """What the user should know of a profile, though it is used."""
    for warning in profile.warnings:
        tell("", str(warning))


def is_watched(profile: Profile) -> bool:
    """Whether somebody wants to be told of the kernel's life.

    Somebody does who sits at a terminal (and did not start the kernel through Jupyter), or whose profile says so.
    """
    said: bool = profile.origin("print_kernel_messages").layer != "default"
    at_terminal = sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ
    return profile.values["print_kernel_messages"] and (said or at_terminal)


def reporter(profile: Profile) -> Callable[[str, Mapping[str, Any]], None]:
    """What tells of the kernel's life on stderr."""
    from queue import SimpleQueue  # only where somebody wants to know

    terminal = own_stderr()
    events: SimpleQueue[tuple[str, Mapping[str, Any]]] = SimpleQueue()

    def show() -> None:
        from async_kernel.cli.lifecycle import follow  # rich, and only when the kernel is ready

        follow(profile, terminal, events)

    thread = threading.Thread(target=show, name="Lifecycle", daemon=True)

    def report(event: str, facts: Mapping[str, Any]) -> None:
        # Signal handlers call this, and the thread that receives: neither may wait for a terminal, or for a lock.
        events.put((event, facts))
        if event == "started":
            thread.start()
        elif event == "stopped" and thread.ident is not None:
            thread.join(LAST_WORDS_SECONDS)

    return report


def own_stderr() -> TextIO:
    """The stderr of this process, a copy: `sys.stderr`, and perhaps descriptor 2, are the cells' while it runs."""
    try:
        return open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
    except OSError:
        return sys.stderr  # one that is no file
