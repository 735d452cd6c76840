"""The short way from a plain value to its mime bundle: the same as IPython's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

from async_kernel.shell.formatting import quick_format

VALUES: list[Any] = [1, True, 1.5, 2j, "text", b"bytes", None, [1, "a"], (1,), {"a": [1]}, {1}, frozenset(), range(3)]


class Counting:
    """`DisplayFormatter.format` that counts."""

    def __init__(self) -> None:
        self.formatter: Any = DisplayFormatter()
        self.asked = 0
        original: Callable[..., Any] = self.formatter.format

        def slowly(*args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return original(*args, **kwargs)

        self.formatter.format = slowly
        self.format = quick_format(self.formatter)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_the_same_text(value: Any) -> None:
    counting = Counting()
    assert counting.format(value) == DisplayFormatter().format(value)
    assert counting.asked == 0


class Rich(dict[str, int]):
    def _repr_html_(self) -> str:
        return "<b>rich</b>"


def test_what_is_not_plain_is_asked_for_everything() -> None:
    """A dict of the user's own with `_repr_html_` would lose its table."""
    counting = Counting()
    assert counting.format(Rich())[0]["text/html"] == "<b>rich</b>"
    assert counting.format(1, include=["text/html"]) == ({}, {})
    assert counting.asked == 2


@pytest.mark.parametrize("kind", [int, object])
def test_what_somebody_has_registered_is_asked(kind: type) -> None:
    """`formatter.for_type(int, ...)` would be ignored."""
    counting = Counting()
    counting.formatter.formatters["text/html"].for_type(kind, lambda _: "<i>1</i>")
    assert counting.format(1)[0]["text/html"] == "<i>1</i>"
    assert "text/html" in counting.format("other")[0] or kind is int


def test_what_is_registered_by_name_or_for_one_object() -> None:
    counting = Counting()
    counting.formatter.formatters["text/html"].for_type_by_name("builtins", "int", lambda _: "<i>1</i>")
    assert counting.format(1)[0]["text/html"] == "<i>1</i>"
    counting = Counting()
    counting.formatter.formatters["text/html"].singleton_printers[id(None)] = lambda _: "<i>nothing</i>"
    assert counting.format(None)[0]["text/html"] == "<i>nothing</i>"
    assert counting.asked == 1


def test_its_own_display_and_bundle() -> None:
    counting = Counting()
    shown: list[Any] = []
    counting.formatter.ipython_display_formatter.for_type(int, shown.append)
    assert counting.format(1) == ({}, {})
    assert shown == [1]
    counting.formatter.mimebundle_formatter.for_type(str, lambda _, **__: {"text/x": "x"})
    assert counting.format("a")[0]["text/x"] == "x"


def test_the_settings_of_the_text() -> None:
    """`%precision` and `%pprint` would have no effect."""
    counting = Counting()
    counting.formatter.formatters["text/plain"].float_precision = "2"
    assert counting.format(1 / 3)[0] == {"text/plain": "0.33"}
    counting.formatter.formatters["text/plain"].pprint = False
    assert counting.format({"b": 1, "a": 2})[0] == {"text/plain": "{'b': 1, 'a': 2}"}
