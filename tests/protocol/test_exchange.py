"""The life of one request: one busy, one idle, one reply, whatever the handler does."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from async_kernel.errors import ContentError, KernelInterruptError
from async_kernel.protocol.exchange import MOVES, Exchange, IllegalMoveError, NoReplyError, State
from async_kernel.protocol.wire import Wire
from async_kernel.typing import Job, Message, MsgType, SocketID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from async_kernel.typing import Content


class Log:
    """What an exchange sends, in order."""

    def __init__(self, fail_reply: Exception | None = None) -> None:
        self.sent: list[Any] = []
        self.extras: list[Any] = []
        self.fail_reply = fail_reply

    def status(self, state: str) -> None:
        self.sent.append(state)

    def reply(self, content: Content, metadata: Content | bytes | None, buffers: Sequence[Any] | None) -> None:
        if self.fail_reply is not None:
            error, self.fail_reply = self.fail_reply, None
            raise error
        self.sent.append(content)
        self.extras.append((metadata, buffers))

    def exchange(self, msg_type: str = "execute_request") -> Exchange:
        msg = Message(header=Wire(b"").header(msg_type), parent_header={}, metadata={}, content={}, buffers=[])  # pyright: ignore[reportArgumentType]
        job = Job(msg=msg, socket_id=SocketID.shell, ident=[], received_time=0.0)
        return Exchange(job, status=self.status, reply=self.reply)


def error(ename: str, evalue: str) -> dict[str, Any]:
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}".strip()]}


@pytest.fixture
def log() -> Log:
    return Log()


def test_reply_comes_between_busy_and_idle(log: Log) -> None:
    """A frontend would take the cell for finished before its reply."""
    with log.exchange() as exchange:
        exchange.reply({"x": 1}, {"m": 1}, [b"b"])
    assert log.sent == ["busy", {"status": "ok", "x": 1}, "idle"]
    assert log.extras == [({"m": 1}, [b"b"])]


def test_status_of_the_handler_is_kept_and_its_content_unchanged(log: Log) -> None:
    """A handler that says error or aborted would be reported as ok."""
    content: dict[str, Any] = {}
    with log.exchange() as exchange:
        exchange.reply({"status": "aborted"})
    with log.exchange() as exchange:
        exchange.reply(content)
    assert [said["status"] for said in log.sent if isinstance(said, dict)] == ["aborted", "ok"]
    assert content == {}


@pytest.mark.parametrize(
    "exc", [ValueError("no"), KernelInterruptError(), KeyboardInterrupt(), GeneratorExit(), SystemExit(3)]
)
def test_exception_in_flight_becomes_the_reply_and_goes_on(log: Log, exc: BaseException) -> None:
    """A client would wait for ever, or the kernel would not learn of its own failure."""
    with pytest.raises(type(exc)) as caught, log.exchange():
        raise exc
    assert caught.value is exc
    assert [log.sent[0], log.sent[2]] == ["busy", "idle"]
    assert log.sent[1]["status"] == "error"
    assert log.sent[1]["ename"] == type(exc).__name__
    assert len(log.sent) == 3


def test_no_reply_becomes_an_error_reply(log: Log) -> None:
    """A handler that forgets its reply would hang the client."""
    with log.exchange():
        pass
    assert log.sent == ["busy", error("NoReplyError", "execute_request: the handler returned no reply"), "idle"]


def test_none_is_no_reply(log: Log) -> None:
    """A handler of a subclass that returns None would send an empty success."""
    with pytest.raises(NoReplyError), log.exchange() as exchange:
        exchange.reply(None)
    assert log.sent[1]["ename"] == "NoReplyError"


def test_fail_replies_with_the_field_at_fault(log: Log) -> None:
    """The author of a client would not learn which field is wrong."""
    with log.exchange("complete_request") as exchange:
        exchange.fail(ContentError("complete_request", "cursor_pos", "a number", "a"))
    assert log.sent == [
        "busy",
        error("ContentError", "complete_request: cursor_pos: expected a number, got 'a'"),
        "idle",
    ]
    with log.exchange() as exchange:
        exchange.fail(ValueError("x"), ["line 1", "line 2"])
    assert log.sent[4]["traceback"] == ["line 1", "line 2"]


def test_failure_after_the_reply_sends_no_second_one(log: Log) -> None:
    """A client would get two replies to one request."""

    def handler() -> None:
        with log.exchange() as exchange:
            exchange.reply({})
            raise ValueError

    with pytest.raises(ValueError):
        handler()
    assert log.sent == ["busy", {"status": "ok"}, "idle"]


def test_second_reply_is_illegal(log: Log) -> None:
    """A client would get two replies to one request."""

    def handler() -> None:
        with log.exchange() as exchange:
            exchange.reply({})
            exchange.reply({})

    with pytest.raises(IllegalMoveError, match="execute_request: reply is not a legal move in state REPLIED"):
        handler()
    assert log.sent == ["busy", {"status": "ok"}, "idle"]


def test_reply_that_can_not_be_sent_becomes_an_error_reply() -> None:
    """A reply that JSON can't say would leave the client without one."""
    log = Log(fail_reply=TypeError("content['x']: an object of type Foo can't be said in JSON"))
    with pytest.raises(TypeError), log.exchange() as exchange:
        exchange.reply({"x": object()})
    assert log.sent == ["busy", error("TypeError", "content['x']: an object of type Foo can't be said in JSON"), "idle"]


def test_idle_comes_even_where_no_reply_can_be_sent() -> None:
    """A frontend would show the kernel as busy for ever."""
    log = Log(fail_reply=OSError("closed"))
    with pytest.raises(OSError, match="closed"), log.exchange():
        pass
    assert log.sent == ["busy", "idle"]


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close", "strange_request"])
def test_what_has_no_reply_gets_none(log: Log, msg_type: str) -> None:
    """Comms and unknown messages would be answered with messages that no client knows."""
    with log.exchange(msg_type) as exchange:
        exchange.fail(ValueError())
    with pytest.raises(ValueError), log.exchange(msg_type):
        raise ValueError
    with pytest.raises(IllegalMoveError), log.exchange(msg_type) as exchange:
        exchange.reply({})
    assert log.sent == ["busy", "idle"] * 3


def test_an_exchange_is_used_once(log: Log) -> None:
    """One request would get two busy and two idle."""
    exchange = log.exchange()
    with pytest.raises(IllegalMoveError):
        exchange.reply({})
    with exchange:
        exchange.reply({})
    with pytest.raises(IllegalMoveError), exchange:
        pass
    with pytest.raises(IllegalMoveError):
        exchange.reply({})
    assert log.sent == ["busy", {"status": "ok"}, "idle"]


def test_the_table_leads_from_received_to_idle() -> None:
    """A state without a way out, or with two ways back, would break the promise of one busy and one idle."""
    assert {state for state, _ in MOVES} == {*State} - {State.IDLE}
    assert all(after.value > before.value for (before, _), after in MOVES.items())


@pytest.mark.parametrize("steps", list(itertools.product(["reply", "fail", "raise"], repeat=2)), ids="-".join)
@pytest.mark.parametrize("msg_type", [MsgType.execute_request, MsgType.comm_msg])
def test_any_handler_gets_one_busy_one_idle_and_its_reply(log: Log, msg_type: MsgType, steps: tuple[str, ...]) -> None:
    """Whatever the handler does, in whatever order: the client's count of messages must come out."""
    exchange = log.exchange(msg_type)
    try:
        with exchange:
            for step in steps:
                if step == "reply":
                    exchange.reply({})
                elif step == "fail":
                    exchange.fail(KeyError())
                else:
                    raise KeyError
    except (KeyError, IllegalMoveError):
        assert exchange.state is State.IDLE
    kinds = re.sub(r"\{.*?\}", "reply", " ".join("{}" if isinstance(said, dict) else said for said in log.sent))
    assert kinds == ("busy reply idle" if msg_type is MsgType.execute_request else "busy idle")
