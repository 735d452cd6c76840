"""`capture_fds:` what C code and child processes write, in a running kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kernels import TIMEOUT, RunningKernel, text_of

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]
CELLS = {
    "os.system": "import os; _ = os.system('echo hi')",
    "subprocess": "import subprocess; _ = subprocess.run(['echo', 'hi'])",
    "a stream of Python's": "import subprocess, sys; _ = subprocess.run(['echo', 'hi'], stdout=sys.stdout)",
    "printf": "import ctypes; c = ctypes.CDLL(None); c.printf(b'hi\\n'); _ = c.fflush(None)",
    "a thread cell": "# thread\nimport os; _ = os.system('echo hi')",
}


@pytest.mark.parametrize("cell", CELLS)
def test_what_python_does_not_write_is_in_the_cell(kernel: RunningKernel, cell: str) -> None:
    """Compilers, solvers and shell scripts say why they have failed there; it is complete before the cell ends."""
    assert text_of(kernel.run(CELLS[cell])[1]) == "hi\n"
    errors = CELLS[cell].replace("echo hi", "echo hi >&2").replace("'echo', 'hi'", "'sh', '-c', 'echo hi >&2'")
    if errors != CELLS[cell] and "sys.stdout" not in errors:
        assert text_of(kernel.run(errors)[1], "stderr") == "hi\n"


def test_it_comes_before_the_result(kernel: RunningKernel) -> None:
    """Also where the code that writes has kept the reader from reading."""
    published = kernel.run("import ctypes; c = ctypes.PyDLL(None); c.write(1, b'hi\\n', 3)")[1]
    assert [m["msg_type"] for m in published] == ["execute_input", "stream", "execute_result"]


@pytest.mark.parametrize(
    "code",
    [
        "import ctypes; _ = ctypes.PyDLL(None).write(1, b'x' * 900_000, 900_000)",  # It keeps the GIL.
        "import ctypes; n = 3_000_000; _ = ctypes.CDLL(None).write(1, b'x' * n, n)",
        "import os; _ = os.system('head -c 3000000 /dev/zero | tr \"\\\\0\" x')",
    ],
)
def test_much_at_once(kernel: RunningKernel, code: str) -> None:
    """A pipe holds 64 KiB as a rule: who writes more waits, and whoever waits with the GIL waits for ever."""
    size = 900_000 if "900_000" in code else 3_000_000
    assert len(text_of(kernel.run(code)[1])) == size


def test_the_terminal_keeps_what_is_its_own(start_kernel: Start) -> None:
    """The log and uncaught errors are for the terminal; with `quiet: false` it gets a copy of the cells' output too."""
    kernel = start_kernel("--no-quiet")
    code = "import os, sys, logging\n_ = os.system('echo child')\nprint('real', file=sys.__stderr__)\n"
    published = kernel.run(f"{code}logging.getLogger('async_kernel').error('logged')")[1]
    assert (text_of(published), text_of(published, "stderr")) == ("child\n", "")
    kernel.client.stop_channels()
    kernel.process.terminate()
    out, err = kernel.process.communicate(timeout=TIMEOUT)
    assert out == "child\n"
    assert err.startswith("real\nasync-kernel: ERROR: ")
    assert err.endswith(": logged\n")


def test_off_leaves_the_descriptors_alone(start_kernel: Start) -> None:
    kernel = start_kernel("--set", "capture_fds=false")
    assert kernel.run("import os; _ = os.system('echo child; echo error >&2')")[1][1:] == []
    kernel.client.stop_channels()
    kernel.process.terminate()
    assert kernel.process.communicate(timeout=TIMEOUT) == ("child\n", "error\n")


def test_a_crash_is_told_at_the_terminal(start_kernel: Start) -> None:
    """Whoever looks why the kernel has died finds the stack in the server's log."""
    kernel = start_kernel()
    kernel.client.execute("import os; os.abort()")
    kernel.process.wait(TIMEOUT)
    err = kernel.process.stderr.read() if kernel.process.stderr else ""
    assert "Fatal Python error: Aborted" in err
    kernel.connection_file.unlink()
