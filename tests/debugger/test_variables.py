"""Variables while nothing is paused."""

from __future__ import annotations

from typing import Any

import pytest

from async_kernel.debugger.variables import MOST, Variables, assignment, rich_expression
from async_kernel.errors import ClientError


class Slots:
    __slots__ = ("given", "missing")

    def __init__(self) -> None:
        self.given = [1]


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        return "x" * 5000


def inspect(**names: Any) -> tuple[Variables, dict[str, dict[str, Any]]]:
    variables = Variables(lambda: names, lambda: {"shown": 1})
    return variables, {each["name"]: each for each in variables.inspect()}


def test_hidden_names() -> None:
    """The panel would be full of what IPython has put there; a name that the user took over would be missing."""
    assert sorted(inspect(shown=2, _private=1, name=3)[1]) == ["name", "shown"]
    assert sorted(inspect(shown=1, name=3)[1]) == ["name"]


def test_children() -> None:
    """What is in a variable could not be opened, or a property of the user's would run."""
    variables, top = inspect(d={"a": 1, (1,): 2}, s=Slots(), t=(1, [2]), e=[], f=len, text="x")
    assert [top[name]["variablesReference"] for name in ("e", "f", "text")] == [0, 0, 0]

    def children(name: str, **page: int) -> list[tuple[str, str, str | None]]:
        found = variables.children(top[name]["variablesReference"], **page)
        return [(each["name"], each["value"], each.get("evaluateName")) for each in found]

    assert children("d") == [("'a'", "1", "d['a']"), ("(1,)", "2", None)]
    assert children("s") == [("given", "[1]", "s.given")]
    assert children("t", start=1) == [("1", "[2]", "t[1]")]
    assert children("t", count=1) == [("0", "1", "t[0]")]


def test_big_and_hostile_values() -> None:
    """One variable would make the panel slow, or empty."""
    variables, top = inspect(big=list(range(10**6)), bad=Hostile())
    assert len(top["big"]["value"]) < 200
    assert len(top["bad"]["value"]) < 1100
    assert len(variables.children(top["big"]["variablesReference"])) == MOST
    last = variables.children(top["big"]["variablesReference"], 10**6 - 1, 5)
    assert [each["value"] for each in last] == ["999999"]


def test_references_are_of_the_last_inspection() -> None:
    """Values would be kept alive by a panel that has forgotten them."""
    variables, top = inspect(d={"a": 1})
    variables.inspect()
    variables.inspect()
    assert variables.children(top["d"]["variablesReference"])
    with pytest.raises(ClientError, match="there is no variablesReference 5"):
        variables.children(5)


def test_code_for_frames() -> None:
    """A name from a client would become a statement."""
    compile(rich_expression("a + b"), "x", "eval")
    compile(assignment("x", "a + b"), "x", "eval")
    for name in ("x; y", "if", "", "a.b"):
        with pytest.raises(ClientError, match="expected the name of a variable"):
            assignment(name, "a")
