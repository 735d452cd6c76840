"""The stress suite in a short form: what it checks, and how to run more of it, is in docs/stress.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.drive import play
from tests.stress.endurance import BOUNDS, Point, Verdict, live
from tests.stress.hostile import besiege
from tests.stress.judge import Judge
from tests.stress.link import BrokenError, Received
from tests.stress.script import Script, Step

slow = pytest.mark.slow


def test_a_script_is_its_seed() -> None:
    """A failure could not be played again."""
    assert [*Script(3, 2000)] == [*Script(3, 2000)]
    assert [*Script(3, 50)] != [*Script(4, 50)]


class Heard:
    """A judge that has heard of one request."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.header = {"msg_id": "1"}
        code = {"code": "print(1)"}
        self.judge.sent("1", Step(0, 0, "execute_request", code, outputs=(("stdout", "1\n"),), shown=1), self.header)

    def say(self, msg_type: str, **content: str) -> None:
        self.judge.published(Received(msg_type, self.header, content, {}))

    def reply(self, client: int = 0) -> None:
        self.judge.replied(client, "shell", Received("execute_reply", self.header, {"status": "ok"}, {}))


def test_the_judge_lets_pass_what_is_right() -> None:
    heard = Heard()
    heard.say("status", execution_state="busy")
    heard.say("execute_input")
    heard.say("stream", name="stdout", text="1\n")
    heard.reply()
    heard.say("status", execution_state="idle")
    assert heard.judge.open == 0
    assert heard.judge.finish() == {"aborted": 0, "interrupted": 0, "deleted": 0}


@pytest.mark.parametrize("fault", ["late", "two replies", "no busy", "two idle", "wrong client", "text", "nobody's"])
def test_the_judge_finds_what_is_wrong(fault: str) -> None:
    """A suite that finds nothing says nothing."""
    heard = Heard()

    def all_of_it() -> None:
        if fault != "no busy":
            heard.say("status", execution_state="busy")
        heard.say("execute_input")
        heard.say("stream", name="stdout", text="2\n" if fault == "text" else "1\n")
        heard.reply(client=1 if fault == "wrong client" else 0)
        if fault == "two replies":
            heard.reply()
        heard.say("status", execution_state="idle")
        if fault == "two idle":
            heard.say("status", execution_state="idle")
        if fault == "late":
            heard.say("stream", name="stdout", text="late")
        if fault == "nobody's":
            heard.header = {"msg_id": "2"}
            heard.say("stream", name="stdout", text="x")
        heard.judge.finish()

    with pytest.raises(BrokenError):
        all_of_it()


@slow
@pytest.mark.parametrize(
    ("profile", "options"),
    [("default", ()), ("trio", ("--set", "transport=ipc")), ("default", ("--set", "encryption=required"))],
    ids=["asyncio-tcp", "trio-ipc", "asyncio-curve"],
)
def test_every_promise_is_kept(profile: str, options: tuple[str, ...], tmp_path: Path) -> None:
    """A lost, doubled or misplaced message is the cell that spins for ever."""
    play(7, 400, profile, options, tmp_path)


@slow
@pytest.mark.parametrize("profile", ["default", "trio"])
def test_hostile_messages_do_no_harm(profile: str, tmp_path: Path) -> None:
    """One bad message would take the kernel, or its memory, with it."""
    besiege(7, 1000, profile, (), tmp_path)


def test_a_curve_that_grows_is_not_flat() -> None:
    """A leak of a few hundred bytes a cell would pass."""
    flat = [Point(50.0 + (n % 3) / 10, 12 + n % 2, 70, 1000 + n % 9) for n in range(50)]
    assert Verdict.of(flat).flat(BOUNDS)
    assert not Verdict.of([each._replace(resident=50 + n / 15) for n, each in enumerate(flat)]).flat(BOUNDS)
    assert not Verdict.of([each._replace(threads=10 + n // 10) for n, each in enumerate(flat)]).flat(BOUNDS)
    assert not Verdict.of([each._replace(descriptors=70 + n // 20) for n, each in enumerate(flat)]).flat(BOUNDS)
    assert not Verdict.of([each._replace(objects=100 * n) for n, each in enumerate(flat)]).flat(BOUNDS)


@slow
def test_a_long_life(tmp_path: Path) -> None:
    """A kernel that runs for weeks would fill the memory, or run out of threads."""
    said: list[str] = []
    assert live("trio", 0.002, 0, tmp_path, said.append), said
