"""The kernel's own log never ends up in a cell, and a program's logging is left as it is."""

from __future__ import annotations

import gc
import io
import logging
import sys
from weakref import ref

import pytest

from async_kernel.runtime.kernel_log import Relay, kernel_log, text_of, trace_of


@pytest.fixture
def log() -> logging.Logger:
    """The log of a program that has not set logging up: it has no handlers, and no parent that has."""
    return logging.Logger("kernel")


@pytest.fixture
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to the process's own stderr."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", terminal)
    return terminal


def test_it_goes_to_the_real_stderr(
    log: logging.Logger, no_handlers: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = io.StringIO()
    monkeypatch.setattr(sys, "stderr", cell)
    with kernel_log("warning", log):
        log.warning("dropped a message")
        log.info("not asked for")
    assert "WARNING" in no_handlers.getvalue()
    assert "dropped a message" in no_handlers.getvalue()
    assert "not asked for" not in no_handlers.getvalue()
    assert cell.getvalue() == ""


def test_what_comes_before_the_file_is_open_is_in_it(log: logging.Logger) -> None:
    """The file is opened when the kernel is ready: what went wrong until then, once and in order, is worth most."""
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    relay = Relay()
    log.addHandler(relay)
    log.error("early")
    relay.to(Seen())
    log.error("late")
    assert seen == ["early", "late"]


def test_what_waits_for_the_file_keeps_nothing_alive(log: logging.Logger) -> None:
    """An exception leads to the frames that it went through: deleted subshells and what cells have computed."""
    seen: list[tuple[str, str]] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((text_of(record), trace_of(record)))

    class Computed:
        pass

    def fail(computed: Computed) -> ref[Computed]:
        try:
            raise ValueError(f"of {type(computed).__name__}")
        except ValueError as error:
            log.exception("100 %% failed: %s", error)
        log.error("%d of them", "wrong")
        return ref(computed)

    relay = Relay()
    log.addHandler(relay)
    left = fail(Computed())
    gc.collect()
    assert left() is None
    relay.to(Seen())
    (first, trace), (second, _) = seen
    assert first == "100 % failed: of Computed"
    assert trace.splitlines()[-1] == "ValueError: of Computed"
    assert second == "%d of them"


def test_everything_is_as_before(log: logging.Logger, no_handlers: io.StringIO) -> None:
    before = log.level
    with kernel_log("debug", log):
        assert log.level == logging.DEBUG
    assert log.level == before
    assert log.handlers == []


def test_a_program_with_handlers_of_its_own_keeps_them(log: logging.Logger, no_handlers: io.StringIO) -> None:
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seen()
    log.addHandler(handler)
    try:
        with kernel_log("warning", log):
            log.warning("once")
    finally:
        log.removeHandler(handler)
    assert seen == ["once"]
    assert no_handlers.getvalue() == ""
