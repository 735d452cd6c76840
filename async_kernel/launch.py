"""From a profile to a running kernel, ready first.

The channels are bound and `kernel_info` is answered before the kernel itself, its event loop and IPython are imported.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from async_kernel import __version__
from async_kernel.config.discovery import SAFE_PATH
from async_kernel.config.profile import Profile
from async_kernel.factory import made_by
from async_kernel.runtime.connection import Connection, connected, new_connection_file
from async_kernel.runtime.exposure import Consent
from async_kernel.runtime.identity import HELP_LINKS, kernel_info
from async_kernel.runtime.patches import imports_from
from async_kernel.runtime.reception import Report, tell_nobody
from async_kernel.runtime.signals import signals_handled
from async_kernel.runtime.watchdog import bound_shutdown, watch_parent
from async_kernel.threads import KernelThread
from async_kernel.transport.connection_file import remove_stale

__all__ = ["Report", "launch"]

log = logging.getLogger("async_kernel")

LOG_DELAY_SECONDS: Final = 0.5
"The first cell comes before the log, whose opening takes 10 ms of what it could use."
LOG_SECONDS: Final = 1.0
"For so long an ending kernel waits for its log to be opened."
SHUTDOWN_SECONDS: Final = 4.0
"Less than the 5 s after which jupyter_client kills a kernel, so that it can still remove its files."


def launch(profile: Profile, connection_file: Path | None = None, report: Report | None = None) -> int:
    """Run a kernel as `profile` says, in this process, until it is stopped.

    Args:
        profile: What the kernel shall be.
        connection_file: Loaded where it exists, else written; by default a new one in Jupyter's runtime folder.
        report: Told of the kernel's life, from the moment when its channels answer.

    Returns:
        The exit code of the process.

    Raises:
        SetupError: The kernel can't be started so.
    """
    restore_safe_path()
    settings = profile.settings()
    path = new_connection_file() if connection_file is None else connection_file.absolute()
    change_environment(profile)
    factory: str = profile.values["kernel_factory"]
    make = partial(make_kernel, settings, path, factory)
    if factory:
        kernel = make()  # The code is the user's: what fails there does so before anything is bound.
        make = lambda: kernel  # noqa: E731
    asked_to_end: list[int] = []
    with (
        signals_handled(_early_signals(asked_to_end)),
        connected(
            path,
            transport=profile.values["transport"],
            ip=settings.get("ip", ""),
            kernel_name=profile.spec_name,
            profile=profile.name,
            encryption=profile.values["encryption"],
            consent=Consent(profile.values["allow_unsigned"], profile.values["allow_network"]),
            # A kernel of the user's own may answer in its own way.
            kernel_info=None if factory else lambda: kernel_info(settings.get("help_links", HELP_LINKS)),
            tell=report or tell_nobody,
        ) as connection,
    ):
        return serve(make, path, connection, asked_to_end)


def restore_safe_path() -> None:
    """Give PYTHONSAFEPATH back the value that it had before the kernelspec set it: programs that cells start see it."""
    value = os.environ.get("PYTHONSAFEPATH", "")
    if value.startswith(SAFE_PATH):
        before = value.rpartition(":")[2]
        if before and not before.startswith("$"):  # Jupyter leaves `${NAME}` as it is where there is no such variable
            os.environ["PYTHONSAFEPATH"] = before
        else:
            del os.environ["PYTHONSAFEPATH"]


def serve(make: Callable[[], Any], path: Path, connection: Connection, asked_to_end: list[int]) -> int:
    """Make the kernel, hand it the connection and run it until it is stopped, so that a crash leaves a record."""
    from async_kernel.runtime.recorder import Recorder  # the channels answer already

    connection.recorder = recorder = Recorder(path, connection.profile)
    with recorder.recording():
        return run(make(), path, connection, asked_to_end)


def run(kernel: Any, path: Path, connection: Connection, asked_to_end: list[int]) -> int:
    """Run the kernel until it is stopped."""
    record = Log(connection)
    reception = connection.reception
    if not kernel.print_kernel_messages:
        reception.tell = tell_nobody

    def observe(event: str) -> None:
        if event == "started":
            gc.freeze()
            gc.enable()
            reception.tell("started", {"connection_file": path, "info": connection.info})
            record.start()
        elif event == "stopping":
            bound_shutdown(SHUTDOWN_SECONDS, give_up)

    def give_up() -> None:
        record.end(f"{kernel.stop_reason}; it did not end by itself within {SHUTDOWN_SECONDS:g} s")
        connection.recorder.close()
        connection.close(0.1)

    connection.recorder.keeps_code = kernel.history != "off"
    kernel.use_connection(connection, observe)
    if asked_to_end:  # And something that was being imported has swallowed it.
        return 0
    if (parent := os.environ.get("JPY_PARENT_PID", "")).isdigit() and int(parent) > 1:
        watch_parent(int(parent), lambda: kernel.stop("the parent process has ended"))
    try:
        kernel.run()
    except BaseException as exc:
        record.end(f"{type(exc).__name__}: {exc}")
        raise
    record.end(kernel.stop_reason)
    reception.tell("stopped", {"uptime": record.uptime, "reason": kernel.stop_reason})
    return 0


class Log:
    """The kernel's log file. It is opened in the background soon after the start, and old ones are removed then.

    Args:
        connection: The kernel's connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = time.monotonic()
        self._sys_path = tuple(sys.path)  # Not yet the cells', with the folder that the kernel was started in.
        self._file: Any = None
        self._relay: Any = None
        self._ending = threading.Event()
        self._thread = KernelThread(target=self._open, name="KernelLog")

    @property
    def uptime(self) -> float:
        """Seconds since the kernel was made."""
        return time.monotonic() - self._began

    def start(self) -> None:
        """The kernel is ready."""
        from async_kernel.runtime.kernel_log import KERNEL_LOG, Relay  # the kernel has imported it meanwhile

        self._relay = Relay()
        KERNEL_LOG.addHandler(self._relay)
        self._thread.start()

    def end(self, reason: str) -> None:
        """The kernel has ended."""
        self._ending.set()
        self._connection.recorder.wake()
        if self._thread.ident is not None:
            self._thread.join(LOG_SECONDS)
            self._relay.detach()
        if self._file is not None:
            self._file.end(self.uptime, reason or "asked to")

    def _open(self) -> None:
        self._ending.wait(LOG_DELAY_SECONDS)
        try:
            with imports_from(self._sys_path):
                from async_kernel.runtime.deaths import prune_deaths
                from async_kernel.runtime.log_file import SUFFIX, LogFile, log_folder, prune  # when the kernel is ready
        except OSError as error:  # A cell has taken every descriptor.
            log.warning("the kernel goes on without a log: %s", error)
            return
        path, info = self._connection.path, self._connection.info
        keys = (key.decode("utf-8", "replace") for key in (info.key, info.curve_secretkey) if key)
        self._file = LogFile(log_folder() / (path.stem + SUFFIX), keys)
        if self._file.begin(profile=self._connection.profile, connection_file=str(path), version=__version__):
            self._connection.recorder.log_begun()
        self._relay.to(self._file)
        self._tell_of_predecessors()
        prune(log_folder())
        prune_deaths()
        remove_stale(path.parent)
        self._connection.recorder.watch(self._ending)

    def _tell_of_predecessors(self) -> None:
        """Put what the kernels before this one could not say into the log that they share."""
        deaths = self._connection.recorder.predecessors()
        if deaths:
            log.warning("the kernel before this one died (%s): async-kernel logs --last", deaths[0].summary)
            if sys.__stderr__ is not None:
                print(deaths[0].stack, end="", file=sys.__stderr__, flush=True)
        for death in reversed(deaths):
            if all(self._file.put(record) for record in death.records()):
                death.path.unlink(missing_ok=True)


def make_kernel(settings: dict[str, Any], path: Path, factory: str = "") -> Any:
    """The kernel with its settings, made by `factory` where one is named.

    The kernel's class is imported here: as a rule the channels are answering already.
    """
    from async_kernel.kernel import Kernel

    settings = {**settings, "connection_file": path}
    return made_by(factory, settings, Kernel) if factory else Kernel(settings)


def change_environment(profile: Profile) -> None:
    """Do what `env` says, for what is imported from here on, the cells, and their child processes."""
    for name, text in profile.environment(os.environ).items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text


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
