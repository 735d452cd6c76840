"""In whose name something is published."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from async_kernel.runtime.publishing import NOBODY, Publishing, ThreadOutput
from async_kernel.scheduling.context import current_job
from async_kernel.typing import Job, SocketID


class Sent:
    """A messenger that remembers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []

    def publish(self, msg_type: str, content: Any, *, parent: Any = None, **_: Any) -> None:
        self.messages.append((msg_type, parent))


def make_job(name: str) -> Job[Any]:
    msg: Any = {"header": {"msg_id": name}, "parent_header": {}, "metadata": {}, "content": {}, "buffers": []}
    return {"msg": msg, "socket_id": SocketID.shell, "ident": [], "received_time": 0.0}


CREATOR, LATEST = make_job("creator"), make_job("latest")


def parent_in_thread(publish: Publishing) -> Any:
    """The parent of what a thread publishes that the creator has started."""
    seen: list[Any] = []

    def run() -> None:
        current_job.set(CREATOR)
        seen.append(publish.parent())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return seen[0]


@pytest.mark.parametrize(("policy", "expected"), [("creator", CREATOR), ("latest", LATEST), ("log", NOBODY)])
def test_policy_says_whose_a_thread_is(policy: ThreadOutput, expected: Job[Any]) -> None:
    publish = Publishing(Sent(), policy)  # pyright: ignore[reportArgumentType]
    publish.latest = LATEST
    assert parent_in_thread(publish) is expected
    assert publish.of_thread(CREATOR) is (None if expected is NOBODY else expected)


def test_what_no_cell_gets_is_written_to_the_real_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """But the messages of widgets: the frontend needs them."""
    sent = Sent()
    publish = Publishing(sent)  # pyright: ignore[reportArgumentType]
    publish.latest = LATEST
    with pytest.MonkeyPatch.context() as patch, publish.output_to(None):
        patch.setattr(sys, "__stderr__", sys.stderr)
        publish("stream", {"name": "stdout", "text": "text\n"})
        publish("display_data", {"data": {"text/plain": "display"}})
        publish("error", {"traceback": ["trace", "back"]})
        publish("clear_output", {"wait": False})
        publish("comm_msg", {"data": {}})
    assert capsys.readouterr().err == "text\ndisplay\ntrace\nback\n"
    assert sent.messages == [("comm_msg", LATEST)]


def test_output_to_ends_where_it_began() -> None:
    publish = Publishing(Sent())  # pyright: ignore[reportArgumentType]
    publish.latest = LATEST
    with publish.output_to(CREATOR):
        assert publish.parent() is CREATOR
        assert publish.request() is LATEST
        with publish.output_to(CREATOR["msg"]):
            inner = publish.parent()
            assert inner is not None
            assert inner["msg"] is CREATOR["msg"]
        assert publish.parent() is CREATOR
    assert publish.parent() is LATEST


@pytest.mark.parametrize("parent", [3, "x", {}, []])
def test_what_is_no_parent_is_refused(parent: Any) -> None:
    publish = Publishing(Sent())  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="expected a message, a job or None"), publish.output_to(parent):
        pass
