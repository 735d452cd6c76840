"""A debugger's session over the real control channel, on both backends; the tests of a module share the kernels."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow

Body = dict[str, Any]


class Session:
    """A debugger's client."""

    def __init__(self, kernel: RunningKernel) -> None:
        self.kernel = kernel
        self.client = kernel.client
        self._numbers = itertools.count(1)

    def control(self, msg_type: str, **content: Any) -> Body:
        """A request on control; the content of its reply."""
        message = self.client.session.msg(msg_type, content)
        self.client.control_channel.send(message)
        return self.kernel.control_reply(message["header"]["msg_id"])["content"]

    def ask(self, command: str, **arguments: Any) -> Body:
        """A debug request; its response, whatever it says."""
        number = next(self._numbers)
        content = {"type": "request", "seq": number, "command": command, "arguments": arguments}
        response = self.control("debug_request", **content)
        assert response["status"] == "ok" or "type" in response, response
        assert [response[key] for key in ("type", "request_seq", "command")] == ["response", number, command]
        assert response["success"] is (response["status"] == "ok")
        return response

    def do(self, command: str, **arguments: Any) -> Body:
        """A debug request that succeeds; the body of its response."""
        response = self.ask(command, **arguments)
        assert response["success"], response["message"]
        return response["body"]

    def refused(self, command: str, **arguments: Any) -> str:
        """A debug request that does not; why."""
        response = self.ask(command, **arguments)
        assert not response["success"]
        assert response["message"] == response["evalue"]
        return response["message"]

    def forget(self) -> None:
        """Read away what earlier tests have left."""
        with suppress(Empty):
            while True:
                self.client.get_iopub_msg(timeout=0)

    def attach(self) -> None:
        self.do("initialize", clientID="test", adapterID="")
        self.do("attach")

    def execute(self, code: str, subshell: str | None = None, **content: Any) -> str:
        """Send a cell; its id."""
        message = self.client.session.msg("execute_request", {"code": code, **content})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def set(self, code: str, *breakpoints: int | Body) -> str:
        """Set the breakpoints of a cell; its file."""
        path: str = self.do("dumpCell", code=code)["sourcePath"]
        lines = [{"line": each} if isinstance(each, int) else each for each in breakpoints]
        answer = self.do("setBreakpoints", source={"path": path}, breakpoints=lines)
        assert all(each["verified"] for each in answer["breakpoints"])
        return path

    def event(self, name: str) -> Body:
        """Wait for an event."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                assert message["parent_header"]["msg_type"] == "debug_request"
                return message["content"].get("body") or {}

    def stopped(self, reason: str = "breakpoint") -> tuple[int, list[Body]]:
        """Wait until a thread is paused: its number, and its frames."""
        body = self.event("stopped")
        assert body["reason"] == reason
        assert self.do("debugInfo")["stoppedThreads"] == [body["threadId"]]
        frames = self.do("stackTrace", threadId=body["threadId"])["stackFrames"]
        return body["threadId"], frames

    def value(self, expression: str, frame: Body) -> str:
        return self.do("evaluate", expression=expression, frameId=frame["id"])["result"]

    def finish(self, msg_id: str, thread: int) -> tuple[Body, str]:
        """Let a cell run to its end; its reply, and what it has printed from here on."""
        self.do("continue", threadId=thread)
        reply, published = self.kernel.collect(msg_id)
        return reply["content"], text_of(published)


def names(frames: list[Body]) -> list[tuple[str, int]]:
    return [(frame["name"], frame["line"]) for frame in frames]


@pytest.fixture(scope="module", params=["default", "trio"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A kernel of each backend with a client; threads of all kinds have run before the debugger is attached."""
    path = tmp_path_factory.mktemp("kernel") / "k.json"
    process = spawn(path, "--profile", request.param)
    wait_for_file(path, process)
    kernel = RunningKernel(process, path)
    kernel.run("# thread\n1")
    yield Session(kernel)
    kernel.stop()


@pytest.fixture
def session(shared: Session) -> Iterator[Session]:
    """An attached debugger without breakpoints."""
    shared.forget()
    shared.attach()
    yield shared
    if shared.do("debugInfo")["isStarted"]:
        shared.do("disconnect")


CODE = """{mode}
import anyio
async def outer(a):
    await anyio.sleep(0)
    return inner(a)
def inner(a):
    b = [a, a + 1]
    return b
print(await outer(1))"""


@pytest.mark.parametrize("mode", ["# queue", "# task", "# thread", "subshell"])
def test_a_cell_stops_and_goes_on(session: Session, mode: str) -> None:
    """In some run mode, or in a thread that was there before, a breakpoint would be passed over."""
    subshell = None
    if mode == "subshell":
        subshell = session.control("create_subshell_request")["subshell_id"]
        session.kernel.collect(session.execute("1", subshell))
    code = CODE.format(mode=f"# {session.kernel.process.pid}" if subshell else mode)
    path = session.set(code, 8)
    msg_id = session.execute(code, subshell)
    thread, frames = session.stopped()
    assert names(frames) == [("inner", 8), ("outer", 5), ("<module>", 9)]
    assert {frame["source"]["path"] for frame in frames} == {path}
    page = session.do("stackTrace", threadId=thread, startFrame=1, levels=1)
    assert (names(page["stackFrames"]), page["totalFrames"]) == ([("outer", 5)], 3)
    assert session.control("kernel_info_request")["status"] == "ok"  # It answers while paused.
    shown = [each["name"] for each in session.do("threads")["threads"]]
    assert "MainThread" in shown
    assert not [name for name in shown if name in ("transport", "heartbeat", "Control", "History")]
    assert [name for name in shown if "worker" in name] == (["Shell-worker-1"] if mode == "# thread" else [])
    scope = session.do("scopes", frameId=frames[0]["id"])["scopes"][0]
    variables = session.do("variables", variablesReference=scope["variablesReference"])["variables"]
    assert {each["name"]: each["value"] for each in variables}.items() >= {"a": "1", "b": "[1, 2]"}.items()
    reply, text = session.finish(msg_id, thread)
    assert (reply["status"], text) == ("ok", "[1, 2]\n")
    assert session.do("debugInfo")["stoppedThreads"] == []
    if subshell:
        session.control("delete_subshell_request", subshell_id=subshell)


def test_steps(session: Session) -> None:
    """One could not follow what a cell does; or would get lost in the kernel at its end."""
    code = "def f(a):\n    b = a\n    return b\nx = 0\nx = f(1)\nx = f(2)\nx = 3"
    session.set(code, 5)
    msg_id = session.execute(code)
    thread, frames = session.stopped()
    for command, place in (("next", ("<module>", 6)), ("stepIn", ("f", 2)), ("stepOut", ("<module>", 6))):
        session.do(command, threadId=thread)
        thread, frames = session.stopped("step")
        assert names(frames)[0] == place
    session.do("next", threadId=thread)
    thread, frames = session.stopped("step")
    session.do("next", threadId=thread)
    assert session.kernel.collect(msg_id)[0]["content"]["status"] == "ok"


def test_conditions_hit_counts_and_logpoints(session: Session) -> None:
    """It would stop a thousand times in a loop."""
    code = "for i in range(5):\n    x = i\n    y = i\n    z = i\nprint('end')"
    session.set(code, {"line": 2, "condition": "i == 1"}, {"line": 3, "hitCondition": "4"})
    path = session.set(
        code,
        {"line": 2, "condition": "i == 1"},
        {"line": 3, "hitCondition": "4"},
        {"line": 4, "logMessage": "z is {z} of {i}"},
    )
    assert session.do("debugInfo")["breakpoints"][0]["source"] == path
    assert len(session.do("debugInfo")["breakpoints"][0]["breakpoints"]) == 3
    msg_id = session.execute(code)
    thread, frames = session.stopped()
    assert (session.value("i", frames[0]), frames[0]["line"]) == ("1", 2)
    session.do("continue", threadId=thread)
    thread, frames = session.stopped()
    assert (session.value("i", frames[0]), frames[0]["line"]) == ("3", 3)
    assert session.finish(msg_id, thread)[0]["status"] == "ok"
    assert session.do("setBreakpoints", source={"path": path}, breakpoints=[]) == {"breakpoints": []}
    assert session.do("debugInfo")["breakpoints"] == []


def test_log_messages_are_events(session: Session) -> None:
    """A logpoint would say nothing."""
    code = "for i in range(2):\n    z = i\n"
    session.set(code, {"line": 2, "logMessage": "i is {i}"})
    msg_id = session.execute(code)
    assert "i is 0" in session.event("output")["output"]
    assert session.kernel.reply(msg_id)["content"]["status"] == "ok"


def test_variables_of_a_paused_cell(session: Session) -> None:
    """The panel would show text where there is a table, and a local name could not be looked at later."""
    code = (
        "class Rich:\n    def _repr_mimebundle_(self, **_):\n        return {'text/html': '<b>é</b>'}\n"
        "def f():\n    rich, text = Rich(), 'é'\n    return rich\nf()"
    )
    session.set(code, 6)
    msg_id = session.execute(code)
    thread, frames = session.stopped()
    frame = frames[0]["id"]
    found = session.do("richInspectVariables", variableName="rich", frameId=frame)
    assert found["data"]["text/html"] == "<b>é</b>"
    found = session.do("richInspectVariables", variableName="text * 2", frameId=frame)
    assert found == {"data": {"text/plain": "'éé'"}, "metadata": {}}
    assert "nope" in session.refused("richInspectVariables", variableName="nope", frameId=frame)
    session.do("copyToGlobals", srcVariableName="text", dstVariableName="copied", srcFrameId=frame)
    assert "expected the name of a variable" in session.refused(
        "copyToGlobals", srcVariableName="text", dstVariableName="x = 1; y", srcFrameId=frame
    )
    session.do("setVariable", variablesReference=locals_of(session, frame), name="text", value="'new'")
    assert session.value("text", frames[0]) == "'new'"
    assert session.finish(msg_id, thread)[0]["status"] == "ok"
    assert text_of(session.kernel.run("print(copied)")[1]) == "é\n"


def locals_of(session: Session, frame: int) -> int:
    return session.do("scopes", frameId=frame)["scopes"][0]["variablesReference"]


def test_variables_while_nothing_is_paused(shared: Session) -> None:
    """The panel would be empty between cells; this needs no debugpy."""
    shared.kernel.run("%reset -f")
    shared.kernel.run(
        "from IPython.display import HTML\n"
        "class Bad:\n    def __repr__(self): raise ValueError('no')\n"
        "number, page, bad = 7, HTML('<p>'), Bad()\nnested = {'k': [1, {2}], 3: 'x'}"
    )
    variables = {each["name"]: each for each in shared.do("inspectVariables")["variables"]}
    assert sorted(variables) == ["Bad", "HTML", "bad", "nested", "number", "page"]
    assert (variables["number"]["value"], variables["number"]["type"]) == ("7", "int")
    assert "its repr raises ValueError" in variables["bad"]["value"]
    children = shared.do("variables", variablesReference=variables["nested"]["variablesReference"])["variables"]
    assert [(each["name"], each["value"], each["evaluateName"]) for each in children] == [
        ("'k'", "[1, {2}]", "nested['k']"),
        ("3", "'x'", "nested[3]"),
    ]
    assert shared.do("richInspectVariables", variableName="page")["data"]["text/html"] == "<p>"
    assert "NameError" in shared.refused("richInspectVariables", variableName="nope")
    assert "there is no variablesReference" in shared.refused("variables", variablesReference=(1 << 30) + 999)


def test_modules_and_sources(shared: Session) -> None:
    """One could not open what a cell has called."""
    body = shared.do("modules")
    assert body["totalModules"] == len(body["modules"]) > 50
    assert next(each["path"] for each in body["modules"] if each["name"] == "json").endswith("json/__init__.py")
    page = shared.do("modules", startModule=2, moduleCount=3)["modules"]
    assert page == body["modules"][2:5]
    assert shared.do("source", source={"path": os.path.abspath(__file__)})["content"] == Path(__file__).read_text()
    assert "there is no file" in shared.refused("source", source={"path": "/nope.py"})


def test_cell_files_are_private(shared: Session) -> None:
    """Other users of the machine could read the code; or a client would look for breakpoints in the wrong file."""
    info = shared.do("debugInfo")
    path = shared.do("dumpCell", code="x = 'é'\n")["sourcePath"]
    folder = Path(path).parent
    assert f"{folder}{os.sep}" == info["tmpFilePrefix"]
    assert path.endswith(info["tmpFileSuffix"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert shared.do("source", source={"path": path})["content"] == "x = 'é'\n"
    assert (info["hashMethod"], info["hashSeed"]) == ("Murmur2", 0xC70F6907)
    assert (info["isStarted"], info["richRendering"], info["copyToGlobals"]) == (False, True, True)
    assert info["exceptionPaths"] == ["Python Exceptions"]


def test_exceptions(session: Session) -> None:
    """A bug could not be looked at where it happens."""
    session.do("setExceptionBreakpoints", filters=["raised"])
    msg_id = session.execute(
        "def f():\n    value = 0\n    return 1 / value\ntry:\n    f()\nexcept ValueError:\n    pass"
    )
    thread, frames = session.stopped("exception")
    assert names(frames) == [("f", 3), ("<module>", 5)]
    assert session.value("value", frames[0]) == "0"
    assert session.do("exceptionInfo", threadId=thread)["exceptionId"] == "ZeroDivisionError"
    session.do("setExceptionBreakpoints", filters=[])
    reply, _ = session.finish(msg_id, thread)
    assert reply["ename"] == "ZeroDivisionError"


def test_breakpoint_in_a_cell(session: Session) -> None:
    """`breakpoint()` would open pdb although a debugger is there."""
    msg_id = session.execute("x = 1\nbreakpoint()\nx = 2\nx = 3")
    thread, frames = session.stopped()
    assert (names(frames), session.value("x", frames[0])) == ([("<module>", 3)], "1")
    assert session.finish(msg_id, thread)[0]["status"] == "ok"


def test_breakpoint_without_a_debugger(shared: Session) -> None:
    """`breakpoint()` would do nothing after a debugger was there once."""
    msg_id = shared.execute("def f():\n    y = 41\n    breakpoint()\n    return y\nprint(f())", allow_stdin=True)
    for answer in ("y += 1", "continue"):
        assert "(Pdb)" in shared.client.get_stdin_msg(timeout=TIMEOUT)["content"]["prompt"]
        shared.client.input(answer)
    reply, published = shared.kernel.collect(msg_id)
    assert reply["content"]["status"] == "ok"
    assert text_of(published).endswith("42\n") or "41\n" in text_of(published)


def test_an_interrupt_waits_while_paused(session: Session) -> None:
    """The stop button would break the debugger, or be forgotten."""
    code = "x = 1\nx = 2\nwhile True:\n    x += 1"
    session.set(code, 2)
    msg_id = session.execute(code)
    thread, frames = session.stopped()
    assert session.control("interrupt_request") == {"status": "ok", "deferred": True}
    assert session.do("stackTrace", threadId=thread)["stackFrames"] == frames
    assert session.value("x", frames[0]) == "1"
    assert session.finish(msg_id, thread)[0]["ename"] == "KernelInterruptError"
    # The debugger has survived it.
    code = "x = 1\nx = 2"
    session.set(code, 2)
    msg_id = session.execute(code)
    thread, frames = session.stopped()
    assert session.finish(msg_id, thread)[0]["status"] == "ok"
    assert session.control("interrupt_request") == {"status": "ok"}


def test_pause(session: Session) -> None:
    """A loop that does not end could not be looked at."""
    msg_id = session.execute("import time\nend = False\nprint('go', flush=True)\nwhile not end:\n    time.sleep(0.001)")
    session.kernel.begun(msg_id)
    main = next(each["id"] for each in session.do("threads")["threads"] if each["name"] == "MainThread")
    session.do("pause", threadId=main)
    thread, frames = session.stopped("pause")
    assert names(frames)[0][0] == "<module>"
    session.do("evaluate", expression="globals().update(end=True)", frameId=frames[0]["id"])
    assert session.finish(msg_id, thread)[0]["status"] == "ok"


@pytest.mark.parametrize("how", ["disconnect", "initialize"])
def test_what_is_paused_goes_on_without_a_client(session: Session, how: str) -> None:
    """A notebook that was closed, or reloaded, would block the kernel; the next session would find no breakpoints."""
    code = f"x = {how!r}\nx = 2"
    session.set(code, 2)
    for _ in range(2):
        msg_id = session.execute(code)
        session.stopped()
        if how == "disconnect":
            session.do("disconnect")
        else:
            session.do("initialize")
        assert session.kernel.collect(msg_id)[0]["content"]["status"] == "ok"
        info = session.do("debugInfo")
        assert (info["isStarted"], info["breakpoints"], info["stoppedThreads"]) == (False, [], [])
        msg_id = session.execute(code)
        assert session.kernel.collect(msg_id)[0]["content"]["status"] == "ok"  # It does not stop any more.
        if how == "disconnect":
            session.do("initialize")
        session.do("attach")
        session.set(code, 2)


BAD: list[tuple[str, Body, str]] = [
    ("nope", {}, "unknown command 'nope': expected one of"),
    ("stackTrace", {}, "stackTrace: threadId: expected an integer, got nothing"),
    ("next", {"threadId": "1"}, "next: threadId: expected an integer, got '1'"),
    ("continue", {"threadId": 99}, "continue: threadId: 99 is not paused"),
    ("setBreakpoints", {"source": {}}, "setBreakpoints: source.path: expected a string, got nothing"),
    ("setBreakpoints", {"source": {"path": "/nope.py"}, "breakpoints": [{"line": 1}]}, "there is no file '/nope.py'"),
    ("setBreakpoints", {"source": {"path": __file__}, "breakpoints": [{}]}, "breakpoints[0].line: expected an integer"),
    ("setBreakpoints", {"source": {"path": __file__}, "breakpoints": [3]}, "breakpoints[0]: expected an object, got 3"),
    ("setBreakpoints", {"source": {"path": __file__}, "breakpoints": 3}, "breakpoints: expected a list, got 3"),
    ("setFunctionBreakpoints", {"breakpoints": [{}]}, "breakpoints[0].name: expected a string"),
    ("setExceptionBreakpoints", {"filters": [1]}, "filters[0]: expected a string, got 1"),
    ("evaluate", {"expression": "1", "frameId": 9999}, "9999"),
    ("evaluate", {"expression": "1 +", "frameId": None}, "SyntaxError"),
    ("variables", {"variablesReference": 9999}, "9999"),
    ("attach", {}, "is attached already"),
    ("dumpCell", {}, "dumpCell: code: expected a string, got nothing"),
]


def test_bad_requests(session: Session) -> None:
    """A client's mistake would end the debugger (debugpy's server dies of some of these), or go unexplained."""
    for command, arguments, message in BAD:
        assert message in session.refused(command, **arguments)
        assert session.do("threads")["threads"]


def test_requests_before_attach(shared: Session) -> None:
    """A client would wait for an answer that never comes."""
    for command, arguments in {
        "setBreakpoints": {"source": {"path": __file__}},
        "continue": {"threadId": 1},
        "evaluate": {"expression": "1"},
        "threads": {},
        "configurationDone": {},
    }.items():
        assert "the debugger is not attached: send initialize and attach first" in shared.refused(command, **arguments)
    assert "send initialize first" in shared.refused("attach")
    assert "there is no debug session" in shared.refused("disconnect")
    assert "command: expected a string" in shared.control("debug_request", arguments={})["evalue"]
    assert "arguments: expected an object" in shared.control("debug_request", command="x", arguments=3)["evalue"]
    assert "type: expected 'request'" in shared.control("debug_request", command="threads", type="event")["message"]


def test_kernel_info(shared: Session) -> None:
    """No frontend would show its panel."""
    info = shared.control("kernel_info_request")
    assert info["debugger"] is True
    assert "debugger" in info["supported_features"]


def test_shutdown_while_paused(start_kernel: Callable[..., RunningKernel]) -> None:
    """A kernel that is paused would have to be killed, and its files would stay; unused, debugpy is not imported."""
    session = Session(start_kernel())
    imported = session.kernel.run("import sys\nprint([m for m in sys.modules if 'debugpy' in m or 'pydevd' in m])")[1]
    assert text_of(imported) == "[]\n"
    session.attach()
    path = Path(session.set("x = 1\nx = 2", 2))
    session.execute("x = 1\nx = 2")
    session.stopped()
    assert session.control("shutdown_request")["status"] == "ok"
    assert session.kernel.process.wait(3.5) == 0
    assert not path.parent.exists()


def test_without_debugpy(start_kernel: Callable[..., RunningKernel]) -> None:
    """Nobody would know why there are no breakpoints."""
    session = Session(start_kernel())
    session.kernel.run("import sys\nsys.modules['debugpy'] = None")
    message = session.refused("initialize")
    assert "the debugger needs debugpy" in message
    assert "pip install debugpy" in message
    assert session.do("inspectVariables")["variables"]
