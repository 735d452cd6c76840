"""The few forms of YAML in which most profiles are written, read without importing PyYAML (12 ms of a kernel's start).

Read are block mappings and block lists of one-line scalars that are letters and digits or stand in quotes without
escapes, and lists and mappings of those in brackets on one line. At the first line that is anything else, faulty ones
included, the whole text is left to PyYAML: what this reader reads, it reads exactly as `yaml_tree` does, positions
included (a test compares the two on generated texts).
"""

from __future__ import annotations

import re

from async_kernel.config.problems import Mark
from async_kernel.config.tree import Node, Table, resolve_plain

__all__ = ["parse_plain"]

_WORD = r"[A-Za-z0-9_/.][A-Za-z0-9_/.+-]*"
_PLAIN = r"[A-Za-z0-9_/.](?:[A-Za-z0-9_/.+,()=%'\ -]*[A-Za-z0-9_/.+,()=%'-])?"
_LINE = re.compile(
    rf"""(\ *)(?:(-\ )|({_WORD}):(?:\ +|(?=\ *$)))   # indentation, then an item or a key
    (?:(?:({_PLAIN})|"([^"\\\t]*)"|'([^'\t]*)')?(?:\ +\#[^\t]*)?\ *|([\[{{].*))""",
    re.VERBOSE,
)
_FLOW = re.compile(
    rf"""(?:([\[\]{{}},])|({_WORD}):\ +|([A-Za-z0-9_/.](?:[A-Za-z0-9_/.+()=%'\ -]*[A-Za-z0-9_/.+()=%'-])?)(?!\ *[:\#])
    |"([^"\\]*)"(?!\ *:)|'([^']*)'(?![:'])(?!\ *:))\ *""",
    re.VERBOSE,
)
"""A bracket or comma, a key, a plain scalar, a quoted one; the spaces after it."""

_MAX_BRACKETS = 20
"What is nested deeper than it may be is for the other reader to refuse."

_REST = re.compile(r"(?:#.*)?")
_BLANK = re.compile(r" *(?:#.*)?")
_NOT_KEYS = frozenset(("", "~", "null", "Null", "NULL", "---", "..."))


def parse_plain(text: str, file: str) -> Node | None:
    """The tree of `text`, or None where it is not (only) of the plain forms."""
    # Printable ASCII only: what YAML makes of other characters and line ends is PyYAML's business.
    if not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    lines: list[tuple[int, int, re.Match[str]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if _BLANK.fullmatch(line):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        lines.append((number, len(match[1]), match))
    if not lines or lines[0][1]:
        return None
    node, rest = _block(lines, 0, file)
    return node if rest == len(lines) else None


def _block(lines: list[tuple[int, int, re.Match[str]]], start: int, file: str) -> tuple[Node | None, int]:
    """The mapping or list that begins at line `start`, and the index of the line after it."""
    number, indent, first = lines[start]
    items: list[Node] = []
    table: Table = {}
    index = start
    while index < len(lines) and lines[index][1] == indent and bool(lines[index][2][2]) == bool(first[2]):
        number, _, match = lines[index]
        key = match[3]
        child = _scalar(match, number, file)
        index += 1
        if index < len(lines) and lines[index][1] > indent:
            if child is not None or not key:
                return None, -1  # a scalar that goes on in the next line, or an item with a block of its own
            child, index = _block(lines, index, file)
        if child is None or (key and (key in table or not isinstance(resolve_plain(key), str))):
            return None, -1  # a key without a value, twice the same key, or a key that is not text
        if key:
            child.key_mark = Mark(file, number, indent + 1)
            table[key] = child
        else:
            items.append(child)
    return Node(items if first[2] else table, Mark(file, lines[start][0], indent + 1)), index


class _NotPlain(Exception):
    """What stands in the brackets is left to PyYAML."""


class _Flow:
    """Reads one line's lists and mappings in brackets."""

    def __init__(self, text: str, start: int, number: int, file: str) -> None:
        self.text: str = text
        self.at: int = start
        self.number: int = number
        self.file: str = file

    def next(self) -> re.Match[str]:
        """The next token; the position is after it."""
        match = _FLOW.match(self.text, self.at)
        if match is None:
            raise _NotPlain
        self.at = match.end()
        return match

    def value(self, token: re.Match[str]) -> Node:
        mark = Mark(self.file, self.number, token.start() + 1)
        if token[3] is not None:
            if token[3] in _NOT_KEYS or token[3].startswith("..."):
                raise _NotPlain
            return Node(resolve_plain(token[3]), mark, None, token[3])
        quoted = token[5] if token[4] is None else token[4]
        if quoted is not None:
            return Node(quoted, mark)
        if token[1] not in ("[", "{"):
            raise _NotPlain
        return Node(self.items() if token[1] == "[" else self.table(), mark)

    def items(self) -> list[Node]:
        result: list[Node] = []
        token = self.next()
        while token[1] != "]" or result:
            result.append(self.value(token))
            token = self.next()
            if token[1] == "]":
                break
            if token[1] != ",":
                raise _NotPlain
            token = self.next()
        return result

    def table(self) -> Table:
        result: Table = {}
        token = self.next()
        while token[1] != "}" or result:
            key = token[2]
            if key is None or key in result or not isinstance(resolve_plain(key), str):
                raise _NotPlain
            result[key] = child = self.value(self.next())
            child.key_mark = Mark(self.file, self.number, token.start() + 1)
            token = self.next()
            if token[1] == "}":
                break
            if token[1] != ",":
                raise _NotPlain
            token = self.next()
        return result


def _flow(match: re.Match[str], number: int, file: str) -> Node | None:
    if match[7].count("[") + match[7].count("{") > _MAX_BRACKETS:
        return None
    flow = _Flow(match.string, match.start(7), number, file)
    try:
        node = flow.value(flow.next())
    except _NotPlain:
        return None
    rest = match.string[flow.at :]
    spaced = match.string[flow.at - 1] == " "  # a comment has a space before it
    return node if not rest or (spaced and _REST.fullmatch(rest)) else None


def _scalar(match: re.Match[str], number: int, file: str) -> Node | None:
    plain, double, single = match[4], match[5], match[6]
    if match[7] is not None:
        return _flow(match, number, file)
    if plain is not None:
        if plain.startswith("...") or plain in _NOT_KEYS:
            return None
        return Node(resolve_plain(plain), Mark(file, number, match.start(4) + 1), None, plain)
    if (group := 5 if double is not None else 6) and match[group] is not None:
        return Node(double if single is None else single, Mark(file, number, match.start(group)))
    return None
