"""Tracebacks as IPython shows them, coloured in a fraction of the time; and without the frames of event loops."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from IPython.core.ultratb import AutoFormattedTB
from IPython.utils.PyColorize import theme_table
from pygments.token import Token

from async_kernel.shell.compiler import again

__all__ = ["Tracebacks", "awaiting"]

EVENT_LOOPS: Final = frozenset({"asyncio", "anyio", "trio", "uvloop", "winloop", "outcome"})
"The packages whose frames say nothing of where a cell was when its wait was ended."


WAIT_SECONDS: Final = 2.0
"So long one traceback waits for another, which may run the code of a user (`__repr__`, `__str__`) that never ends."

_one_at_a_time = threading.RLock()


def awaiting(trace: TracebackType | None) -> TracebackType | None:
    """`trace` up to the last frame that is no event loop's: the code that awaited when it was cancelled."""
    last, entry = None, trace
    while entry is not None:
        if str(entry.tb_frame.f_globals.get("__name__", "")).partition(".")[0] not in EVENT_LOOPS:
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None
    return trace


class Tracebacks(AutoFormattedTB):  # pyright: ignore[reportUntypedBaseClass]
    """IPython's tracebacks.

    stack_data makes a new lexer class for every frame (5 ms) and IPython a new style for every traceback (4 ms). Here
    the frames are collected without colours, and their lines coloured with a lexer and a formatter that stay.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._plain: Any = AutoFormattedTB(theme_name="nocolor")

    def structured_traceback(self, *args: Any, **kwargs: Any) -> list[str]:
        """The lines of a traceback. To make one, whole files are parsed, at which threads disturb each other."""
        alone = _one_at_a_time.acquire(timeout=WAIT_SECONDS)
        try:
            return again(super().structured_traceback, *args, **kwargs)
        finally:
            if alone:
                _one_at_a_time.release()

    def get_records(self, etb: TracebackType, context: int, tb_offset: int) -> Any:
        """The frames of `etb`, with `context` lines of each."""
        if not self.has_colors:
            return super().get_records(etb, context, tb_offset)
        records = self._plain.get_records(etb, context, tb_offset)
        for record in records:
            frame = record._sd  # pyright: ignore[reportPrivateUsage]
            if getattr(frame, "scope", None) is not None:
                # Where stack_data keeps them once they have been computed; it computes them itself if it finds none.
                frame.__dict__["_pygmented_scope_lines"] = _coloured(frame, self._theme_name)
        return records


def _coloured(frame: Any, theme_name: str) -> tuple[int, list[str]]:
    """The first line of the scope that `frame` (of stack_data) is in, and its lines up to the last one shown."""
    source = frame.source.asttext()
    first = frame.source.line_range(frame.scope)[0]
    begin = source.get_text_range(frame.scope)[0]
    shown = max((line.lineno for line in frame.lines if hasattr(line, "lineno")), default=first) - first + 1
    if frame.executing.node is None:
        marked = range(0)
    else:
        start, stop = source.get_text_range(frame.executing.node)
        marked = range(start - begin, stop - begin)
    return first, _colour(source.get_text(frame.scope), marked, shown, theme_name)


def _colour(code: str, marked: range, lines: int, theme_name: str) -> list[str]:
    """The first `lines` lines of `code` for a terminal, the characters in `marked` as those that are executed."""
    lexer, formatter = _tools(theme_name)
    tokens = _marked_tokens(lexer.get_tokens(code), marked, lines)
    result = io.StringIO()
    formatter.format(tokens, result)
    return result.getvalue().splitlines()


def _marked_tokens(tokens: Iterator[tuple[Any, str]], marked: range, lines: int) -> Iterator[tuple[Any, str]]:
    position = ended = 0
    for kind, text in tokens:
        yield (kind.ExecutingNode if position in marked else kind), text
        position += len(text)
        ended += text.count("\n")
        if ended >= lines:
            return


@functools.cache
def _tools(theme_name: str) -> tuple[Any, Any]:
    """The lexer, and the formatter of a theme."""
    from pygments.formatters.terminal256 import Terminal256Formatter  # these three: 40 ms, with the first traceback
    from pygments.lexers.python import PythonLexer
    from stack_data.core import style_with_executing_node

    theme = theme_table[theme_name]
    highlight = theme.extra_style.get(Token.TbHighlight, AutoFormattedTB.tb_highlight)
    style = style_with_executing_node(theme.as_pygments_style(), highlight)
    return PythonLexer(stripnl=False), Terminal256Formatter(style=style)
