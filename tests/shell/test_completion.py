"""Completion without jedi: only where it can't know more, and then with the same answers."""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest

from async_kernel.shell import lookup
from async_kernel.shell.completion import MAX_SIGNATURES, describe, live_name
from async_kernel.typing import Content
from tests.shell.bench import Bench

NAMES = {"os", "print", "property", "thing", "import", "value"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pri", "pri"),
        ("x = pri", "pri"),
        ("f(pri", "pri"),
        ("os.pa", "os.pa"),
        ("os.path.jo", "os.path.jo"),
        ("os.", "os."),
        ("x = [os.getcwd(), os.pa", "os.pa"),
        ("value = 1\nval", "val"),
        ("print(os.sep)\nos.pa", "os.pa"),
    ],
)
def test_left_to_the_objects(code: str, expected: str) -> None:
    """Tab would take a tenth of a second."""
    assert live_name(code, len(code), NAMES) == expected


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x = ",
        "private = 1\npri",  # a name that the cell gives
        "def f(private):\n    pri",
        "os = thing\nos.pa",  # a name that the cell gives another meaning
        "for os in thing:\n    os.pa",
        "def f(os):\n    os.pa",
        "unknown.pa",
        "f(1).pa",
        "thing[0].pa",
        "'text'.jo",
        "'os.pa",
        "# os.pa",
        "import o",
        "from os import pa",
        "import os as o",
        "def pri",
        "lambda value: val",
        "%time os.pa",
        "!ls os.pa",
        "'''\nos.pa",
        "os.\\\npa",
        "(os.\n  pa",
    ],
)
def test_left_to_jedi(code: str) -> None:
    """Completion would offer what the cell means by something else, or miss what only the cell knows."""
    assert live_name(code, len(code), NAMES) == ""


def test_in_the_middle_of_a_cell() -> None:
    """What is behind the cursor counts too: it may bind the name before it runs again."""
    assert live_name("os.pa()\nthing", 5, NAMES) == "os.pa"
    assert live_name("os.pa\nos = thing", 5, NAMES) == ""


class Class:
    attribute = 1

    def method(self, a: int, *rest: str, b: object = os, c: int = 3) -> None: ...

    @classmethod
    def of_class(cls, a: int) -> None: ...

    @staticmethod
    def static(a: int) -> None: ...

    @property
    def computed(self) -> int:
        raise AssertionError("completion runs nobody's code")


def test_types_and_signatures() -> None:
    """A frontend shows what each one is, as with jedi."""
    thing = Class()
    of_thing = describe("thing.", ["attribute", "method", "of_class", "static", "computed"], {"thing": thing})
    assert of_thing == {
        "attribute": ("instance", ""),
        "method": ("function", "(a, *rest, b=Ellipsis, c=3)"),
        "of_class": ("function", "(a)"),
        "static": ("function", "(a)"),
        "computed": ("property", ""),
    }
    assert describe("Class.m", ["method"], {"Class": Class})["method"][1].startswith("(self, a")
    assert describe("x", ["os", "Class", "thing", "while"], {"os": os, "Class": Class, "thing": thing}) == {
        "os": ("module", ""),
        "Class": ("class", ""),
        "thing": ("instance", ""),
        "while": ("keyword", ""),
    }
    assert describe("len", ["len"], {})["len"] == ("function", "(obj, /)")
    assert describe("gone.a", ["a"], {}) == {"a": ("instance", "")}


def test_many_are_shown_without_signatures() -> None:
    """The whole of a large package in one list would take its time."""
    owner = type("Many", (), {f"f{n}": lambda self: None for n in range(MAX_SIGNATURES + 1)})
    assert {signature for _, signature in describe("m.f", dir(owner), {"m": owner}).values()} == {""}


def answers(reply: Content) -> tuple[Any, ...]:
    found = reply["metadata"]["_jupyter_types_experimental"]
    return reply["cursor_start"], reply["cursor_end"], sorted((each["text"], each["type"]) for each in found)


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_same_as_jedi(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completion would depend on whether anything else is in the cell."""
    await bench.run("import os, json\nimport os.path as p\nclass A:\n    x = 1\n    def meth(self): ...\na = A()")
    codes = [
        "pri",
        "prin",
        "x = zi",
        "os.path.jo",
        "os.getc",
        "json.du",
        "a.me",
        "A.me",
        "p.spli",
        "a.x",
        "tim",
        "whil",
    ]
    quick = {code: answers(await bench.shell.do_complete_request(code)) for code in codes}
    monkeypatch.setattr(lookup, "live_name", lambda *_: "")
    for code in codes:
        start, end, matches = answers(await bench.shell.do_complete_request(code))
        # IPython stops asking jedi for types when that takes long, as it does on a busy machine.
        types = dict(quick[code][2])
        assert quick[code] == (start, end, [(m, types.get(m) if t == "<unknown>" else t) for m, t in matches]), code


@pytest.mark.anyio
async def test_jedi_is_not_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Tab of a session would take most of a second."""
    completer = bench.shell.Completer
    monkeypatch.setattr(completer, "_jedi_matches", functools.partial(pytest.fail, "jedi was asked"))
    assert "print" in (await bench.shell.do_complete_request("prin"))["matches"]
    assert completer.use_jedi
