"""What the built-in profiles `concurrent`, `threads` and `agent` promise; see test_encryption.py for `secure`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.kernels import RunningKernel, text_of

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]


@pytest.mark.parametrize(
    ("profile", "backend"), [("concurrent", "asyncio"), ("concurrent", "trio"), ("threads", "asyncio")]
)
def test_cells_run_at_once(start_kernel: Start, profile: str, backend: str) -> None:
    """The first cell waits for what the second does: one after another, it would wait for ever."""
    kernel = start_kernel("--profile", profile, "--backend", backend)
    kernel.run("import anyio, threading\nflag = threading.Event()\nmain = threading.main_thread()")
    first = kernel.client.execute("while not flag.is_set():\n    await anyio.sleep(0.01)\nprint('seen')")
    _, published = kernel.run("flag.set(); print(threading.current_thread() is main)")
    assert text_of(published) == f"{profile == 'concurrent'}\n"
    assert kernel.reply(first)["content"]["status"] == "ok"
    # `# queue` is the way back.
    assert text_of(kernel.run("# queue\nprint(threading.current_thread() is main)")[1]) == "True\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_script_runs_in_a_cell_of_threads(start_kernel: Start, backend: str) -> None:
    """Code that starts an event loop of its own fails in most notebooks."""
    kernel = start_kernel("--profile", "threads", "--backend", backend)
    script = "import asyncio, trio\nasync def main(sleep):\n    await sleep(0)\n    return 3\n"
    reply, published = kernel.run(f"{script}print(asyncio.run(main(asyncio.sleep)), trio.run(main, trio.sleep))")
    assert reply["content"]["status"] == "ok", reply
    assert text_of(published) == "3 3\n"


def test_an_agent_gets_bounded_and_plain_text(start_kernel: Start) -> None:
    """A model pays for every escape code, and nobody is there to stop a cell or to answer it."""
    kernel = start_kernel("--profile", "agent")
    shell = "get_ipython()"
    assert text_of(kernel.run(f"k = {shell}.kernel; print({shell}.timeout, k.output_limit, k.history)")[1]) == (
        "120.0 100000 memory\n"
    )
    for code in ("def f():\n    1/0\nf()", "1 +", "print?", "print??", "import os\nos.listdir('/nothing')"):
        assert "\\u001b" not in json.dumps(kernel.run(code), default=str), code
    assert kernel.run("1 +")[0]["content"]["ename"] == "SyntaxError"
    assert kernel.run("input()", allow_stdin=True)[0]["content"]["ename"] == "StdinNotImplementedError"
    _, published = kernel.run("print('x' * 300_000)")
    assert len(text_of(published)) == 100_000
