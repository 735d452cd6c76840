"""`embed`: stop here and let a client look around, in the names of the running function."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

from async_kernel.kernel import Kernel, current_kernel
from async_kernel.scheduling import event_loops
from async_kernel.scheduling.pending import Event
from async_kernel.shell.subshell import NamesOver

__all__ = ["embed", "print_how_to_connect"]

_CACHED: Final = re.compile(r"_i?\d+|_+|_i+|_[iod]h")
"Names that IPython keeps inputs and outputs under."


def print_how_to_connect(kernel: Kernel) -> None:
    """Tell on the real stderr how to connect to the kernel."""
    if (stderr := sys.__stderr__) is not None:
        stderr.write(
            f"A kernel waits here. Connect with: jupyter console --existing {kernel.connection_file}\n"
            "`exit` there, or Ctrl-C here, and the program goes on.\n"
        )
        stderr.flush()


def embed(
    *,
    module: ModuleType | None = None,
    local_ns: dict[str, Any] | None = None,
    connection_file: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    announce: Callable[[Kernel], object] = print_how_to_connect,
) -> None:
    """Run a kernel here, in the names of the function that calls, until a client stops it; the program waits.

    The cells have names of their own, over the local names of the caller, and those over the names of its module.
    What they assign is seen by cells; it is also put into `local_ns` at the end, and into the module where `embed` is
    called at its top level.

    Args:
        module: Whose names are global; default: the caller's module.
        local_ns: The local names; default: the caller's.
        connection_file: Read where it exists, else written; default: a new one in Jupyter's runtime folder.
        settings: What `Kernel.load_settings` takes.
        announce: Called when clients can connect.

    Raises:
        RuntimeError: An event loop runs in this thread, or a kernel in this process.
        SettingError: A setting does not exist or does not fit.
        SetupError: The kernel can't be started.
    """
    _check_that_it_can_block()
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    below = frame.f_globals if module is None else vars(module)
    above = frame.f_locals if local_ns is None else local_ns
    names = NamesOver(lambda: below)
    names.update({} if above is below else above)
    kernel = Kernel({**(settings or {}), **({"connection_file": connection_file} if connection_file else {})})
    kernel.shell_settings["user_ns"] = names
    kernel.owns_process = True
    before = dict(names)
    try:
        with _ending_signals() as follow:
            _run(kernel, below, lambda: (follow(kernel), announce(kernel)))
    finally:
        del frame
        if local_ns is not None or above is below:
            above.update(_assigned(kernel, names, before))


def _check_that_it_can_block() -> None:
    if (backend := event_loops.running_backend()) is not None:
        raise RuntimeError(
            f"embed blocks, and an event loop ({backend.value}) runs in this thread: use `async with Kernel():`, "
            "whose cells run beside your tasks, or call embed in another thread"
        )
    kernel = current_kernel()
    if kernel is not None and kernel.event_started.is_set() and not kernel.event_stopped.is_set():
        raise RuntimeError(f"a kernel runs in this process already: connect with --existing {kernel.connection_file}")


def _run(kernel: Kernel, below: dict[str, Any], started: Callable[[], object]) -> None:
    main = sys.modules["__main__"]

    async def serve() -> None:
        async with kernel:
            sys.modules["__main__"] = main  # The program's own: what it pickles is found there.
            kernel.main_shell.Completer.global_namespace = below
            started()
            await Event().wait_async()

    backend = kernel.anyio_backend
    options = kernel.anyio_backend_options.get(backend, event_loops.default_options(backend))
    event_loops.run(serve, backend=backend, backend_options=options)


def _assigned(kernel: Kernel, names: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What cells have assigned."""
    hidden = {"In", "Out", "exit", "quit", "get_ipython", "__builtin__", "__builtins__", "__name__", "open"}
    return {
        name: value
        for name, value in names.items()
        if (name not in before or before[name] is not value) and name not in hidden and not _CACHED.fullmatch(name)
    }


@contextmanager
def _ending_signals() -> Generator[Callable[[Kernel], None]]:
    """What would have ended the program ends the kernel first, and then the program.

    Yields a function to be called when the kernel handles signals.
    """
    ended_by: list[int] = []

    def follow(_kernel: Kernel) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
            handler = signal.getsignal(number)

            def note(signum: int, frame: FrameType | None, handler: Any = handler) -> None:
                ended_by.append(signum)
                handler(signum, frame)

            signal.signal(number, note)

    yield follow
    if ended_by:
        signal.raise_signal(ended_by[0])
