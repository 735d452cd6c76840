"""The scheduling benchmark runs on every loop, and a wrong result stops it."""

from __future__ import annotations

import pytest

from benchmarks import scheduling


@pytest.mark.slow
@pytest.mark.parametrize("loop", scheduling.LOOPS)
def test_a_short_contest(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "CALLS", 5)
    monkeypatch.setattr(scheduling, "FLOOD", 20)
    rows = scheduling.run_on(loop, rounds=1)
    assert {row[2] for row in rows} >= {"Caller.call_soon", "Caller.to_thread", "Caller.queue_call (in order)"}
    for group in {row[1] for row in rows}:
        # The fastest of the others is what the rest is compared with.
        assert "1.00" in {row[-1] for row in rows if row[1] == group}
    assert len(scheduling.table(rows).splitlines()) == len(rows) + 2


def test_a_wrong_result_is_an_error() -> None:
    way = scheduling.Way("lazy", lambda: None)
    with pytest.raises(ValueError, match="calls: lazy: expected 42, got None"):
        scheduling.measure(scheduling.Group("calls", [way], calls=1), {})
