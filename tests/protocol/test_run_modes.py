"""Which message is run how."""

from __future__ import annotations

from typing import Any

import pytest

from async_kernel.errors import SetupError
from async_kernel.protocol.run_modes import (
    DEFAULTS,
    RunModeError,
    RunModes,
    all_concurrency_run_modes,
    as_run_mode,
    cell_override,
)
from async_kernel.protocol.wire import Wire
from async_kernel.typing import Job, Message, MsgType, RunMode, SocketID

SHELL, CONTROL = SocketID.shell, SocketID.control
EXECUTE = MsgType.execute_request
CONTROL_ONLY = {
    MsgType.shutdown_request,
    MsgType.debug_request,
    MsgType.create_subshell_request,
    MsgType.delete_subshell_request,
    MsgType.list_subshell_request,
    MsgType.usage_request,
}


def cell(code: Any = "pass", tags: Any = (), socket_id: SocketID = SHELL, **content: Any) -> Job[Any]:
    msg = Message(
        header=Wire(b"").header("execute_request"),
        parent_header={},  # pyright: ignore[reportArgumentType]
        metadata={"tags": [*tags] if isinstance(tags, tuple | list) else tags},
        content={"code": code, **content},
        buffers=[],
    )
    return Job(msg=msg, socket_id=socket_id, ident=[], received_time=0.0)


def test_every_message_type_has_a_default() -> None:
    """A message type would be refused as unknown."""
    assert {*DEFAULTS} == {*MsgType}


def test_defaults_are_the_contract() -> None:
    """Completion would wait for a running cell, or cells would run at once."""
    by_mode: dict[RunMode, set[str]] = {}
    for msg_type, mode in DEFAULTS.items():
        by_mode.setdefault(mode, set()).add(msg_type.removesuffix("_request"))
    assert by_mode == {
        RunMode.queue: {"execute", "comm_msg", "debug", "usage"},
        RunMode.thread: {"complete", "inspect", "history", "is_complete", "create_subshell", "delete_subshell"},
        RunMode.direct: {
            "kernel_info",
            "comm_info",
            "comm_open",
            "comm_close",
            "interrupt",
            "shutdown",
            "list_subshell",
            "connect",
        },
    }


@pytest.mark.parametrize(
    ("code", "mode"),
    [
        ("# task", RunMode.task),
        ("##task", RunMode.task),
        ("#thread\nx = 1", RunMode.thread),
        ("RunMode.task\n1", RunMode.task),
        ("# RunMode.direct  \n1", RunMode.direct),
        ("\n\n  # queue\n1", RunMode.queue),
        ("#task\r\n1", RunMode.task),
        ("task", None),
        ("1\n# task", None),
        ("# task: buy milk", None),
        ("# tasks", None),
        ("# Task", None),
        ("RunMode.tasks", None),
        ("print(1) # task", None),
        ("", None),
        ("#", None),
        ("#" * 1000 + "task", None),
    ],
)
def test_first_line_of_a_cell(code: str, mode: RunMode | None) -> None:
    """A comment would change how a cell runs, or the marker would do nothing."""
    assert cell_override(code) is mode


@pytest.mark.parametrize("mode", RunMode)
def test_a_run_mode_is_known_in_each_of_its_spellings(mode: RunMode) -> None:
    """A tag or a profile would be refused for its spelling."""
    assert {as_run_mode(mode), as_run_mode(mode.value), as_run_mode(str(mode)), as_run_mode(repr(mode))} == {mode}
    assert as_run_mode("tsk") is None


def test_precedence() -> None:
    """First line, tag, profile, default: a user's word in the cell would not count."""
    modes, plain = RunModes({"execute_request": "thread"}), RunModes()
    assert modes.get(EXECUTE, job=cell("# direct", ["task"])) is RunMode.direct
    assert modes.get(EXECUTE, job=cell("pass", ["other", "# task", "queue"])) is RunMode.task
    assert modes.get(EXECUTE, job=cell()) is RunMode.thread
    assert modes.get(EXECUTE) is RunMode.thread
    assert plain.get(EXECUTE, job=cell()) is RunMode.queue
    assert plain.get(EXECUTE, job=cell(silent=True)) is RunMode.task
    assert modes.get(EXECUTE, job=cell(silent=True)) is RunMode.thread
    assert plain.get("execute_request", job=cell("# thread", silent=True)) is RunMode.thread


def test_cells_say_nothing_on_control() -> None:
    """An execute request on control is out of order already; it must not leave its channel's queue."""
    job = cell("# thread", ["task"], CONTROL, silent=True)
    assert RunModes().get(EXECUTE, socket_id=CONTROL, job=job) is RunMode.queue


@pytest.mark.parametrize(
    ("code", "tags"), [(None, ["task"]), (3, "task"), ("pass", {"task": 1}), ("pass", [None, 1]), ("pass", None)]
)
def test_malformed_cells_have_a_run_mode(code: Any, tags: Any) -> None:
    """The scheduler would fail on a cell whose error reply has not been sent yet."""
    job = cell(code, tags)
    assert RunModes().get(EXECUTE, job=job) in (RunMode.queue, RunMode.task)
    job["msg"]["content"] = None
    assert RunModes().get(EXECUTE, job=job) in (RunMode.queue, RunMode.task)


def test_profile_overrides_by_channel() -> None:
    """`control:` in a profile would change shell, or nothing."""
    modes = RunModes({"inspect_request": "# task", "control": {"inspect_request": "direct"}, "shell": {}})
    assert modes.get("inspect_request") is RunMode.task
    assert modes.get("inspect_request", socket_id=CONTROL) is RunMode.direct
    assert modes.get("complete_request", socket_id=CONTROL) is RunMode.thread


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"execute_request": "tsk"}, "run_modes.execute_request: 'tsk' is not one of queue, task, thread, direct"),
        ({"execute_request": None}, "run_modes.execute_request: None is not one of queue"),
        ({"execute": "task"}, "run_modes.execute: 'execute' is not one of kernel_info_request, "),
        ({"control": {"nope": "task"}}, "run_modes.control.nope: 'nope' is not one of"),
        ({"stdin": {"execute_request": "task"}}, "run_modes.stdin: 'stdin' is not one of shell, control"),
        ({"debug_request": "task"}, "run_modes.debug_request: debug_request is not allowed on shell"),
    ],
)
def test_wrong_override_is_named(overrides: Any, sentence: str) -> None:
    """A misspelt run mode would be ignored silently."""
    with pytest.raises(RunModeError) as caught:
        RunModes(overrides)
    assert str(caught.value).startswith(sentence)
    assert isinstance(caught.value, SetupError)


def test_unknown_type_is_a_type_error() -> None:
    """The contract of `Kernel.get_run_mode`."""
    with pytest.raises(TypeError, match="unknown message type 'nope'"):
        RunModes().get("nope")


@pytest.mark.parametrize("socket_id", SocketID)
@pytest.mark.parametrize("msg_type", [*MsgType, "nope"])
def test_what_is_allowed_where(socket_id: SocketID, msg_type: str) -> None:
    """A shutdown would come in between cells, or comms would be refused on shell."""
    expected = msg_type != "nope" and (socket_id is CONTROL or (socket_id is SHELL and msg_type not in CONTROL_ONLY))
    assert RunModes().allowed(socket_id, msg_type) is expected


def test_table_for_pandas() -> None:
    """`all_concurrency_run_modes` would not make a DataFrame, or hide what is not allowed."""
    table = all_concurrency_run_modes()
    rows = [*zip(table["SocketID"], table["MsgType"], table["RunMode"], strict=True)]
    assert len(rows) == 2 * len(MsgType)
    assert {msg_type for socket_id, msg_type, mode in rows if mode is None and socket_id is SHELL} == CONTROL_ONLY
    assert all(mode is not None for socket_id, _, mode in rows if socket_id is CONTROL)

    modes = RunModes({"execute_request": "task"})
    assert all_concurrency_run_modes([SHELL], [EXECUTE], modes) == {
        "SocketID": [SHELL],
        "MsgType": [EXECUTE],
        "RunMode": [RunMode.task],
    }
    assert modes.table([SocketID.stdin], [EXECUTE])["RunMode"] == [None]
