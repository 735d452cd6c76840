"""The events of a GUI (tk or qt) in the main thread, side by side with an event loop.

`Host` is what the two toolkits have in common. With `run_options` the GUI is there from the start: trio runs as its
guest, and asyncio waits in it, so that neither polls. `GuiEvents` serves a loop that runs already: it looks for events
of the GUI again and again while the loop is free.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from async_kernel.errors import SetupError
from async_kernel.scheduling import event_loops
from async_kernel.typing import Backend

__all__ = ["GUIS", "GuiEvents", "Host", "HostedLoop", "make_host", "run_options"]

GUIS: Final = ("tk", "qt")
BINDINGS: Final = ("PySide6", "PyQt6", "PyQt5", "PySide2")
"Of Qt, the first that is imported or else installed; QT_API may name another."
POLL_SECONDS: Final = 0.01
"How often a loop that is not the GUI's guest looks for events."
AT_ONCE: Final = 100
"Events of tk that are processed before the loop gets its turn."


class Host:
    """A GUI's event processing, in the main thread."""

    name: str

    def turn(self, seconds: float | None) -> None:
        """Process what has happened; where nothing has, wait for at most `seconds` (None: for ever) until it does.

        What a callback raises is shown: it ends neither the GUI nor the loop.
        """
        try:
            self._turn(seconds)
        except (Exception, SystemExit):  # noqa: BLE001  # the user's own
            traceback.print_exc()

    def watch(self, fd: int, func: Callable[[], object]) -> Callable[[], object]:
        """Call `func` in `turn` while `fd` can be read; returns what ends that."""
        raise NotImplementedError

    def _turn(self, seconds: float | None) -> None:
        raise NotImplementedError


class TkHost(Host):
    """tk's events: those of every `tkinter.Tk()` of the thread. It has no window, and needs no display, itself."""

    name = "tk"

    def __init__(self) -> None:
        tkinter = importlib.import_module("tkinter")
        self._interpreter = tkinter.Tcl()
        self._tk = self._interpreter.tk
        self._readable, self._no_wait = tkinter.READABLE, tkinter._tkinter.DONT_WAIT

    def _turn(self, seconds: float | None) -> None:
        if seconds is not None and seconds <= 0:
            for _ in range(AT_ONCE):
                if not self._tk.dooneevent(self._no_wait):
                    return
            return
        timer = None if seconds is None else self._tk.createtimerhandler(_milliseconds(seconds), lambda: None)
        try:
            self._tk.dooneevent(0)
        finally:
            if timer is not None:
                timer.deletetimerhandler()

    def watch(self, fd: int, func: Callable[[], object]) -> Callable[[], object]:
        self._tk.createfilehandler(fd, self._readable, lambda *_: func())
        return lambda: self._tk.deletefilehandler(fd)


class QtHost(Host):
    """Qt's events, of the binding that is there."""

    name = "qt"

    def __init__(self, binding: str) -> None:
        self._core = importlib.import_module(f"{binding}.QtCore")
        widgets = importlib.import_module(f"{binding}.QtWidgets")
        self._app = widgets.QApplication.instance() or widgets.QApplication(["async_kernel"])
        # Closing the last window is not the end of the kernel, and what comes after it must still be processed.
        self._app.setQuitOnLastWindowClosed(False)
        self._loop = self._core.QEventLoop()
        self._timer = self._core.QTimer()
        self._timer.setSingleShot(True)

    def _turn(self, seconds: float | None) -> None:
        flags = self._core.QEventLoop.ProcessEventsFlag
        if seconds is not None and seconds <= 0:
            self._loop.processEvents(flags.AllEvents)
        else:
            if seconds is not None:
                self._timer.start(_milliseconds(seconds))
            self._loop.processEvents(flags.WaitForMoreEvents)
            self._timer.stop()
        # Qt does this itself only in `exec`, which would end for good with the application's `quit`.
        self._core.QCoreApplication.sendPostedEvents(None, self._core.QEvent.Type.DeferredDelete.value)

    def watch(self, fd: int, func: Callable[[], object]) -> Callable[[], object]:
        notifier = self._core.QSocketNotifier(fd, self._core.QSocketNotifier.Type.Read)
        notifier.activated.connect(lambda *_: func())
        return lambda: notifier.setEnabled(False)


def _milliseconds(seconds: float) -> int:
    return max(1, min(int(seconds * 1000) + 1, 3_600_000))


def make_host(name: str) -> Host:
    """The host of `tk` or `qt` (also `qt5`, `qt6`); call it in the main thread.

    Raises:
        SetupError: There is no such GUI, or it can't be used here.
    """
    if name not in {*GUIS, "qt5", "qt6"}:
        raise SetupError(f"gui {name!r}: not supported; expected {', '.join(GUIS)}, inline, or nothing")
    _need_main_thread(name)
    if name == "tk":
        if importlib.util.find_spec("_tkinter") is None:
            raise SetupError("gui 'tk': this Python was built without tkinter")
        return TkHost()
    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))):
        raise SetupError("gui 'qt': there is no display (DISPLAY and WAYLAND_DISPLAY are not set), and Qt would end "
                         "the process; QT_QPA_PLATFORM=offscreen goes without")  # fmt: skip
    return QtHost(_binding(name))


def _need_main_thread(name: str) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise SetupError(f"gui {name!r}: a GUI lives in the main thread; this is {threading.current_thread().name!r}")


def _binding(name: str) -> str:
    """The package of a binding of Qt."""
    wanted = os.environ.get("QT_API", "").lower()
    known = [each for each in BINDINGS if name == "qt" or each.endswith(name[2:]) or (name, each) == ("qt5", "PySide2")]
    order = sorted(known, key=lambda each: (f"{each}.QtCore" not in sys.modules, each.lower() != wanted))
    found = next((each for each in order if importlib.util.find_spec(each) is not None), None)
    if found is None:
        raise SetupError(f"gui {name!r}: none of {', '.join(known)} is installed; pip install {known[0]}")
    return found


def run_options(host: Host, backend: str) -> dict[str, Any]:
    """The options of `event_loops.run` that let `backend` run in `host`; empty where it can't (on Windows)."""
    if sys.platform == "win32":  # Neither toolkit can watch there what the loop waits for.
        return {}
    return {"loop_factory": partial(HostedLoop, host)} if backend == Backend.asyncio else {"host": host}


class HostSelector(selectors.DefaultSelector):
    """Waits in the GUI, which watches the selector's own descriptor."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self.called = False
        "Whether the GUI's callbacks have given the loop something to do."
        # The toolkits don't stop waiting for a signal: the byte that Python writes ends it, and then handlers run.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._watched = [host.watch(self.fileno(), lambda: None), host.watch(self._reader.fileno(), self._signalled)]
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def _signalled(self) -> None:
        with suppress(BlockingIOError):
            self._reader.recv(4096)

    def select(self, timeout: float | None = None) -> Any:
        """What is ready; events of the GUI are processed meanwhile, and also where the loop has no time to wait."""
        self.called = False
        self._host.turn(0)
        ready = super().select(0)
        if not ready and not self.called and (timeout is None or timeout > 0):
            # One event ends it, whatever it was: the loop comes again with the time that is left.
            self._host.turn(timeout)
            ready = super().select(0)
        return ready

    def close(self) -> None:
        """Close it."""
        if self._watched:
            signal.set_wakeup_fd(self._wakeup)
        while self._watched:
            self._watched.pop()()
        self._reader.close()
        self._writer.close()
        super().close()


class HostedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop inside a GUI. Callbacks of the GUI see it running: they may create tasks."""

    def __init__(self, host: Host) -> None:
        self._waits = HostSelector(host)
        super().__init__(self._waits)

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        """See asyncio; the GUI lets the loop go on."""
        self._waits.called = True
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        """See asyncio; the GUI lets the loop go on."""
        self._waits.called = True
        return super().call_at(when, callback, *args, context=context)


class GuiEvents:
    """The GUI that a shell has switched on.

    Args:
        host: The GUI that the event loop runs in; None where it does not.
    """

    def __init__(self, host: Host | None = None) -> None:
        self._host = host
        self._made: dict[str, Host] = {} if host is None else {host.name: host}
        self._stop: Callable[[], object] = lambda: None

    def use(self, name: str | None) -> None:
        """Process the events of the GUI `name` from now on, and of no other but the host's; call it in the loop.

        Raises:
            SetupError: There is no such GUI, or it can't be used here.
        """
        _need_main_thread(name or "none")
        host = None if name is None else self._made.get(name[:2] if name[-1:].isdigit() else name) or make_host(name)
        self.stop()
        if host is None or host is self._host:
            return
        self._made[host.name] = host
        driver = event_loops.this_driver()
        # In an empty context: what callbacks print goes to the latest cell.
        coro = _poll(host, driver.sleep)
        self._stop = driver.Loop().spawn(coro, contextvars.Context(), lambda _value, _error, _cancelled: None)

    def stop(self) -> None:
        """Process no more events but the host's; call it in the loop."""
        stop, self._stop = self._stop, lambda: None
        stop()


async def _poll(host: Host, sleep: Callable[[float], Awaitable[None]]) -> None:
    while True:
        host.turn(0)
        await sleep(POLL_SECONDS)
