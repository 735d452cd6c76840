"""The kinds of value that a key may have. Each checks what was written and gives back its one normal form.

`check` appends a problem for every fault and returns the node as well as it can; `null` never gets here (it means "the
default" wherever a kind does not say otherwise). `schema` says the same to programs, as a JSON Schema.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from async_kernel.config.problems import Mark, Problem, Problems, suggest
from async_kernel.config.tree import Missing, Node, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "NUMBER",
    "REFERENCE",
    "TEXT",
    "VALUE",
    "Bool",
    "Choice",
    "Free",
    "Kind",
    "ListOf",
    "Number",
    "PathText",
    "Size",
    "Text",
    "one_of",
    "shown",
]


TEXT, REFERENCE, VALUE = ({"$ref": f"#/definitions/{name}"} for name in ("text", "reference", "value"))
"""In a JSON Schema: a text whose `${…}` are well-formed, one that holds a `${…}`, and any value with such texts."""

NUMBER = {"type": "number", "minimum": 0, "maximum": sys.float_info.max}


def whole(pattern: str) -> str:
    """A regular expression that a whole text must match, in a language where patterns are searched for."""
    return f"^(?:{pattern})$(?!\\n)"  # In Python, `$` also stands before a last line end.


def shown(node: Node) -> str:
    """The value of `node` as an error message quotes it."""
    value = node.value
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return node.text or {None: "null", True: "true", False: "false"}.get(value, repr(value))


def one_of(value: str, choices: Sequence[str]) -> str:
    """The second half of the sentence that says `value` is none of `choices`."""
    hint = suggest(value, choices) if len(choices) > 4 else ""
    return f"is not one of {', '.join(choices)}" + (f" ({hint})" if hint else "")


class Kind:
    """What a key may hold.

    Attributes:
        expected: What is expected, in the words of an error message.
        depth: How many levels of mappings are merged with an inherited value; below, the value replaces.
        keeps_null: Whether a null inside the value means something else than "the default".
        is_list: Whether `key+:` can append to it.
        metavar: How the help of an option calls the value.
    """

    expected: str = "a value"
    depth: int = 99
    keeps_null: bool = False
    is_list: bool = False
    metavar: str = "TEXT"

    def check(self, node: Node, key: str, problems: Problems) -> Node:
        """The normal form of `node`, the value of `key`."""
        return node if isinstance(node.value, Missing) else self.normal(node, key, problems)

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        """What `check` does where a value is present."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 7) of what `check` accepts; null and the default are said elsewhere."""
        raise NotImplementedError

    def refuse(self, node: Node, key: str, problems: Problems, remedy: str = "") -> Node:
        """Tell that `node` is not what is expected."""
        problems.append(
            Problem(node.mark, f"{key}: expected {self.expected}, got {shown(node)}{remedy and f' ({remedy})'}")
        )
        return node


class Bool(Kind):
    """true or false; also the words of YAML 1.1, and 0 and 1 from options and variables."""

    expected = "true or false"
    _words: Mapping[str, bool] = {"yes": True, "on": True, "no": False, "off": False}

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        if isinstance(node.value, bool):
            return node
        words = self._words if node.mark.line else {**self._words, "1": True, "0": False}
        word = (node.text or "").lower()
        return node.but(words[word]) if word in words else self.refuse(node, key, problems)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, REFERENCE]}


class Text(Kind):
    """A text, optionally of a form: a regular expression, or a test that returns what is wrong with it.

    What the test says must also be said as a JSON Schema, in `form`.
    """

    def __init__(
        self,
        expected: str = "text",
        pattern: str = "",
        test: Callable[[str], str] | None = None,
        empty: bool = True,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        self.expected = expected
        self.pattern: str = pattern
        self.test: Callable[[str], str] | None = test
        self.empty: bool = empty
        self.form: Mapping[str, Any] = form or {}

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        value = node.value
        if not isinstance(value, str):
            remedy = "put it in quotes" if isinstance(value, bool | int | float) else ""
            return self.refuse(node, key, problems, remedy)
        if (not value and not self.empty) or (self.pattern and not re.fullmatch(self.pattern, value)):
            return self.refuse(node, key, problems)
        if self.test and (fault := self.test(value)):
            problems.append(Problem(node.mark, f"{key}: {fault}"))
        return node

    def schema(self) -> dict[str, Any]:
        form = dict(self.form)
        if self.pattern:
            form["pattern"] = whole(self.pattern)
        if not self.empty:
            form["minLength"] = 1
        return {"allOf": [TEXT, {"anyOf": [form, REFERENCE]}]} if form else TEXT


class Choice(Kind):
    """One of some words."""

    def __init__(self, *choices: str) -> None:
        self.choices: tuple[str, ...] = choices
        self.expected = f"one of {', '.join(choices)}"
        self.metavar = f"[{'|'.join(choices)}]"

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        if node.value in self.choices and isinstance(node.value, str):
            return node
        if isinstance(node.value, str):
            problems.append(Problem(node.mark, f"{key}: {node.value!r} {one_of(node.value, self.choices)}"))
            return node
        return self.refuse(node, key, problems)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.choices)}, REFERENCE]}


class Number(Kind):
    """A number of seconds, not negative."""

    expected = "a number of seconds, 0 or more"
    metavar = "SECONDS"

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
            return self.refuse(node, key, problems)
        return node.but(float(value))

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [NUMBER, REFERENCE]}


class Size(Kind):
    """A number of bytes, as such or with a unit."""

    metavar = "SIZE"
    expected = "a size: bytes, or a number with kB, MB, GB, KiB, MiB or GiB"
    _units: Mapping[str, int] = {"": 1, "b": 1} | {
        f"{p}{i}b": b**n for n, p in enumerate("kmg", 1) for i, b in (("", 1000), ("i", 1024))
    }

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        value = node.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 1e6
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return node.but(value)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", value) if isinstance(value, str) else None
        if match is None or match[2].lower() not in self._units or len(match[1]) > 20:
            return self.refuse(node, key, problems)
        return node.but(int(float(match[1]) * self._units[match[2].lower()]))

    def schema(self) -> dict[str, Any]:
        text = whole(r"(?=[0-9.]{1,20}(?![0-9.]))[0-9]+(?:\.[0-9]+)? ?(?:[bB]|[kKmMgG][iI]?[bB])?")
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": text}, REFERENCE]}


class PathText(Kind):
    """A path; relative ones are relative to the file that says it (on the command line: to the working folder)."""

    expected = "a path"

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        value = node.value
        if not isinstance(value, str) or not value or "\0" in value:
            return self.refuse(node, key, problems)
        return node.but(self.absolute(value, node.mark))

    def schema(self) -> dict[str, Any]:
        return {"allOf": [TEXT, {"anyOf": [{"pattern": whole(r"[^\0]+")}, REFERENCE]}]}

    @staticmethod
    def absolute(path: str, mark: Mark) -> str:
        """`path` as seen from the file of `mark`; `..` and links are left as they are."""
        folder = os.path.dirname(mark.file) if mark.line else ""
        path = os.path.expanduser(path)
        return os.path.abspath(path) if not folder else os.path.abspath(os.path.join(folder, path))


class ListOf(Kind):
    """A list of one kind; with `single`, one item may stand without a list."""

    is_list = True

    def __init__(self, item: Kind, expected: str, *, single: bool = False) -> None:
        self.item: Kind = item
        self.expected = expected
        self.single: bool = single

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        items = node.value
        if self.single and isinstance(items, str):
            return node.but([self.item.check(node, key, problems)])
        if not isinstance(items, list):
            return self.refuse(node, key, problems)
        return node.but([self.item.check(item, f"{key}[{index}]", problems) for index, item in enumerate(items)])

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        array = {"type": "array", "items": item}
        return {"anyOf": [array, item]} if self.single else array


class Free(Kind):
    """A mapping whose content is not this package's business; its keys may be held to a form.

    What the test of a key says must also be said as a JSON Schema, by `form`.
    """

    expected = "a mapping"

    def __init__(
        self,
        expected: str = "a mapping",
        test_key: Callable[[str], str] | None = None,
        required: Sequence[str] = (),
        depth: int = 99,
        keeps_null: bool = False,
        form: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.expected = expected
        self.test_key: Callable[[str], str] | None = test_key
        self.required: Sequence[str] = required
        self.depth = depth
        self.keeps_null = keeps_null
        self.form: Callable[[], Mapping[str, Any]] = form

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        if not isinstance(node.value, dict):
            return self.refuse(node, key, problems)
        table: Table = node.value
        problems.extend(
            Problem(child.key_mark, f"{key}: {fault}")
            for name, child in table.items()
            if self.test_key and (fault := self.test_key(name))
        )
        problems.extend(
            Problem(node.mark, f"{key}: {name!r} is missing") for name in self.required if name not in table
        )
        return node

    def schema(self) -> dict[str, Any]:
        required = {"required": list(self.required)} if self.required else {}
        return {"type": "object", "additionalProperties": VALUE, **required, **self.form()}
