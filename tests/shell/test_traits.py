"""Traits that are set for every cell."""

from __future__ import annotations

from typing import Any

import pytest
from traitlets import All, HasTraits, Int, validate

from async_kernel.shell.traits import assign
from tests.shell.bench import Bench


class Counter(HasTraits):
    count = Int()
    checked = Int()

    @validate("checked")
    def _even(self, proposal: Any) -> int:
        return proposal["value"] // 2 * 2


def test_what_nobody_observes() -> None:
    """A cell would not be counted."""
    counter = Counter()
    assign(counter, "count", 3)
    assert counter.count == 3


@pytest.mark.parametrize("names", ["count", All])
def test_observers_are_told(names: Any) -> None:
    """An extension that watches the count would not hear of it any more."""
    counter, told = Counter(), []
    counter.observe(lambda change: told.append((change["old"], change["new"])), names)
    for number in (1, 1, 2):
        assign(counter, "count", number)
    assert told == [(0, 1), (1, 2)]


def test_validators_are_asked() -> None:
    """A class that checks a value would get another."""
    counter = Counter()
    assign(counter, "checked", 3)
    assert counter.checked == 2


@pytest.mark.anyio
async def test_extensions_hear_of_each_cell(bench: Bench) -> None:
    """What observes the shell would see nothing."""
    told: list[str] = []
    bench.shell.observe(lambda change: told.append(change["name"]), ["execution_count", "last_execution_result"])
    await bench.run("1")
    assert told == ["execution_count", "last_execution_result"]
