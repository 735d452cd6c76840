"""`${V}`, `${V:-default}`, `${V:?message}` and `$$`, after parsing, in strings only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from async_kernel.config.problems import Mark, Problem, Problems
from async_kernel.config.tree import Missing, Node, resolve_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NAMED", "interpolate"]

NAMED = r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::[-?][^}]*)?\}"
"""The form of a reference."""

_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\}|(\{))")


def interpolate(node: Node, environ: Mapping[str, str], problems: Problems) -> Node:
    """`node` with its references replaced; keys are left alone. A scalar that had no quotes may become a number."""
    value = node.value
    if isinstance(value, dict):
        return node.but({key: interpolate(child, environ, problems) for key, child in value.items()})
    if isinstance(value, list):
        return node.but([interpolate(child, environ, problems) for child in value])
    if isinstance(value, str) and "$" in value:
        try:
            new = _text(value, node.mark, environ, problems)
        except _Unset as exc:
            return node.but(Missing(Problem(node.mark, str(exc))))
        plain = node.text is not None
        return Node(resolve_plain(new) if plain else new, node.mark, node.key_mark, new if plain else None)
    return node


class _Unset(Exception):
    """A variable that `${V:?message}` requires is not set."""


def _text(text: str, mark: Mark, environ: Mapping[str, str], problems: Problems) -> str:
    def one(match: re.Match[str]) -> str:
        dollar, name, form, word, broken = match.groups()
        if dollar:
            return "$"
        if broken:
            problems.append(Problem(mark, f"'${{' without a variable's name and '}}' in {text!r} ('$$' is a '$')"))
            return match[0]
        found = environ.get(name, "")
        if form and not found:
            if form == "?":
                raise _Unset(f"${{{name}}} is not set: {word or 'it is required'}")
            return word
        if not form and name not in environ:
            problems.append(Problem(mark, f"${{{name}}} is not set: nothing is put in its place", "warning"))
        return found

    return _REFERENCE.sub(one, text)
