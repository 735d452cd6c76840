"""The kernels that are compared, and one running kernel process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from benchmarks.client import Client, UnsupportedError, WrongAnswerError

if TYPE_CHECKING:
    import zmq

HERE = Path(__file__).parent
CONNECTION_FILE = "{connection_file}"


class Candidate(NamedTuple):
    """A kernel that takes part."""

    name: str
    environment: str
    "The name of its environment (environments.py)."
    arguments: tuple[str, ...]
    "What follows the interpreter on its command line."
    can: frozenset[str] = frozenset()
    "What of `tasks`, `comms`, `lookup` (completion, inspection), `interrupts`, `await` and `commands` it claims to do."
    package: str = ""
    "The distribution whose version is told."


KERNEL = frozenset({"comms", "lookup", "interrupts", "await"})

CANDIDATES = (
    Candidate("ipykernel", "ipykernel", ("-m", "ipykernel_launcher", "-f", CONNECTION_FILE), KERNEL, "ipykernel"),
    Candidate(
        "async-kernel 0.23",
        "async-kernel",
        ("-m", "async_kernel", "start", f"--connection_file={CONNECTION_FILE}", "--name=async"),
        KERNEL | {"tasks"},
        "async-kernel",
    ),
    Candidate("xeus-python", "xeus-python", ("-m", "xpython_launcher", "-f", CONNECTION_FILE), KERNEL, "xeus-python"),
    Candidate(
        "limit", "ipykernel", (str(HERE / "limit_kernel.py"), "-f", CONNECTION_FILE), frozenset({"comms", "interrupts"})
    ),
    *(
        Candidate(
            profile,
            "ours",
            ("-m", "async_kernel", "run", "-f", CONNECTION_FILE, "--profile", profile),
            # What the package's commands cost does not depend on a profile.
            KERNEL | {"tasks"} | ({"commands"} if profile == "default" else set()),
            "async_kernel",
        )
        for profile in ("default", "trio", "fast")
    ),
)
BASE, LIMIT = "ipykernel", "limit"


class RunningKernel:
    """One kernel process with its client. The clock starts just before the process is made."""

    def __init__(
        self, candidate: Candidate, python: Path, folder: Path, context: zmq.Context[zmq.Socket[bytes]]
    ) -> None:
        self.candidate, self.python = candidate, python
        self.connection_file = folder / f"kernel-{os.urandom(6).hex()}.json"
        self.client = Client(context, self.connection_file)
        arguments = [each.replace(CONNECTION_FILE, str(self.connection_file)) for each in candidate.arguments]
        self.log = folder / f"{candidate.name}.log"
        with self.log.open("ab") as log:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [python, *arguments],
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the client alone; and it ends with all its children.
            )

    def since_start(self) -> float:
        return time.perf_counter() - self.started

    def warm_up(self) -> None:
        """Wait until the kernel executes and its iopub is heard."""
        client = self.client
        client.reply(client.request("kernel_info_request"), "shell", 30)
        for attempt in range(5):
            with suppress(WrongAnswerError):
                client.run([client.execute("pass")], timeout=2 + attempt)
                client.discard(0.2)
                return
            client.discard(0.2)
        raise WrongAnswerError("the kernel does not become ready")

    def obituary(self) -> str:
        """How the process has ended, with the last line of its log; empty while it runs."""
        code = self.process.poll()
        if code is None:
            return ""
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return f"; its process had ended with {code}: {lines[-1] if lines else 'it said nothing'}"

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children so far."""
        times = [each.cpu_times() for each in self._processes()]
        return sum(each.user + each.system for each in times)

    def needs(self, feature: str) -> None:
        """Leave the measure where the kernel does not claim to have what it needs.

        Raises:
            UnsupportedError: It does not.
        """
        if feature not in self.candidate.can:
            raise UnsupportedError(feature)

    def scheduled_seconds(self) -> float:
        """The time that all threads of the process were running so far, in nanoseconds' resolution (Linux)."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9

    def resident_mib(self) -> float:
        return sum(each.memory_info().rss for each in self._processes()) / 2**20

    def forget_peak(self) -> None:
        """Let the peak of the resident memory begin anew (Linux)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", "ascii")

    def peak_mib(self) -> float:
        """The most that the process itself has had in memory since `forget_peak`."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise WrongAnswerError("the process has no memory any more")

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def shut_down(self, timeout: float = 20.0) -> float:
        """Ask the kernel to shut down; the seconds until its process is gone, its reply checked."""
        client = self.client
        request = client.request("shutdown_request", restart=False)
        pidfd = os.pidfd_open(self.process.pid)
        try:
            started = time.perf_counter()
            client.send(request, "control")
            gone, _, _ = select.select([pidfd], [], [], timeout)
            seconds = time.perf_counter() - started
        finally:
            os.close(pidfd)
        if not gone:
            raise WrongAnswerError(f"the process is still there {timeout} s after the shutdown request")
        self.process.wait()
        if not client.sockets["control"].poll(1000):
            raise WrongAnswerError("no reply to the shutdown request")
        client.check_reply(client.sockets["control"].recv_multipart(), request)
        return seconds

    def close(self) -> None:
        """End the process, however it is."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.client.close()
        self.connection_file.unlink(missing_ok=True)


def environment(folder: Path) -> dict[str, str]:
    """The environment variables of every kernel: not the user's own IPython and Jupyter folders, byte code allowed."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JPY_", "ASYNC_KERNEL"))
    }
    folders = {name: str(folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    return {**inherited, **folders}
