"""What the package costs before there is a kernel: its import and the quick commands."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from benchmarks.client import WrongAnswerError
from benchmarks.kernels import RunningKernel, environment

if TYPE_CHECKING:
    from benchmarks.measures import Samples

REPEATS = 3


def start_up(kernel: RunningKernel) -> Samples:
    """`import async_kernel` over what Python itself takes; `async-kernel --help` and `list`."""
    kernel.needs("commands")
    python, script = str(kernel.python), str(kernel.python.with_name("async-kernel"))
    found: Samples = {"import": [], "help": [], "list": []}
    for _ in range(REPEATS):
        bare = timed(kernel, "", python, "-c", "pass")
        found["import"].append(max(0.0, timed(kernel, "", python, "-c", "import async_kernel") - bare))
        found["help"].append(timed(kernel, "install", script, "--help"))
        found["list"].append(timed(kernel, "default", script, "list"))
    return found


def timed(kernel: RunningKernel, expected: str, *command: str) -> float:
    """Milliseconds that `command` takes, which must end well and print `expected` among other things."""
    folder = kernel.log.parent
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=20, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode or expected not in done.stdout:
        raise WrongAnswerError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr[-200:]}")
    return seconds * 1000
