"""A process is after the kernel what it was before."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from async_kernel.runtime.patches import patched, signals_handled


def test_patches_are_undone_in_reverse_even_after_an_error() -> None:
    thing = SimpleNamespace(a=1)

    def fail_inside() -> None:
        with patched([(thing, "a", 2), (thing, "a", 3)]):
            assert thing.a == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert thing.a == 1


def test_a_missing_attribute_leaves_what_came_before_as_it_was() -> None:
    thing = SimpleNamespace(a=1)
    with pytest.raises(AttributeError), patched([(thing, "a", 2), (thing, "b", 3)]):
        pass
    assert thing.a == 1


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[int] = []
    with signals_handled({signal.SIGTERM: lambda number, _: seen.append(number)}):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before
