"""From the command line to the end of the process: what starts, what is refused, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyter_client.connect import write_connection_file

from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_log

pytestmark = pytest.mark.slow


def gone(kernel: RunningKernel, folder: Path) -> None:
    assert kernel.process.wait(TIMEOUT) == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("profile", ["default", "trio", "fast"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(
    start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str, number: int
) -> None:
    kernel = start_kernel("--profile", profile)
    kernel.process.send_signal(number)
    gone(kernel, tmp_path)


@pytest.mark.parametrize("profile", ["default", "trio"])
@pytest.mark.parametrize(
    "code", ["while True: pass", "import time; time.sleep(60)", "await __import__('anyio').sleep(60)"]
)
def test_a_running_cell_does_not_keep_it_alive(
    start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str, code: str
) -> None:
    kernel = start_kernel("--profile", profile)
    kernel.client.execute(code)
    kernel.process.terminate()
    gone(kernel, tmp_path)


@pytest.mark.parametrize("profile", ["default", "trio", "fast"])
def test_shutdown_is_answered_and_ends_it(
    start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str
) -> None:
    kernel = start_kernel("--profile", profile)
    reply = kernel.control_reply(kernel.client.shutdown())
    assert reply["content"] == {"status": "ok", "restart": False}
    gone(kernel, tmp_path)


def test_interrupting_a_cell_from_the_terminal_leaves_the_kernel(start_kernel: Callable[..., RunningKernel]) -> None:
    kernel = start_kernel()
    msg_id = kernel.client.execute("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    kernel.begun(msg_id)
    kernel.process.send_signal(signal.SIGINT)
    assert kernel.reply(msg_id)["content"]["ename"] == "KernelInterruptError"
    assert text_of(kernel.run("print(1)")[1]) == "1\n"


UNNOTICED = """
import signal, threading, time
def strike(): signal.pthread_kill(threading.get_ident(), signal.{signal})
threading.Timer(0.1, strike).start()
time.sleep(60)
"""
"A signal that comes between Python's last look and the system call that sleeps does not end that either."


@pytest.mark.parametrize("profile", ["default", "trio", "fast"])
def test_a_signal_counts_though_the_main_thread_does_not_notice(
    start_kernel: Callable[..., RunningKernel], tmp_path: Path, profile: str
) -> None:
    """Ctrl-C or SIGTERM in the wrong moment, or while a library computes, would do nothing."""
    kernel = start_kernel("--profile", profile)
    reply, _ = kernel.run(UNNOTICED.format(signal="SIGINT"))
    assert reply["content"]["ename"] == "KernelInterruptError"
    assert text_of(kernel.run("print(1)")[1]) == "1\n"
    kernel.client.execute(UNNOTICED.format(signal="SIGTERM"))
    gone(kernel, tmp_path)


def test_the_connection_file_is_private(start_kernel: Callable[..., RunningKernel]) -> None:
    for number, profile in enumerate(("default", "fast")):
        kernel = start_kernel("--profile", profile)
        assert kernel.connection_file.stat().st_mode & 0o777 == 0o600, number
        info = json.loads(kernel.connection_file.read_text())
        if info["transport"] == "ipc":
            assert Path(info["ip"]).parent.stat().st_mode & 0o777 == 0o700


def test_a_dead_parent_ends_it(tmp_path: Path) -> None:
    """A server that was killed leaves no kernels behind."""
    path = tmp_path / "k.json"
    code = (
        "import subprocess, sys, os\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'async_kernel', 'run', '-f', {str(path)!r}],"
        " env={**os.environ, 'JPY_PARENT_PID': str(os.getpid())}, stderr=subprocess.DEVNULL)\n"
        f"while not os.path.exists({str(path)!r}): assert p.poll() is None\n"
        "print(p.pid, flush=True)"
    )
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT)
    pid = int(parent.stdout)
    descriptor = os.pidfd_open(pid)
    try:
        import select

        assert select.select([descriptor], [], [], TIMEOUT)[0], "the kernel lives on"
    finally:
        os.close(descriptor)
    assert not path.exists()


def refused(path: Path, *options: str, **environment: str) -> str:
    """What a start that is refused says: one line, exit code 2, no traceback."""
    process = spawn(path, *options, **environment)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    assert "'dfault'" in refused(path, "--profile", "dfault")
    path.write_text("not json")
    assert str(path) in refused(path)
    path.write_text(json.dumps({"ip": "127.0.0.1", "transport": "tcp", "key": "x"}))
    assert "_port" in refused(path)
    for profile in ("default", "fast"):
        assert "folder" in refused(tmp_path / "missing" / "k.json", "--profile", profile)
        assert not (tmp_path / "missing").exists()


def test_a_taken_port_says_so(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write_connection_file(str(path), shell_port=port)
        assert str(port) in refused(path)
    assert path.exists(), "a file that was given is not ours to remove"


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/mem").exists(), reason="root may write anywhere")
def test_a_runtime_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """/proc can't be written by anybody, root included."""
    assert "/proc/" in refused(Path("/proc/kernel.json"))


def test_trio_without_trio(tmp_path: Path) -> None:
    """One line with the remedy; nothing was started."""
    blocker = tmp_path / "site"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "class Without(importlib.machinery.PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name.partition('.')[0] == 'trio' else super().find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]\n"
    )
    said = refused(tmp_path / "k.json", "--profile", "trio", PYTHONPATH=str(blocker))
    assert "trio" in said
    assert "pip install" in said


@pytest.mark.parametrize("profile", ["default", "trio"])
def test_garbage_is_collected(start_kernel: Callable[..., RunningKernel], profile: str) -> None:
    """The collector rests while the kernel starts; cells have it back."""
    kernel = start_kernel("--profile", profile)
    _, published = kernel.run("import gc; print(gc.isenabled())")
    assert text_of(published) == "True\n"


def test_the_log_tells_of_a_kernel_and_its_end(start_kernel: Callable[..., RunningKernel]) -> None:
    """After "the kernel has died" this is all that is left to find out why."""
    kernel = start_kernel()
    log = wait_for_log(kernel)
    kernel.client.session.key, key = b"wrong", kernel.client.session.key
    kernel.client.execute("1")
    kernel.client.session.key = key
    kernel.run("import logging; logging.getLogger('async_kernel').error('from %s', 'here')")
    kernel.process.terminate()
    kernel.process.wait(TIMEOUT)
    command = [sys.executable, "-m", "async_kernel", "logs", str(kernel.connection_file), "--last", "--json"]
    (life,) = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT).stdout)
    assert (life["pid"], life["profile"], life["state"]) == (kernel.process.pid, "default", "stopped")
    assert life["why"].endswith("signal SIGTERM")
    assert [each["message"] for each in life["records"]] == [
        "started",
        "dropped a message on the shell channel: the signature does not match",
        "from here",
        "stopped",
    ]
    assert key.decode() not in log.read_text()
    kernel = start_kernel()
    wait_for_log(kernel)
    kernel.process.kill()
    kernel.process.wait(TIMEOUT)
    command = [*command[:3], "logs", "--last", "--json"]
    (life,) = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT).stdout)
    assert (life["pid"], life["state"]) == (kernel.process.pid, "died")
