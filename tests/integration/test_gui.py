"""Windows live beside an event loop: `gui:` in the profile, `%gui` in a cell.

tk is tried by its timers, which need no display; Qt on its offscreen platform, where a binding of it is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernels import RunningKernel, text_of

Start = Callable[..., RunningKernel]

pytestmark = pytest.mark.slow
BINDING = next((each for each in ("PySide6", "PyQt6", "PyQt5") if importlib.util.find_spec(each)), "")
HAS_TK = importlib.util.find_spec("_tkinter") is not None
GUIS = [
    pytest.param("tk", marks=pytest.mark.skipif(not HAS_TK, reason="this Python has no tkinter")),
    pytest.param("qt", marks=pytest.mark.skipif(not BINDING, reason="no binding of Qt is installed")),
]
LATER = {
    "tk": "import tkinter\ntcl = tkinter.Tcl()\nlater = tcl.after",
    "qt": f"from {BINDING or 'PySide6'}.QtCore import QTimer\nlater = QTimer.singleShot",
}
TICK = """
import anyio, threading
seen = []
def tick():
    seen.append(threading.current_thread() is threading.main_thread())
    print("tick", len(seen))
    if len(seen) < 3:
        later(5, tick)
later(5, tick)
"""
WAIT = "with anyio.fail_after(10):\n    while len(seen) < 3: await anyio.sleep(0.005)\nprint(seen)"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["profile", "magic"])
@pytest.mark.parametrize("gui", GUIS)
def test_windows_live_while_cells_await_and_between_them(start_kernel: Start, gui: str, how: str, backend: str) -> None:
    """A window that freezes whenever a cell ends is no use; a failing callback must not end the kernel."""
    options = ("--gui", gui) if how == "profile" else ()
    kernel = start_kernel("--backend", backend, *options, QT_QPA_PLATFORM="offscreen")
    if how == "magic":
        assert kernel.run(f"%gui {gui}")[0]["content"]["status"] == "ok"
    assert kernel.run(LATER[gui])[0]["content"]["status"] == "ok"
    kernel.run(TICK)
    assert text_of(kernel.run(WAIT)[1]).endswith("[True, True, True]\n")
    # Between the cells: it says so to the cell that ran last.
    said = kernel.client.execute("later(300, lambda: print('between'))\nNone")
    kernel.published(said)
    assert "between" in str(kernel.client.get_iopub_msg(timeout=10)["content"])
    kernel.run("later(1, lambda: [][0])\nawait anyio.sleep(0.1)")
    cell = kernel.begun(kernel.client.execute("print(1)\nawait anyio.sleep(20)"))
    kernel.interrupt()
    assert kernel.reply(cell)["content"]["ename"] == "KernelInterruptError"
    assert text_of(kernel.run("print(get_ipython().active_eventloop)")[1]) == f"{gui}\n"
    assert kernel.run("%gui")[0]["content"]["status"] == "ok"
    kernel.client.shutdown()
    assert kernel.process.wait(10) == 0


@pytest.mark.skipif(not HAS_TK, reason="this Python has no tkinter")
def test_a_callback_of_the_gui_may_start_a_task(start_kernel: Start) -> None:
    """The button that downloads something: asyncio must wake for what the GUI gives it."""
    kernel = start_kernel("--gui", "tk")
    kernel.run(LATER["tk"] + "\nimport asyncio\nevent = asyncio.Event()")
    kernel.run("async def job():\n    await asyncio.sleep(0.01)\n    event.set()")
    code = "later(5, lambda: asyncio.ensure_future(job()))\nprint(await asyncio.wait_for(event.wait(), 10))"
    assert text_of(kernel.run(code)[1]) == "True\n"


def test_what_can_not_be_used_is_an_error(start_kernel: Start) -> None:
    """Not a silent nothing, and for Qt without a display not the end of the process."""
    kernel = start_kernel(DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")

    def said(code: str) -> Any:
        reply, messages = kernel.run(code)
        assert reply["content"]["status"] == "error"
        return text_of(messages, "stderr")

    assert "gui 'nope': not supported; expected tk, qt, inline, or nothing" in said("%gui nope")
    assert "gui 'qt': there is no display" in said("%gui qt")
    if HAS_TK:
        assert "lives in the main thread" in said("# thread\n%gui tk")
    assert kernel.run("1")[0]["content"]["status"] == "ok"
