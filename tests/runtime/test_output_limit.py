"""What is cut of a cell's output, and what the cell says of it."""

from __future__ import annotations

from typing import Any

import pytest

from async_kernel.runtime import output_limit
from async_kernel.runtime.output_limit import OutputLimit

CELL = {"header": {"msg_id": "1"}}
OTHER = {"header": {"msg_id": "2"}}


def stream(text: str) -> dict[str, Any]:
    return {"name": "stdout", "text": text}


def told(messages: Any) -> list[tuple[str, str]]:
    return [(kind, content["data"]["text/plain"]) for kind, content in messages]


def notice(cut: str, limit: str) -> str:
    return f"[async_kernel: output cut: {cut} bytes are missing here; output_limit is {limit} bytes]"


def test_text_is_cut_at_the_limit_and_said_once() -> None:
    """One notice with the key's name, whose number grows; another cell has room of its own."""
    limit = OutputLimit(10)
    assert limit.admit("stream", stream("1234567"), CELL) == (stream("1234567"), ())
    shown, notices = limit.admit("stream", stream("89abcd"), CELL)
    assert shown == stream("89a")
    assert told(notices) == [("display_data", notice("3", "10"))]
    assert limit.admit("stream", stream("xyz"), CELL) == (None, ())
    assert limit.admit("stream", stream("1234567"), OTHER) == (stream("1234567"), ())
    assert told(limit.settle(CELL)) == [("update_display_data", notice("6", "10"))]
    assert limit.settle(CELL) == limit.settle(OTHER) == limit.settle({"header": {"msg_id": "3"}}) == ()
    later = limit.admit("stream", stream("x" * 7), CELL)[1]
    assert told(later) == [("update_display_data", notice("13", "10"))]
    assert later[0][1]["transient"] == notices[0][1]["transient"]


def test_no_half_character() -> None:
    shown, notices = OutputLimit(4).admit("stream", stream("aé€"), CELL)
    assert shown == stream("aé")
    assert told(notices) == [("display_data", notice("3", "4"))]


def test_what_can_be_read_of_a_display_is_kept() -> None:
    """A part of a picture shows nothing; its text does."""
    limit = OutputLimit(10)
    data = {"image/png": "x" * 100, "text/plain": "<Figure>", "text/html": "ab"}
    content = {"data": data, "metadata": {"image/png": {"width": 1}, "all": 1}, "execution_count": 3}
    shown, notices = limit.admit("execute_result", content, CELL)
    kept = {"text/plain": "<Figure>", "text/html": "ab"}
    assert shown == {"data": kept, "metadata": {"all": 1}, "execution_count": 3}
    assert told(notices) == [("display_data", notice("100", "10"))]
    assert limit.admit("display_data", {"data": {"text/plain": "x"}, "metadata": {}}, CELL)[0] is None
    assert OutputLimit(3).admit("display_data", {"data": {"text/plain": "12345"}, "metadata": {}}, CELL)[0] == {
        "data": {"text/plain": "123"},
        "metadata": {},
    }


def test_buffers_count() -> None:
    limit = OutputLimit(10)
    assert limit.admit("display_data", {"data": {"text/plain": "12"}}, CELL, 8)[1] == ()
    assert limit.admit("stream", stream("x"), CELL)[0] is None
    shown, notices = OutputLimit(10).admit("display_data", {"data": {"a/b": b"12"}}, OTHER, 9)
    assert (shown, told(notices)) == (None, [("display_data", notice("11", "10"))])


@pytest.mark.parametrize("kind", ["error", "status", "comm_msg", "execute_input", "clear_output"])
def test_what_is_no_output_is_never_cut(kind: str) -> None:
    """Why a cell has failed is what its reader needs most."""
    content = {"evalue": "x" * 100}
    assert OutputLimit(10).admit(kind, content, CELL) == (content, ())


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel runs for weeks; the cell that prints in the background for all of them is not forgotten."""
    monkeypatch.setattr(output_limit, "REMEMBERED", 2)
    limit = OutputLimit(4)
    for number in range(9):
        limit.admit("stream", stream("x"), {"header": {"msg_id": f"n{number}"}})
        shown = limit.admit("stream", stream("x"), CELL)[0]
        assert (shown is None) == (number > 3)
    assert len(limit._cells) == 2
