"""What nothing catches is told to the end, and takes nothing from the cell in whose middle it is told."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from async_kernel.runtime import failures
from async_kernel.scheduling.sections import BORDERS, guarded, in_user_code

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """The process's stderr, which notes whether an interrupt might be raised while it is written to."""

    interruptible = False

    def write(self, text: str, /) -> int:
        self.interruptible = self.interruptible or in_user_code(sys._getframe(), BORDERS)
        return super().write(text)


def test_an_interrupt_waits_until_a_finalizer_s_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python swallows what is raised there: the cell went on, with a traceback of the kernel in its output."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    try:
        raise ValueError("in a finalizer")
    except ValueError as error:
        args: Any = SimpleNamespace(
            exc_type=ValueError, exc_value=error, exc_traceback=error.__traceback__, err_msg=None, object=None
        )
    thread = threading.Thread(target=guarded, args=(failures.unraisablehook, args))
    thread.start()
    thread.join()
    assert "ValueError: in a finalizer" in terminal.getvalue()
    assert not terminal.interruptible
