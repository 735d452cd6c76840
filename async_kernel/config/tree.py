"""The tree that a profile's text becomes: plain data of which every part knows where it was written."""

from __future__ import annotations

from typing import Any, TypeAlias

from async_kernel.config.problems import Mark, Problem

__all__ = ["Missing", "Node", "Table", "data", "resolve_plain"]


class Missing:
    """Stands for a value that `${V:?message}` could not find; a problem only if no higher layer replaces it."""

    __slots__: tuple[str, ...] = ("problem",)

    def __init__(self, problem: Problem) -> None:
        self.problem: Problem = problem


class Node:
    """A value and its position."""

    __slots__: tuple[str, ...] = ("key_mark", "mark", "text", "value")

    def __init__(self, value: Any, mark: Mark, key_mark: Mark | None = None, text: str | None = None) -> None:
        self.value: Any = value
        "None, bool, int, float, str, `list[Node]`, `dict[str, Node]` or `Missing`."
        self.mark: Mark = mark
        self.key_mark: Mark = key_mark or mark
        "Where the key stands whose value this is."
        self.text: str | None = text
        "As it was written, where it was a scalar without quotes."

    def but(self, value: Any) -> Node:
        """The same place with another value."""
        return Node(value, self.mark, self.key_mark)

    def __repr__(self) -> str:
        return f"Node({self.value!r}, {self.mark})"


Table: TypeAlias = dict[str, Node]
"""A mapping of a profile."""


def data(node: Node) -> Any:
    """The value of `node` without positions."""
    value = node.value
    if isinstance(value, dict):
        return {key: data(child) for key, child in value.items()}
    return [data(child) for child in value] if isinstance(value, list) else value


_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL = frozenset("0123456789+-.eE")


def resolve_plain(text: str) -> bool | float | str | None:
    """What a scalar without quotes means in YAML 1.2's core schema (section 10.3.2): there, `off` and `no` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-." or len(text) > 400:
        return text
    digits = text[2:]
    if text.startswith(("0x", "0o")) and digits.isascii() and digits.isalnum():
        base, convert = (16 if text[1] == "x" else 8), int
        try:
            return convert(digits, base)
        except ValueError:
            return text
    if text.lstrip("+-") in (".inf", ".nan", ".Inf", ".NaN", ".INF", ".NAN"):
        return float(text.replace(".", ""))
    if not _DECIMAL.issuperset(text):
        return text
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
