"""A kernel dies, or its process runs out of something: what the user sees, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from async_kernel.runtime.record_layout import prefix, record_folder
from tests.kernels import TIMEOUT, RunningKernel, text_of, wait_for_log

pytestmark = pytest.mark.slow
RESTARTS = int(os.environ.get("ASYNC_KERNEL_RESTARTS", "3"))


class Managed(RunningKernel):
    """A kernel that Jupyter has started, and may start again with the same connection file."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.process: Any = manager.provisioner.process  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        self.connection_file = Path(manager.connection_file)
        self.client: Any = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def again(self) -> Managed:
        self.client.stop_channels()
        self.manager.restart_kernel(now=True, stderr=subprocess.DEVNULL)
        return Managed(self.manager)

    def records(self) -> list[Path]:
        return list(record_folder().glob(f"{prefix(self.connection_file)}*"))


@pytest.fixture
def managed(kernelspecs: list[str]) -> Any:
    # Where Jupyter's server has its files.
    file = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"kernel-{os.urandom(4).hex()}.json")
    manager = KernelManager(kernel_name=kernelspecs[0], connection_file=str(file))
    manager.start_kernel(stderr=subprocess.DEVNULL)
    yield Managed(manager)
    manager.shutdown_kernel(now=True)


def last(kernel: RunningKernel) -> dict[str, Any]:
    command = [sys.executable, "-m", "async_kernel", "logs", kernel.connection_file.stem, "--last", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT).stdout)[0]


def died_of(kernel: RunningKernel, code: str) -> dict[str, Any]:
    kernel.client.execute(code)
    kernel.process.wait(TIMEOUT)
    return last(kernel)


def test_a_crash_is_explained_and_told_once(managed: Managed) -> None:
    """ "The kernel appears to have died": in which cell, of what, and where the stacks are; even in the first one."""
    life = died_of(managed, "import ctypes\nctypes.string_at(0)")
    assert (life["state"], life["profile"]) == ("died", "default")
    assert life["why"].startswith("died: SIGSEGV, in cell [1], after ")
    record = life["records"][-1]
    assert record["cells"][0]["code"] == "import ctypes\nctypes.string_at(0)"
    assert "in string_at" in record["stack"]
    kernel = managed.again()
    said = text_of(kernel.run("print(1)")[1], "stderr")
    assert said.startswith("the kernel before this one died (SIGSEGV, in cell [1], after ")
    assert said.endswith("): async-kernel logs --last\n")
    assert text_of(kernel.run("print(1)")[1], "stderr") == ""
    wait_for_log(kernel)
    kernel.client.shutdown(restart=True)
    kernel.process.wait(TIMEOUT)
    assert kernel.records() == [], "it is in the log now"
    kernel = kernel.again()
    assert text_of(kernel.run("print(1)")[1], "stderr") == "", "that was an ordinary restart"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os._exit(3)", "os._exit(3)"),
        ("# task\nimport os; os._exit(3)", "os._exit(3)"),
        ("# thread\nimport os; os._exit(3)", "os._exit(3)"),
        ("import sys\nsys.setrecursionlimit(10**8)\nf = lambda: sorted([1], key=lambda _: f())\nf()", "SIGSEGV"),
        *((f"import os, signal; os.kill(os.getpid(), signal.{name})", name) for name in ("SIGBUS", "SIGFPE", "SIGILL")),
    ],
)
def test_an_end_without_goodbye(start_kernel: Callable[..., RunningKernel], code: str, why: str) -> None:
    """`os._exit` in a library looks like a crash; a stack that overflows leaves room for the dump all the same."""
    kernel = start_kernel(JPY_PARENT_PID=str(os.getpid()))
    assert died_of(kernel, code)["why"].startswith(f"died: {why}, in cell [1], after ")


def test_killed_and_started_again(managed: Managed) -> None:
    """A server that restarts a kernel for weeks is not slowly filled with files, sockets and processes."""
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    kernel = managed
    for number in range(RESTARTS):
        kernel.begun(kernel.client.execute("x = 1\nprint(x, flush=True)\nwhile True: pass"))
        kernel.process.send_signal(signal.SIGKILL)
        kernel.process.wait(TIMEOUT)
        assert last(kernel)["why"].startswith("died: killed, in cell ["), number
        kernel = kernel.again()
        assert "died (killed, in cell [" in text_of(kernel.run("1")[1], "stderr")
        wait_for_log(kernel)
    left = {path.name for path in runtime.iterdir()} - {"async-kernel"}
    assert {name for name in left if kernel.connection_file.stem in name} == {kernel.connection_file.name}
    kernel.client.shutdown()
    kernel.process.wait(TIMEOUT)
    assert kernel.records() == []


def test_children_outlive_the_kernel(start_kernel: Callable[..., RunningKernel], tmp_path: Path) -> None:
    """A server that a cell has started would vanish with each restart; who starts something ends it."""
    question, answer = tmp_path / "question", tmp_path / "answer"
    os.mkfifo(question)
    os.mkfifo(answer)
    kernel = start_kernel()
    kernel.run(f"import subprocess\nchild = subprocess.Popen(['sh', '-c', 'read x < {question}; echo $x > {answer}'])")
    with question.open("w") as asking:  # when the child has opened it, too
        kernel.client.shutdown()
        assert kernel.process.wait(TIMEOUT) == 0
        asking.write("alive\n")
    assert answer.read_text() == "alive\n"


def test_what_a_kernel_survives(start_kernel: Callable[..., RunningKernel]) -> None:
    """Too much recursion or memory, and `sys.exit` anywhere: the cell has an error, and the names are still there."""
    kernel = start_kernel()
    kernel.run("x = 42")
    assert kernel.run("f = lambda: f()\nf()")[0]["content"]["ename"] == "RecursionError"
    kernel.run("import sys, threading\nt = threading.Thread(target=sys.exit); t.start(); t.join()")
    kernel.run("# task\nimport sys; sys.exit()")
    kernel.run("# thread\nimport sys; sys.exit()")
    kernel.run(
        "import resource\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))"
    )
    assert kernel.run("bytes(2**30)")[0]["content"]["ename"] == "MemoryError"
    eat = (
        "hog, size = [], 2**24\n"
        "while size >= 2**16:\n"
        "    try:\n"
        "        while True: hog.append(bytearray(size))\n"
        "    except MemoryError: size //= 2\n"
        "del hog"
    )
    assert kernel.run(eat)[0]["content"]["status"] == "ok"
    assert text_of(kernel.run("print(x)")[1]) == "42\n"
    kernel.process.terminate()
    assert kernel.process.wait(TIMEOUT) == 0
