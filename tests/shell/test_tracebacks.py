"""Tracebacks: what IPython shows, to the character; and where a cell was when its wait was ended."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from types import TracebackType
from typing import Any

import anyio
import pytest
from IPython.core.ultratb import AutoFormattedTB

from async_kernel.shell import tracebacks
from async_kernel.shell.tracebacks import Tracebacks, awaiting

CELLS = {
    "a plain error": "x = 1\n1 / 0\n",
    "in a function": "def f(a, b=2):\n    '''Text.'''\n\n    return a / 0\n\nf(\n    1,\n)\n",
    "in the library": "import json\njson.loads('{')\n",
    "in a text of many lines": "def f(a):\n    return eval(a + '''\n\n''')\n\nf('nothing_there')\n",
    "with a cause": "try:\n    {}['a']\nexcept KeyError as exc:\n    raise ValueError('no a') from exc\n",
    "while another is handled": "try:\n    {}['a']\nexcept KeyError:\n    nothing_there\n",
    "recursion": "def f(n):\n    if n:\n        return f(n - 1)\n    return 1 / n\nf(20)\n",
    "in a method": "class A:\n    def f(self):\n        return [1][2]\nA().f()\n",
    "in a comprehension": "[1 / x for x in (1, 0)]\n",
    "tabs and letters of the world": "def ƒ():\n\tπ = 'ü' * 3; return π / 2  # ∑\nƒ()\n",
    "of many lines": "".join(f"a{n} = {n}\n" for n in range(300)) + "1 / 0\n" + "pass\n" * 300,
    "without its source": "exec('1 / 0')\n",
}


def error_of(code: str) -> BaseException:
    """The error that `code` raises; its source can be looked up."""
    name = "<a cell of test_tracebacks>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    except Exception as exc:  # noqa: BLE001  # whatever the code raises is what is shown
        return exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
    raise AssertionError("it raised nothing")


def shown_by(formatter: Any, exc: BaseException, mode: str) -> str:
    formatter.set_mode(mode)
    return formatter.stb2text(formatter.structured_traceback(type(exc), exc, exc.__traceback__))


@pytest.mark.parametrize("theme", ["linux", "lightbg", "neutral", "nocolor"])
@pytest.mark.parametrize("name", CELLS)
def test_what_ipython_shows(name: str, theme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text and colours: only the time differs."""
    exc = error_of(CELLS[name])
    # What is not primed would be computed by stack_data, and be the same however wrong ours is.
    expected = {
        mode: shown_by(AutoFormattedTB(theme_name=theme), exc, mode) for mode in ("Context", "Verbose", "Plain")
    }
    monkeypatch.setattr("stack_data.core._pygmented_with_ranges", None)
    ours = Tracebacks(theme_name=theme)
    assert {mode: shown_by(ours, exc, mode) for mode in expected} == expected


def test_lines_that_are_not_shown_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at the top of a long file costs what its first lines cost."""
    seen: list[str] = []
    original: Callable[..., list[str]] = tracebacks._colour  # pyright: ignore[reportPrivateUsage]

    def colour(*args: Any) -> list[str]:
        seen.extend(found := original(*args))
        return found

    monkeypatch.setattr(tracebacks, "_colour", colour)
    exc = error_of("1 / 0\n" + "pass\n" * 1000)
    assert "ZeroDivisionError" in shown_by(Tracebacks(theme_name="linux"), exc, "Context")
    assert len(seen) < 10


def frames(trace: TracebackType | None) -> list[str]:
    names: list[str] = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return names


@pytest.mark.anyio
async def test_a_wait_that_was_ended_is_shown_where_the_user_waited() -> None:
    """Not in the depths of the event loop, which nobody can read and which takes a while to show."""

    async def users_own() -> None:
        await anyio.sleep(10)

    trace: TracebackType | None = None
    with anyio.move_on_after(0):
        try:
            await users_own()
        except BaseException as exc:
            trace = exc.__traceback__
            raise
    assert len(frames(trace)) > 3
    name = test_a_wait_that_was_ended_is_shown_where_the_user_waited.__name__
    assert frames(awaiting(trace)) == [name, "users_own"]


def test_a_traceback_of_nothing_but_an_event_loop_is_left() -> None:
    exc = error_of("__name__ = 'asyncio.tasks'\n1 / 0\n")
    assert frames(awaiting(exc.__traceback__)) == ["<module>"]
    assert awaiting(None) is None
