"""Cells in the queue, as tasks and in threads, by real clients: each keeps what is its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of

pytestmark = pytest.mark.slow

WHO = "import threading; print(threading.current_thread() is threading.main_thread())"


def execute(kernel: RunningKernel, code: str, tags: list[Any] | None = None, **content: Any) -> str:
    """Send an execute request whose metadata have tags; return its id."""
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, **content}
    msg = kernel.client.session.msg("execute_request", content)
    if tags is not None:
        msg["metadata"] = {"tags": tags}
    kernel.client.shell_channel.send(msg)
    return msg["header"]["msg_id"]


def run(kernel: RunningKernel, code: str, tags: list[Any] | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    reply, published = kernel.collect(execute(kernel, code, tags))
    return reply["content"], published


@pytest.mark.parametrize(
    ("first_line", "tags", "main"),
    [
        ("# thread", None, False),
        ("##thread", None, False),
        ("RunMode.thread", None, False),
        ("# task", ["thread"], True),
        ("# a comment", ["thread"], False),
        ("# tsk", None, True),
        ("# queue", ["thread"], True),
    ],
)
def test_the_first_line_and_then_the_tags_say_how(
    kernel: RunningKernel, first_line: str, tags: list[str] | None, main: bool
) -> None:
    if first_line.startswith("RunMode"):
        kernel.run("from async_kernel.typing import RunMode")
    content, published = run(kernel, f"{first_line}\n{WHO}", tags)
    assert content["status"] == "ok"
    assert text_of(published) == f"{main}\n"


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_the_profile_says_how(start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str) -> None:
    path = tmp_path / "threads.yaml"
    path.write_text(f"extends: {profile}\nrun_modes: {{execute_request: thread}}\n")
    kernel = start_kernel("--profile", str(path))
    assert text_of(kernel.run(WHO)[1]) == "False\n"
    assert text_of(kernel.run(f"# queue\n{WHO}")[1]) == "True\n"


@pytest.mark.parametrize("loop", ["import asyncio\nasyncio.run(asyncio.sleep(0, 5))", "import trio\ntrio.run(f)"])
def test_a_thread_cell_may_run_a_loop_of_its_own(kernel: RunningKernel, loop: str) -> None:
    """`asyncio.run` in code that is not ours is what thread cells are for."""
    for _ in range(2):  # The worker is used again.
        content, published = run(kernel, f"# thread\nasync def f(): return 5\n{loop}")
        assert content["status"] == "ok", content
        assert [m["content"]["data"]["text/plain"] for m in published if m["msg_type"] == "execute_result"] == ["5"]
    assert run(kernel, "# thread\nimport anyio\nawait anyio.sleep(0)")[0]["status"] == "ok"


def test_tasks_take_little_more_than_one(kernel: RunningKernel) -> None:
    """200 cells that wait for the same time wait at the same time; each has its own count, output and reply."""
    kernel.run("import anyio")
    ids = {execute(kernel, f"# task\nawait anyio.sleep(0.05)\nprint({n})\n{n}"): n for n in range(200)}
    counts: set[int] = set()
    replies: set[str] = set()
    while len(replies) < 200:
        message = kernel.client.get_shell_msg(timeout=TIMEOUT)
        assert message["content"]["status"] == "ok"
        replies.add(message["parent_header"]["msg_id"])
        counts.add(message["content"]["execution_count"])
    assert replies == set(ids)
    assert len(counts) == 200
    printed: dict[str, str] = {}
    values: dict[str, str] = {}
    idle: set[str] = set()
    while len(idle) < 200:
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        msg_id, content = message["parent_header"]["msg_id"], message["content"]
        match message["msg_type"]:
            case "stream":
                printed[msg_id] = printed.get(msg_id, "") + content["text"]
            case "execute_result":
                values[msg_id] = content["data"]["text/plain"]
            case "status" if content["execution_state"] == "idle" and msg_id in ids:
                idle.add(msg_id)
            case _:
                pass
    assert printed == {msg_id: f"{n}\n" for msg_id, n in ids.items()}
    assert values == {msg_id: str(n) for msg_id, n in ids.items()}


@pytest.mark.parametrize("mode", ["queue", "task", "thread"])
def test_a_cell_that_waits_too_long_is_cancelled(kernel: RunningKernel, mode: str) -> None:
    code = f"# {mode}\nimport anyio\nawait anyio.sleep(60)"
    content, published = run(kernel, code, ["timeout=0.05"])
    assert content["status"] == "ok"
    assert [m["content"]["ename"] for m in published if m["msg_type"] == "error"] == ["TimeoutError"]
    assert run(kernel, f"# {mode}\nawait anyio.sleep(0)", ["timeout=60"])[0]["status"] == "ok"


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_the_timeout_of_the_profile(start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str) -> None:
    """Every cell has it, and a tag says otherwise."""
    path = tmp_path / "short.yaml"
    path.write_text(f"extends: {profile}\ncell_timeout: 0.2\n")
    kernel = start_kernel("--profile", str(path))
    for mode in ("queue", "thread"):
        began = time.monotonic()
        _, published = run(kernel, f"# {mode}\nimport anyio\nawait anyio.sleep(60)")
        assert [m["content"]["ename"] for m in published if m["msg_type"] == "error"] == ["TimeoutError"]
        assert time.monotonic() - began < TIMEOUT
    _, published = run(kernel, "await anyio.sleep(0.4)\nprint('through')", ["timeout=0"])
    assert text_of(published) == "through\n"


@pytest.mark.parametrize("tag", ["timeout=soon", "timeout=-1", "timeout"])
def test_a_timeout_that_is_no_number_is_said(kernel: RunningKernel, tag: str) -> None:
    """The cell does not run silently without the limit that its author believes it has."""
    content, published = run(kernel, "print('ran')", [tag])
    assert content["status"] == "ok"
    assert text_of(published) == "ran\n"
    said = text_of(published, "stderr")
    assert repr(tag) in said
    assert "expected a number" in said


def test_what_the_tags_say_of_errors(kernel: RunningKernel) -> None:
    content, published = run(kernel, "1/0", ["suppress-error=never mind"])
    assert content["status"] == "ok"
    assert text_of(published) == "never mind\n"
    assert "error" not in {m["msg_type"] for m in published}
    for tags, stop_on_error, behind in (
        (["raises-exception"], True, "ok"),
        (["stop-on-error=false"], True, "ok"),
        (["stop-on-error=true"], False, "aborted"),
        ([], True, "aborted"),
    ):
        # It fails when the other is there for certain.
        failing = execute(kernel, "input('?')\n1/0", tags, stop_on_error=stop_on_error, allow_stdin=True)
        kernel.client.get_stdin_msg(timeout=TIMEOUT)
        next_one = execute(kernel, "1")
        kernel.reply(kernel.client.kernel_info())
        kernel.client.input("")
        assert kernel.reply(failing)["content"]["ename"] == "ZeroDivisionError", tags
        assert kernel.reply(next_one)["content"]["status"] == behind, tags


def test_requests_are_answered_while_a_cell_computes_and_sleeps(kernel: RunningKernel) -> None:
    """Completion and `kernel_info` don't wait for the cell. (How long they take is measured by the benchmarks.)"""
    for code in ("while not done: pass", "import time\nwhile not done: time.sleep(0.01)"):
        kernel.run("done = []")
        msg_id = kernel.client.execute(code)
        for _ in range(5):
            matches = kernel.reply(kernel.client.complete("impor", 5))["content"]["matches"]
            assert "import" in matches
            kernel.reply(kernel.client.kernel_info())
        kernel.client.execute("# thread\ndone.append(1)")  # Its reply may come first or last.
        assert kernel.reply(msg_id)["content"]["status"] == "ok"
