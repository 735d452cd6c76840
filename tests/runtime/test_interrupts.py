"""Whom an interrupt hits; tests/integration/test_interrupts.py has the rest."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from async_kernel.errors import KernelInterruptError
from async_kernel.runtime import interrupts
from async_kernel.runtime.interrupts import Delivery, Interrupts
from async_kernel.scheduling.context import current_job


class Stuck:
    """A request that awaits in an event loop which does not come to cancel it."""

    def __init__(self) -> None:
        self.job: Any = {"received_time": time.monotonic()}
        self.thread = threading.main_thread().ident
        self.done = False
        self.awaits = True
        self.cancelled = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    def post(self, func: object) -> None:
        """The loop does not call."""


@pytest.mark.parametrize("later", [False, True])
def test_what_came_after_the_interrupt_is_spared(later: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the handler of a slider's next move would be ended in place of the cell that was meant."""
    monkeypatch.setattr(interrupts, "STUCK_SECONDS", -1.0)
    target = Stuck()
    given = Interrupts(
        running=lambda: [target],
        wake_input=lambda _: False,
        user_code=[cell.__code__],
        when_idle=lambda: None,
        begun=lambda _: None,
    )
    delivery = Delivery(target)
    delivery.post()
    monkeypatch.setattr(given, "_on_main", (delivery,))
    job: Any = {"received_time": time.monotonic() + 1 if later else 0.0}
    token = current_job.set(job)
    try:
        if later:
            cell(given)
        else:
            with pytest.raises(KernelInterruptError):
                cell(given)
    finally:
        current_job.reset(token)
    assert target.cancelled is not later


def cell(given: Interrupts) -> None:
    """What runs when the signal comes: code of a user, in the namespace of a cell."""
    code = "import sys\nsignal(2, sys._getframe())"
    exec(code, {"__name__": "__main__", "signal": given.on_signal})
