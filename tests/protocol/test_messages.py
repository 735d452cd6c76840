"""The contents that every kernel says the same way."""

from __future__ import annotations

import pytest

from async_kernel.protocol.messages import (
    error_content,
    kernel_info_content,
    reply_type,
    status_content,
    topic,
)
from async_kernel.typing import MsgType


@pytest.mark.parametrize("msg_type", MsgType)
def test_requests_have_a_reply_and_comms_none(msg_type: MsgType) -> None:
    """A client would wait for ever for a reply, or get one that it does not know."""
    expected = msg_type.value.replace("_request", "_reply") if msg_type.value.endswith("_request") else None
    assert reply_type(msg_type) == reply_type(msg_type.value) == expected


def test_unknown_types_have_no_reply() -> None:
    """A kernel would answer what it does not understand."""
    assert reply_type("strange_request") is None


def test_error_content_says_name_value_and_traceback() -> None:
    """The frontend would show an error without its name or its text."""
    assert error_content(ValueError("no")) == {
        "status": "error",
        "ename": "ValueError",
        "evalue": "no",
        "traceback": ["ValueError: no"],
    }
    assert error_content(KeyboardInterrupt(), ["a", "b"])["traceback"] == ["a", "b"]


def test_exception_that_can_not_be_said_is_reported_all_the_same() -> None:
    """A failing `__str__` of a user's exception would leave the request without a reply."""

    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_content(BadError())["evalue"] == "<str(BadError) raised RuntimeError>"


def test_kernel_info_names_what_clients_rely_on() -> None:
    """Frontends choose highlighter, exporter and features by these fields."""
    content = kernel_info_content(
        implementation_version="1", banner="b", debugger=True, supported_features=["kernel subshells"]
    )
    assert content["protocol_version"] == "5.5"
    assert content["implementation"] == "async_kernel"
    assert content["language_info"]["name"] == "python"
    assert content["language_info"]["file_extension"] == ".py"
    assert content["debugger"] is True
    assert content["supported_features"] == ["kernel subshells"]
    assert content["status"] == "ok"


def test_status_and_topic() -> None:
    """Clients that subscribe by topic would miss the statuses."""
    assert status_content("busy") == {"execution_state": "busy"}
    assert topic("status") == b"kernel.status"
