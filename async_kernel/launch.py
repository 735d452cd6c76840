"""From a profile to a running kernel, ready first.

The channels are bound and `kernel_info` is answered before the kernel itself, its event loop and IPython are imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from async_kernel.config.profile import Profile
from async_kernel.runtime.connection import Connection, connected, new_connection_file
from async_kernel.runtime.identity import HELP_LINKS, kernel_info
from async_kernel.runtime.patches import signals_handled
from async_kernel.runtime.watchdog import bound_shutdown, watch_parent
from async_kernel.threads import KernelThread
from async_kernel.transport.connection_file import remove_stale

__all__ = ["Report", "launch"]

Report = Callable[[str, Mapping[str, Any]], None]
"""Told of the kernel's life: `started` or `stopped`, and what there is to say about it."""

SHUTDOWN_SECONDS: Final = 4.0
"Less than the 5 s after which jupyter_client kills a kernel, so that it can still remove its files."


def launch(profile: Profile, connection_file: Path | None = None, report: Report | None = None) -> int:
    """Run a kernel as `profile` says, in this process, until it is stopped.

    Args:
        profile: What the kernel shall be.
        connection_file: Loaded where it exists, else written; by default a new one in Jupyter's runtime folder.
        report: Told when the kernel has started and stopped.

    Returns:
        The exit code of the process.

    Raises:
        SetupError: The kernel can't be started so.
    """
    settings = profile.settings()
    path = new_connection_file() if connection_file is None else connection_file.absolute()
    if profile.values["settings"]:
        make_kernel(settings, path)  # Their names and values are the user's: refuse them before anything is bound.
    asked_to_end: list[int] = []
    with (
        signals_handled(_early_signals(asked_to_end)),
        connected(
            path,
            transport=profile.values["transport"],
            ip=settings.get("ip", ""),
            kernel_name=profile.spec_name,
            kernel_info=lambda: kernel_info(settings.get("help_links", HELP_LINKS)),
        ) as connection,
    ):
        return serve(settings, path, connection, report, asked_to_end)


def serve(
    settings: dict[str, Any], path: Path, connection: Connection, report: Report | None, asked_to_end: list[int]
) -> int:
    """Make the kernel, hand it the connection and run it until it is stopped."""
    kernel = make_kernel(settings, path)
    began = time.monotonic()
    tell: Report = report if report is not None and kernel.print_kernel_messages else lambda _event, _facts: None

    def observe(event: str) -> None:
        if event == "started":
            gc.freeze()
            gc.enable()
            tell("started", {"connection_file": path, "info": connection.info})
            KernelThread(target=remove_stale, args=(path.parent,), name="RemoveStale").start()
        elif event == "stopping":
            bound_shutdown(SHUTDOWN_SECONDS, lambda: connection.close(0.1))

    kernel.use_connection(connection, observe)
    if asked_to_end:  # And something that was being imported has swallowed it.
        return 0
    if (parent := os.environ.get("JPY_PARENT_PID", "")).isdigit() and int(parent) > 1:
        watch_parent(int(parent), lambda: kernel.stop("the parent process has ended"))
    kernel.run()
    tell("stopped", {"uptime": time.monotonic() - began, "reason": kernel.stop_reason})
    return 0


def make_kernel(settings: dict[str, Any], path: Path) -> Any:
    """The kernel with its settings; imported here, when the channels are answering already."""
    from async_kernel.kernel import Kernel

    return Kernel({**settings, "connection_file": path})


def _early_signals(asked_to_end: list[int]) -> dict[signal.Signals, Callable[[int, object], None]]:
    """What signals do before the kernel itself handles them: they end it too, through every `finally`."""

    def end(signum: int, _frame: object) -> NoReturn:
        asked_to_end.append(signum)
        sys.exit(0)

    def ignore(_signum: int, _frame: object) -> None:
        """An interrupt: there is nothing yet that it could be meant for."""

    managed = "JPY_PARENT_PID" in os.environ
    ending = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    return {signal.SIGINT: ignore if managed else end, **dict.fromkeys(ending, end)}
