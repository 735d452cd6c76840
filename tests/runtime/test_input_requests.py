"""Which question an answer of the frontend is for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from async_kernel.protocol.wire import Wire
from async_kernel.runtime.input_requests import InputRequests
from async_kernel.runtime.messenger import Messenger
from async_kernel.scheduling.context import current_job
from async_kernel.transport.memory import MemoryTransport
from async_kernel.typing import Job, SocketID

TIMEOUT = 20


def make_job(msg_id: str, content: Any, parent: Any = None) -> Job[Any]:
    header = {"msg_id": msg_id, "msg_type": "x", "session": "s", "username": "", "date": "", "version": "5.5"}
    msg: Any = {"header": header, "parent_header": parent or {}, "metadata": {}, "content": content, "buffers": []}
    return {"msg": msg, "socket_id": SocketID.stdin, "ident": [b"client"], "received_time": 0.0}


class Asked:
    """Two cells of one client that ask at once; the headers of the questions, and what each was told."""

    def __init__(self) -> None:
        self.wire = Wire(b"")
        self.transport = MemoryTransport()
        self.transport.start(lambda *_: None)
        messenger = Messenger(self.wire, self.transport)
        self.inputs = InputRequests(messenger, allowed=lambda: True, flush=lambda: None)
        self.told: dict[str, str] = {}
        self.threads: list[threading.Thread] = []
        self.headers: list[Any] = []
        for name in ("first", "second"):
            self.threads.append(threading.Thread(target=self._ask, args=(name,), daemon=True))
            self.threads[-1].start()
            while len(self.transport.sent) < len(self.threads):
                self.threads[-1].join(0.001)
            _, message = self.wire.decode(self.transport.sent[-1][1])
            self.headers.append(message["header"])

    def _ask(self, name: str) -> None:
        current_job.set(make_job(name, {"allow_stdin": True}))
        self.told[name] = self.inputs.raw_input(name)

    def answer(self, value: str, parent: Any = None) -> None:
        self.inputs.receive(make_job("answer", {"value": value}, parent))

    def wait(self) -> dict[str, str]:
        for each in self.threads:
            each.join(TIMEOUT)
        return self.told


def test_an_answer_goes_to_the_question_that_it_names() -> None:
    """Of two cells that ask at once, each would get what was meant for the other."""
    asked = Asked()
    asked.answer("one", asked.headers[0])
    asked.answer("two", asked.headers[1])
    assert asked.wait() == {"first": "one", "second": "two"}


def test_an_answer_may_name_the_cell() -> None:
    asked = Asked()
    asked.answer("one", {"msg_id": "first"})
    asked.answer("two", {"msg_id": "second"})
    assert asked.wait() == {"first": "one", "second": "two"}


def test_two_answers_that_name_nothing_end_two_questions() -> None:
    """The second would go to the question that was answered already, and the other cell would wait for ever."""
    asked = Asked()
    asked.answer("two")
    asked.answer("one")
    assert asked.wait() == {"first": "one", "second": "two"}


def test_an_answer_to_a_question_that_was_withdrawn_is_dropped() -> None:
    asked = Asked()
    asked.answer("stale", {"msg_id": f"{asked.wire.session}_1_2"})
    asked.answer("two")
    asked.answer("one")
    assert asked.wait() == {"first": "one", "second": "two"}


@pytest.mark.parametrize("content", [None, [], "x", {}, {"value": 3}])
def test_an_answer_that_is_none_ends_the_question(content: Any) -> None:
    """An exception in the thread that receives would leave the cell waiting."""
    asked = Asked()
    for _ in range(2):
        asked.inputs.receive(make_job("answer", content))
    assert asked.wait() == {"first": "", "second": ""}
