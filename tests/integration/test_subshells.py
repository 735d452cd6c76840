"""Subshells (JEP 91) as a client sees them: real kernels, real messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.test_interrupts import begun
from tests.kernels import TIMEOUT, RunningKernel, running, text_of

pytestmark = pytest.mark.slow

SHELL_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("kernel_info_request", {}),
    ("comm_info_request", {}),
    ("execute_request", {"code": "1"}),
    ("complete_request", {"code": "pri", "cursor_pos": 3}),
    ("is_complete_request", {"code": "1 +"}),
    ("inspect_request", {"code": "print", "cursor_pos": 3}),
    ("history_request", {"hist_access_type": "tail", "n": 3}),
]
COMM_MESSAGES: list[tuple[str, dict[str, Any]]] = [
    ("comm_open", {"comm_id": "c", "target_name": "t"}),
    ("comm_msg", {"comm_id": "c"}),
    ("comm_close", {"comm_id": "c"}),
]


@pytest.fixture(scope="module", params=["default", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--profile", request.param) as kernel:
        yield kernel


def control(kernel: RunningKernel, msg_type: str, **content: Any) -> dict[str, Any]:
    """The content of the reply to a request on control."""
    msg = kernel.client.session.msg(msg_type, content)
    kernel.client.control_channel.send(msg)
    return kernel.control_reply(msg["header"]["msg_id"])["content"]


def create(kernel: RunningKernel) -> str:
    reply = control(kernel, "create_subshell_request")
    assert reply["status"] == "ok"
    return reply["subshell_id"]


def delete(kernel: RunningKernel, subshell_id: str) -> dict[str, Any]:
    return control(kernel, "delete_subshell_request", subshell_id=subshell_id)


@pytest.fixture
def subshell(kernel: RunningKernel) -> Iterator[str]:
    """A subshell, deleted after the test unless the test did."""
    subshell_id = create(kernel)
    yield subshell_id
    delete(kernel, subshell_id)


def send(kernel: RunningKernel, subshell_id: str | None, msg_type: str, content: dict[str, Any]) -> str:
    """Send to a subshell; the id of the message."""
    msg = kernel.client.session.msg(msg_type, content)
    if subshell_id is not None:
        msg["header"]["subshell_id"] = subshell_id
    kernel.client.shell_channel.send(msg)
    return msg["header"]["msg_id"]


def execute(kernel: RunningKernel, subshell_id: str | None, code: str, **content: Any) -> str:
    return send(kernel, subshell_id, "execute_request", {"code": code, **content})


def run(kernel: RunningKernel, subshell_id: str | None, code: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    reply, published = kernel.collect(execute(kernel, subshell_id, code))
    return reply["content"], published


def value(published: list[dict[str, Any]]) -> str:
    (shown,) = [m for m in published if m["msg_type"] == "execute_result"]
    return shown["content"]["data"]["text/plain"]


def replies(kernel: RunningKernel, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The content of the replies to several requests, in whatever order they come."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < len(ids):
        message = kernel.client.get_shell_msg(timeout=TIMEOUT)
        if (msg_id := message["parent_header"]["msg_id"]) in ids:
            assert msg_id not in found
            found[msg_id] = message["content"]
    return found


def test_it_is_announced(kernel: RunningKernel) -> None:
    """Frontends ask for subshells only where the kernel says that it has them."""
    info = kernel.reply(kernel.client.kernel_info())["content"]
    assert "kernel subshells" in info["supported_features"]


def test_create_list_delete(kernel: RunningKernel) -> None:
    first, second = create(kernel), create(kernel)
    assert first != second
    assert control(kernel, "list_subshell_request") == {"status": "ok", "subshell_id": [first, second]}
    assert delete(kernel, first) == {"status": "ok"}
    assert control(kernel, "list_subshell_request")["subshell_id"] == [second]
    again = delete(kernel, first)
    assert again["status"] == "error"
    assert first in again["evalue"]
    assert delete(kernel, "never")["evalue"].count("'never'") == 1
    wrong = control(kernel, "delete_subshell_request")
    assert "subshell_id" in wrong["evalue"]
    assert delete(kernel, second)["status"] == "ok"


def test_output_has_the_right_parent_and_count(kernel: RunningKernel, subshell: str) -> None:
    """Output would appear in another notebook, with another cell's number."""
    _, before = run(kernel, None, "get_ipython().execution_count")
    for count in (1, 2):
        code = f"import anyio\nprint('text')\ndisplay('shown')\nawait anyio.sleep(0)\n{count}"
        reply, published = kernel.collect(execute(kernel, subshell, code))  # What has this parent; nothing else.
        assert reply["content"]["execution_count"] == count
        assert reply["parent_header"]["subshell_id"] == subshell
        types = [m["msg_type"] for m in published]
        assert types == ["execute_input", "stream", "display_data", "execute_result"]
        assert published[0]["content"]["execution_count"] == published[-1]["content"]["execution_count"] == count
        assert all(m["parent_header"]["subshell_id"] == subshell for m in published)
        reply, published = kernel.collect(execute(kernel, subshell, "1/0", store_history=False, stop_on_error=False))
        assert reply["content"]["ename"] == "ZeroDivisionError"
        assert [m["msg_type"] for m in published] == ["execute_input", "error"]
    _, after = run(kernel, None, "get_ipython().execution_count")
    assert int(value(after)) == int(value(before)) + 1


def test_names_are_shared_by_default(kernel: RunningKernel, subshell: str) -> None:
    run(kernel, subshell, "made_there = 5")
    assert value(run(kernel, None, "made_there")[1]) == "5"


def test_five_shells_sleep_at_once(kernel: RunningKernel) -> None:
    """What blocks in one subshell would block the others and the main shell."""
    shells = [None, *(create(kernel) for _ in range(4))]
    replies(kernel, [execute(kernel, each, "import time") for each in shells])
    began = time.monotonic()
    ids = [execute(kernel, each, "time.sleep(0.5)") for each in shells]
    contents = replies(kernel, ids)
    elapsed = time.monotonic() - began
    assert all(content["status"] == "ok" for content in contents.values())
    assert 0.5 <= elapsed < 1.5
    for each in shells[1:]:
        delete(kernel, each or "")


def test_others_answer_while_one_blocks(kernel: RunningKernel, subshell: str) -> None:
    """The main shell and another subshell work while code blocks in one; what waits there runs afterwards, in order."""
    other = create(kernel)
    run(kernel, None, "import threading; gate = threading.Event(); order = []")
    blocked = begun_in(kernel, subshell, "print('begun', flush=True); gate.wait(20)")
    queued = [execute(kernel, subshell, f"order.append({i})") for i in range(3)]
    for each in (None, other):
        assert value(run(kernel, each, "order")[1]) == "[]"
    for each in (None, other, subshell):  # Completion is not queued behind the cell.
        msg_id = send(kernel, each, "complete_request", {"code": "prin", "cursor_pos": 4})
        assert "print" in kernel.reply(msg_id)["content"]["matches"]
    opened = execute(kernel, other, "gate.set()")
    assert all(c["status"] == "ok" for c in replies(kernel, [blocked, *queued, opened]).values())
    assert value(run(kernel, None, "order")[1]) == "[0, 1, 2]"
    delete(kernel, other)


def begun_in(kernel: RunningKernel, subshell_id: str, code: str) -> str:
    """Execute code that prints when it is about to block; the request's id once it has."""
    return kernel.begun(execute(kernel, subshell_id, code))


@pytest.mark.parametrize(("msg_type", "content"), SHELL_REQUESTS + COMM_MESSAGES)
@pytest.mark.parametrize("deleted", [True, False])
def test_no_such_subshell(kernel: RunningKernel, msg_type: str, content: dict[str, Any], deleted: bool) -> None:
    """Otherwise the code of a deleted subshell would run in the main shell, or the client wait for ever."""
    subshell_id = "nope"
    if deleted:
        subshell_id = create(kernel)
        delete(kernel, subshell_id)
    msg_id = send(kernel, subshell_id, msg_type, content)
    if (msg_type, content) not in COMM_MESSAGES:
        reply = kernel.reply(msg_id)["content"]
        assert reply["status"] == "error"
        assert repr(subshell_id) in reply["evalue"]
    assert kernel.published(msg_id) == []


def test_a_header_that_is_no_id(kernel: RunningKernel) -> None:
    for wrong in (7, ["a"], {}, ""):
        msg_id = send(kernel, wrong, "execute_request", {"code": "1"})  # pyright: ignore[reportArgumentType]
        assert repr(wrong) in kernel.reply(msg_id)["content"]["evalue"]
    assert run(kernel, None, "1")[0]["status"] == "ok"


@pytest.mark.parametrize("code", ["import anyio; await anyio.sleep(60)", "gate.wait(20)"])
def test_a_deleted_one_answers_what_was_queued(kernel: RunningKernel, code: str) -> None:
    """The cells of a notebook that was closed would show `[*]` for ever, in every other view of it."""
    subshell_id = create(kernel)
    run(kernel, None, "import threading; gate = threading.Event(); ran = []")
    running = begun_in(kernel, subshell_id, f"print('begun', flush=True)\n{code}")
    queued = [execute(kernel, subshell_id, f"ran.append({i})") for i in range(5)]
    if "gate" in code:  # Else the loop is free, and it would run at once.
        queued.append(execute(kernel, subshell_id, "# task\nran.append('task')"))
    kernel.reply(send(kernel, None, "kernel_info_request", {}))  # All of it has been received.
    assert delete(kernel, subshell_id)["status"] == "ok"
    opened = execute(kernel, None, "gate.set()")
    contents = replies(kernel, [running, *queued, opened])  # In whatever order they come.
    assert contents.pop(opened)["status"] == "ok"
    ended = contents.pop(running)
    assert ended.get("ename") == ("KernelInterruptError" if "await" in code else None)
    for content in contents.values():
        assert content["status"] in ("error", "aborted")
    assert any(subshell_id in content["evalue"] for content in contents.values())
    assert value(run(kernel, None, "ran")[1]) == "[]"


def test_an_error_aborts_its_own_subshell_only(kernel: RunningKernel, subshell: str) -> None:
    """Run all in one notebook would stop because of an error in another."""
    run(kernel, None, "import threading; gate = threading.Event()")
    failing = execute(kernel, subshell, "gate.wait(20); 1/0")
    aborted = execute(kernel, subshell, "1")
    kernel.reply(send(kernel, None, "kernel_info_request", {}))  # They have been received.
    goes_on = [execute(kernel, None, "gate.set()"), execute(kernel, None, "1")]
    contents = replies(kernel, [failing, aborted, *goes_on])
    assert [contents[each]["status"] for each in (failing, aborted, *goes_on)] == ["error", "aborted", "ok", "ok"]
    assert run(kernel, subshell, "1")[0]["status"] == "ok"


def test_comms_in_a_subshell(kernel: RunningKernel, subshell: str) -> None:
    """JupyterLab sends the comm messages of widgets to a subshell: they would move only when the main shell is idle."""
    code = """
    import comm, threading
    gate = threading.Event()
    def opened(c, msg):
        c.on_msg(lambda msg: (print(threading.current_thread().name), c.send({"echo": msg["content"]["data"]})))
    comm.get_comm_manager().register_target("echo", opened)"""
    run(kernel, None, code)
    blocked = execute(kernel, None, "gate.wait(20)")
    opened = send(kernel, subshell, "comm_open", {"comm_id": "echo-1", "target_name": "echo", "data": {}})
    assert kernel.published(opened) == []
    for n in range(3):
        published = kernel.published(send(kernel, subshell, "comm_msg", {"comm_id": "echo-1", "data": {"n": n}}))
        assert text_of(published).startswith("Subshell")
        (echo,) = [m for m in published if m["msg_type"] == "comm_msg"]
        assert echo["content"]["data"] == {"echo": {"n": n}}
    kernel.published(send(kernel, subshell, "comm_close", {"comm_id": "echo-1", "data": {}}))
    released = execute(kernel, subshell, "gate.set()")
    assert {content["status"] for content in replies(kernel, [blocked, released]).values()} == {"ok"}


@pytest.mark.parametrize("header", ["# task", "# thread"])
def test_run_modes_in_a_subshell(kernel: RunningKernel, subshell: str, header: str) -> None:
    code = f"{header}\nimport anyio\nawait anyio.sleep(0)\nget_ipython().subshell_id"
    reply, published = run(kernel, subshell, code)
    assert reply["status"] == "ok"
    assert value(published) == repr(subshell)


def test_the_magics(kernel: RunningKernel, subshell: str) -> None:
    _, published = run(kernel, subshell, "%subshell")
    assert subshell in text_of(published)
    reply, published = run(kernel, None, "%%subshell elsewhere\nprint('hello')\nget_ipython().name")
    assert reply["status"] == "ok"
    assert text_of(published) == "hello\n"
    assert value(published) == "'elsewhere'"
    assert [m["msg_type"] for m in published] == ["execute_input", "stream", "execute_result"]
    assert run(kernel, None, "%%subshell elsewhere\n1/0")[0]["ename"] == "ZeroDivisionError"
    _, elsewhere = control(kernel, "list_subshell_request")["subshell_id"]
    assert delete(kernel, elsewhere)["status"] == "ok"


def test_users_can_choose_the_context(kernel: RunningKernel, subshell: str) -> None:
    code = f"""
    from async_kernel.utils import *
    main = get_kernel().shell
    with subshell_context("{subshell}") as sub:
        inside = get_kernel().shell is sub, get_ipython() is sub, get_subshell_id(), get_execution_count()
    del sub
    inside, get_kernel().shell is main is get_kernel().main_shell, get_subshell_id()"""
    assert value(run(kernel, None, code)[1]) == f"((True, True, {subshell!r}, 1), True, None)"
    code = "with subshell_context(None): main = get_ipython()\nmain is get_kernel().main_shell, get_subshell_id()"
    assert value(run(kernel, subshell, code)[1]) == f"(True, {subshell!r})"
    assert run(kernel, None, "with subshell_context('nope'): pass")[0]["ename"] == "ClientError"


COUNTS = """
import gc, os, threading
from async_kernel import Caller
from async_kernel.asyncshell import AsyncInteractiveSubshell
{wait}
gc.collect()
(
    len(os.listdir("/proc/self/fd")),
    len([t for t in threading.enumerate() if t.name.startswith("Subshell")]),
    len([c for c in Caller.all_callers(False) if c.name.startswith("Subshell")]),
    len([o for o in gc.get_objects() if isinstance(o, AsyncInteractiveSubshell)]),
)"""
WAIT = """
for thread in threading.enumerate():
    if thread.name.startswith("Subshell"): thread.join(20)
get_ipython().display_formatter"""


def test_a_hundred_come_and_go(kernel: RunningKernel) -> None:
    """A kernel that is used for days would run out of threads and file descriptors."""
    delete(kernel, create(kernel))
    run(kernel, None, "1/0")  # Python keeps the frames of the last error (`sys.last_traceback`): no subshell's.
    counts = COUNTS.format(wait=WAIT)
    before = eval(value(run(kernel, None, counts)[1]))
    for i in range(100):
        subshell_id = create(kernel)
        if i % 3 == 0:
            assert run(kernel, subshell_id, "%subshell\n1")[0]["status"] == "ok"
        assert delete(kernel, subshell_id)["status"] == "ok"
    assert control(kernel, "list_subshell_request")["subshell_id"] == []
    after = eval(value(run(kernel, None, counts)[1]))
    assert after[1:] == before[1:] == (0, 0, 0)
    assert after[0] <= before[0] + 12  # An idle worker more, or a database that was opened meanwhile.


def test_names_are_isolated_where_the_profile_says_so(start_kernel: Any) -> None:
    kernel: RunningKernel = start_kernel("--set", "subshell_namespace=isolated")
    subshell_id = create(kernel)
    run(kernel, None, "x = 1\ny = 2")
    assert value(run(kernel, subshell_id, "x = 10\ndef f(): return x + y\nf()")[1]) == "12"
    assert value(run(kernel, None, "x, 'f' in globals()")[1]) == "(1, False)"


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_the_kernel_ends_with_all_of_them(start_kernel: Any, profile: str) -> None:
    """A shutdown would hang on a subshell that still computes."""
    kernel: RunningKernel = start_kernel("--profile", profile)
    shells = [create(kernel) for _ in range(5)]
    begun_in(kernel, shells[0], "import anyio; print('begun', flush=True); await anyio.sleep(60)")
    assert begun(kernel, "%%subshell named\nimport anyio; print('begun', flush=True); await anyio.sleep(60)")
    control(kernel, "shutdown_request", restart=False)
    assert kernel.process.wait(TIMEOUT) == 0
