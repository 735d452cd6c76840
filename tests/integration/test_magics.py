"""Magics and `!` commands through a real client, on both backends."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import TIMEOUT, RunningKernel, running, spawn, text_of, wait_for_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["default", "trio"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """A running kernel of each backend, shared by the tests of the module."""
    with running(tmp_path_factory.mktemp("kernel") / "k.json", "--profile", request.param) as kernel:
        yield kernel


def value_of(messages: list[dict[str, Any]]) -> str | None:
    """The value that a cell shows."""
    return next((m["content"]["data"]["text/plain"] for m in messages if m["msg_type"] == "execute_result"), None)


CELLS: dict[str, tuple[str, str, str, str | None]] = {
    "a command": ("!echo out; echo err >&2", "out\nerr\n", "", None),
    "its exit code": ("!exit 3\n_exit_code", "", "", "3"),
    "names in it": ("n = 'a b'\n!echo {n} $n {1 + 1} $$HOME", f"a b a b 2 {os.environ.get('HOME', '')}\n", "", None),
    "no end of line": ("!printf 'no end'", "no end", "", None),
    "its lines": ("x = !printf 'a\\nb\\n'; exit 5\nx, _exit_code", "", "", "(['a', 'b'], 5)"),
    "its lines shown": ("!!echo a; echo b", "", "", "['a', 'b']"),
    "in a block": ("for i in range(2):\n    !echo {i}", "0\n1\n", "", None),
    "in a function": ("def f(a):\n    !echo {a}\n    y = !echo $a\n    return y\nf(7)", "7\n", "", "['7']"),
    "in a coroutine": ("async def f(a):\n    !echo {a}\nawait f(8)", "8\n", "", None),
    "no stdin": ("!cat; echo end", "end\n", "", None),
    "a terminal": ("!test -t 1 && echo yes", "yes\n", "", None),
    "killed": ("!kill -9 $$\n_exit_code", "", "the command was ended by SIGKILL\n", "-9"),
    "bash": ("%%bash\necho out\necho err >&2", "out\n", "err\n", None),
    "a script's variables": (
        "%%script --no-raise-error --out o --err e bash\necho out; echo err >&2; exit 4\n",
        "",
        "",
        None,
    ),
    "their values": ("o, e, _exit_code", "", "", "('out\\n', 'err\\n', 4)"),
    "background": ("%%sh --bg --out pipe\necho later", "", "", None),
    "%time": ("%time 1 + 1", "CPU times: …\nWall time: …\n", "", "2"),
    "%%time awaits": ("%%time\nimport anyio\nawait anyio.sleep(0.001)\n5", "CPU times: …\nWall time: …\n", "", "5"),
    "%%time of a command": ("%%time\n!echo x", "x\nCPU times: …\nWall time: …\n", "", None),
    "%timeit awaits": ("r = %timeit -q -o -n 2 -r 3 await anyio.sleep(0.001)\nr.loops, r.repeat", "", "", "(2, 3)"),
    "%%timeit": ("%%timeit -q -o -n 2 -r 3 y = 5\nawait anyio.sleep(0)\ny", "", "", "<TimeitResult : …"),
    "%timeit": ("r = %timeit -q -o -n 2 -r 3 1 + 1\nr.loops", "", "", "2"),
    "%%capture": (
        "%%capture c\nimport sys, threading\nprint('out'); print('err', file=sys.stderr)\ndisplay(1)\n"
        "t = threading.Thread(target=print, args=['thread']); t.start(); t.join()\n"
        "await anyio.sleep(0.001)\n!echo child\n2",
        "",
        "",
        None,
    ),
    "captured": (
        "c.stdout, c.stderr, [o.data['text/plain'] for o in c.outputs]",
        "",
        "",
        "('out\\nthread\\nchild\\n', 'err\\n', ['1', '2'])",
    ),
    "%%capture some": ("%%capture --no-stdout\nprint('out'); print('err', file=sys.stderr)", "out\n", "", None),
    "%%thread": (
        "%%thread\nprint(threading.current_thread() is threading.main_thread())\nawait anyio.sleep(0)\n1 + 1",
        "False\n",
        "",
        "2",
    ),
    "%%asyncio": ("%%asyncio\nimport asyncio\nawait asyncio.sleep(0.001)\nx = 'set there'", "", "", None),
    "%%trio": ("%%trio\nimport trio\nawait trio.sleep(0.001)\nx", "", "", "'set there'"),
    "%pip": ("%pip --version", "pip …", "", None),
    "a magic of the user's": (
        "from IPython.core.magic import register_line_magic\n@register_line_magic\nasync def nap(line):\n"
        "    await anyio.sleep(0.001)\n    return line",
        "",
        "",
        None,
    ),
    "is awaited": ("x = %nap well\nx", "", "", "'well'"),
    "%run": ("%run {script} an_argument\nfrom_script", "run: an_argument\n", "", "5"),
    "%%writefile": ("%%writefile {folder}/written.txt\ntext", "Writing {folder}/written.txt\n", "", None),
    "%who": ("%reset_selective -f .\nonly = 1\n%who", "only\t \n", "", None),
}
"""What a cell prints on stdout and stderr, and its value; … stands for anything. In this order, in one kernel."""


def test_what_magics_do(kernel: RunningKernel, tmp_path: Path) -> None:
    """What users of IPython type would do something else, or nothing."""
    (tmp_path / "script.py").write_text("import sys\nprint('run:', sys.argv[1])\nfrom_script = 5\n")
    failures: list[str] = []
    for name, (code, *expected) in CELLS.items():
        code = code.replace("{script}", str(tmp_path / "script.py")).replace("{folder}", str(tmp_path))
        reply, messages = kernel.run(code)
        shown = text_of(messages), text_of(messages, "stderr"), value_of(messages)
        wanted = [None if each is None else each.replace("{folder}", str(tmp_path)) for each in expected]
        if reply["content"]["status"] != "ok" or not all(map(fits, wanted, shown)):
            failures.append(f"{name}: {reply['content'].get('evalue')}\n  expected {wanted}\n  got      {list(shown)}")
    assert not failures, "\n".join(failures)


def fits(expected: str | None, got: str | None) -> bool:
    """Whether `got` is as expected, where … stands for anything."""
    if expected is None or got is None or "…" not in expected:
        return expected == got
    return re.fullmatch(re.escape(expected).replace("…", ".*"), got, re.DOTALL) is not None


ERRORS = {
    "!sleep 1 &": ("UsageError", "ends in &"),
    "%%bash\nexit 3": ("CalledProcessError", "exit status 3"),
    "%%script no_such_program\nx": ("UsageError", "there is no program 'no_such_program'"),
    "%%thread now\nx": ("UsageError", "%%thread takes no arguments"),
    "%%asyncio\n1 / 0": ("ZeroDivisionError", "division by zero"),
    "%%capture\n1 / 0": ("ZeroDivisionError", "division by zero"),
    "%%time\nawait anyio.sleep(0)\n1 / 0": ("ZeroDivisionError", "division by zero"),
    "%no_such_magic": ("UsageError", "%no_such_magic"),
    "import sys; sys.modules['pip'] = None\n%pip list": ("UsageError", "has no pip"),
    "%gui nope": ("UsageError", "not supported"),
    "input('?')": ("StdinNotImplementedError", "does not support input"),
}


def test_what_goes_wrong_is_said(kernel: RunningKernel) -> None:
    """A notebook would go on after a command that has failed, or the user would not know why it has."""
    kernel.run("import anyio")
    for code, (name, text) in ERRORS.items():
        reply, messages = kernel.run(code, allow_stdin=False)
        content = reply["content"]
        assert (content["status"], content["ename"]) == ("error", name), (code, content)
        assert text in content["evalue"] or text in text_of(messages, "stderr"), (code, content)
    reply, messages = kernel.run("!no_such_command\n_exit_code")
    assert "not found" in text_of(messages)
    assert value_of(messages) == "127"
    kernel.run("del sys.modules['pip']")


def test_a_command_streams_and_lets_other_cells_run(kernel: RunningKernel, tmp_path: Path) -> None:
    """The output would come at the end, or the kernel would stand still while a command runs."""
    go = tmp_path / "go"
    script = f"echo begun; until test -e {go}; do sleep 0.01; done; echo ended"
    for code in (f"!{script}", f"%%bash\n{script}"):
        msg_id = kernel.begun(kernel.client.execute(code))
        other = kernel.client.execute(f"# task\nopen({str(go)!r}, 'w').close()")
        assert kernel.reply(other)["content"]["status"] == "ok"
        assert text_of(kernel.collect(msg_id)[1]) == "ended\n"
        go.unlink()


SLEEPERS = {
    "awaited": "!echo $$; sleep 60",
    "task": "# task\n!echo $$; sleep 60",
    "thread": "# thread\n!echo $$; sleep 60",
    "blocking": "def f():\n    !echo $$; sleep 60\nf()",
    "blocking in a thread": "# thread\ndef f():\n    !echo $$; sleep 60\nf()",
    "output": "print(0)\nx = !sleep 60",
    "script": "%%bash\necho $$; sleep 60",
    "other loop": "%%asyncio\n!echo $$; sleep 60",
    "obstinate": "!trap '' INT; echo $$; sleep 60; sleep 60",
}


def group_lives(leader: int) -> bool:
    """Whether there is a process of its group, if only one that its parent has not heard of yet."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", SLEEPERS)
def test_an_interrupt_ends_the_command(kernel: RunningKernel, how: str) -> None:
    """A command that hangs could be ended only with the kernel, or would go on after the cell."""
    msg_id = kernel.client.execute(SLEEPERS[how])
    while True:
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == msg_id:
            break
    pid = int(message["content"]["text"])
    kernel.interrupt()
    content = kernel.reply(msg_id)["content"]
    assert (content["status"], content["ename"]) == ("error", "KernelInterruptError")
    kernel.published(msg_id)
    until = time.monotonic() + TIMEOUT
    while pid and group_lives(pid):
        assert time.monotonic() < until, "the command goes on"
        os.sched_yield()
    assert kernel.run("!echo goes on")[0]["content"]["status"] == "ok"


def talk(kernel: RunningKernel, code: str, *answers: str) -> tuple[str, list[str]]:
    """Run a cell that asks; what it has printed, and its questions."""
    msg_id = kernel.client.execute(code, allow_stdin=True)
    questions: list[str] = []
    for answer in answers:
        questions.append(kernel.client.get_stdin_msg(timeout=TIMEOUT)["content"]["prompt"])
        kernel.client.input(answer)
    return text_of(kernel.collect(msg_id)[1]), questions


def test_debuggers_ask_through_the_frontend(kernel: RunningKernel) -> None:
    """`%debug`, `%pdb` and `breakpoint()` would wait at a terminal that is not there."""
    kernel.run("def fail():\n    inner = 'seen'\n    1 / 0\nfail()")
    shown, questions = talk(kernel, "%debug", "p inner", "q")
    assert "'seen'" in shown
    assert questions == ["ipdb> ", "ipdb> "]
    kernel.run("%pdb on")
    assert "'seen'" in talk(kernel, "fail()", "p inner", "q")[0]
    kernel.run("%pdb off")
    for mode in ("", "# task\n", "# thread\n"):
        shown, questions = talk(
            kernel, f"{mode}def f():\n    x = 6 * 7\n    breakpoint()\n    return x\nf();", "p x", "c"
        )
        assert "\n42\n" in shown
        assert questions == ["(Pdb) ", "(Pdb) "]


def test_autoreload(kernel: RunningKernel, tmp_path: Path) -> None:
    """Who edits a module beside the notebook would see the old code."""
    module = tmp_path / "edited_module.py"
    module.write_text("def f():\n    return 1\n")
    kernel.run(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n%load_ext autoreload\n%autoreload 2\nimport edited_module"
    )
    for mode, value in (("", 22), ("# task\n", 333)):
        module.write_text(f"def f():\n    return {value}\n")
        assert text_of(kernel.run(f"{mode}print(edited_module.f())")[1]) == f"{value}\n"
    kernel.run("%autoreload 0")


def test_quit_asks(kernel: RunningKernel) -> None:
    """A kernel with the work of a day would be gone by a slip."""
    for code in ("exit", "quit()"):
        assert talk(kernel, code, "n")[1] == ["Stop the kernel? [y/N] "]
    assert text_of(kernel.run("print('lives')")[1]) == "lives\n"


def test_the_frontend_edits_and_pages(kernel: RunningKernel, tmp_path: Path) -> None:
    """`%edit` and `%less` would look for an editor and a pager in a terminal."""
    file = tmp_path / "text.txt"
    file.write_text("to read\n")
    for code, source in ((f"%edit {file}", "edit_magic"), (f"%less {file}", "page"), ("print?", "page")):
        payload = kernel.run(code)[0]["content"]["payload"]
        assert [each["source"] for each in payload] == [source]


def test_a_kernel_that_ends_leaves_no_command(tmp_path: Path) -> None:
    """What a notebook has started would go on when its kernel is gone."""
    path = tmp_path / "k.json"
    process = spawn(path)
    wait_for_file(path, process)
    kernel = RunningKernel(process, path)
    pids: list[int] = []
    for code in (
        "# task\n!echo $$; sleep 60",
        "# thread\ndef f():\n    !echo $$; trap '' INT; sleep 60; sleep 60\nf()",
    ):
        msg_id = kernel.client.execute(code)
        while not (text := text_of([message := kernel.client.get_iopub_msg(timeout=TIMEOUT)])):
            pass
        assert message["parent_header"]["msg_id"] == msg_id
        pids.append(int(text))
    kernel.client.shutdown()
    assert process.wait(TIMEOUT) == 0
    kernel.stop()
    until = time.monotonic() + TIMEOUT
    while any(map(group_lives, pids)):
        assert time.monotonic() < until, "a command goes on"
        os.sched_yield()


def test_a_timeout_ends_the_command(kernel: RunningKernel) -> None:
    """A cell's time would be over, and its command go on."""
    message = kernel.client.session.msg(
        "execute_request", {"code": "!echo $$; sleep 60"}, metadata={"tags": ["timeout=0.3"]}
    )
    kernel.client.shell_channel.send(message)
    reply, messages = kernel.collect(message["header"]["msg_id"])
    errors = [m["content"]["ename"] for m in messages if m["msg_type"] == "error"]
    assert errors == ["TimeoutError"], (reply["content"], messages)
    until = time.monotonic() + TIMEOUT
    while group_lives(int(text_of(messages))):
        assert time.monotonic() < until, "the command goes on"
        os.sched_yield()
