"""YAML text -> a tree with positions, by the events of PyYAML: nothing is constructed, so nothing can be executed.

Refused, each with its position: what is not YAML, duplicate keys, tags, keys that are not text, several documents,
nesting or aliases that grow beyond all measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from async_kernel.config.problems import Mark, Problem, Problems
from async_kernel.config.tree import Node, Table, resolve_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parse"]

MAX_DEPTH = 40
MAX_NODES = 50_000
"Values after the aliases are expanded; 1 MiB of plain profile has fewer."

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """The value of the one document in `text`, or None (with a problem) where it can't be read.

    Args:
        text: The whole text of the file.
        file: Its name in the positions.
        problems: Faults are appended to it.
    """
    reader = _Reader(file, problems)
    try:
        return reader.document(yaml.parse(text, Loader=_LOADER))
    except _Stop:
        return None
    except yaml.reader.ReaderError:
        problems.append(_unprintable(text, file))
    except yaml.MarkedYAMLError as exc:
        at = exc.problem_mark or exc.context_mark
        if at and exc.context_mark and at.index >= len(text.rstrip()):
            at = exc.context_mark  # what is not closed, rather than the end of the text
        mark = reader.mark(at) if at else Mark(file, 1, 1)
        problems.append(Problem(mark, _sentence(text, exc, at)))
    return None


def _sentence(text: str, exc: yaml.MarkedYAMLError, at: Any) -> str:
    lines = text.splitlines()
    if at and at.line < len(lines) and lines[at.line][at.column : at.column + 1] == "\t":
        return "a tab can't be used here: indent with spaces"
    context = f" {exc.context}" if exc.context else ""
    return f"not valid YAML: {exc.problem or 'it ends too early'}{context and f' ({context.strip()})'}"


def _unprintable(text: str, file: str) -> Problem:
    """The first character that YAML does not allow (YAML 1.1 section 5.1), which the two readers place differently."""
    index = next((i for i, char in enumerate(text) if not (char.isprintable() or char in "\t\n\r\x85\u2028\u2029")), 0)
    line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
    return Problem(Mark(file, line, column), f"character {text[index]!r} is not allowed in YAML")


class _Stop(Exception):
    """Reading further makes no sense: the problem is told already."""


class _Reader:
    """Builds the tree from one stream of events."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.file: str = file
        self.problems: Problems = problems
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.count: int = 0

    def mark(self, at: Any) -> Mark:
        return Mark(self.file, at.line + 1, at.column + 1)

    def problem(self, at: Any, message: str) -> None:
        self.problems.append(Problem(self.mark(at), message))

    def stop(self, at: Any, message: str) -> _Stop:
        self.problem(at, message)
        return _Stop(message)

    def document(self, events: Iterator[Any]) -> Node:
        result: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if result is not None:
                    raise self.stop(event.start_mark, "a second document: a profile is one")
                result = self.value(next(events), events, 0)
        return result or Node(None, Mark(self.file, 1, 1))

    def value(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        at = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        self.count += 1
        if depth > MAX_DEPTH:
            raise self.stop(at, f"nested more than {MAX_DEPTH} levels deep")
        # A quoted scalar has the tag "!" in libyaml's events where it is implicit; only what was written is refused.
        if event.tag and event.tag != "!":
            self.problem(at, f"tag {event.tag!r} is not allowed: a profile is plain data")
        before = self.count
        node = Node(None, self.mark(at))
        if isinstance(event, yaml.ScalarEvent):
            plain = not event.style
            node.value = resolve_plain(event.value) if plain else event.value
            node.text = event.value if plain else None
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = self.sequence(events, depth)
        else:
            node.value = self.mapping(events, depth)
        if event.anchor:
            self.anchors[event.anchor] = (node, self.count - before + 1)
        return node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.stop(event.start_mark, f"alias '*{event.anchor}' stands before or inside what it names")
        node, size = self.anchors[event.anchor]
        self.count += size
        if self.count > MAX_NODES:
            raise self.stop(event.start_mark, f"aliases expand to more than {MAX_NODES} values")
        return Node(node.value, node.mark, None, node.text)

    def sequence(self, events: Iterator[Any], depth: int) -> list[Node]:
        result: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            result.append(self.value(event, events, depth + 1))
        return result

    def mapping(self, events: Iterator[Any], depth: int) -> Table:
        result: Table = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.value(event, events, depth + 1)
            key_at, value = event.start_mark, self.value(next(events), events, depth + 1)
            name = key.value if isinstance(key.value, str) else key.text
            if name is None or key.value is None:
                self.problem(key_at, "a key must be text")
            elif key.text == "<<":
                self.problem(key_at, "merge keys ('<<') are not read: use 'extends'")
            elif name in result:
                self.problem(key_at, f"duplicate key {name!r} (first in line {result[name].key_mark.line})")
            else:
                value.key_mark = self.mark(key_at)
                result[name] = value
        return result
