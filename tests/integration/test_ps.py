"""`async-kernel ps`: which kernels run, how they are, and what may be removed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from async_kernel.cli.asking import ask
from async_kernel.errors import WireError
from async_kernel.protocol.connection_info import ConnectionInfo
from async_kernel.protocol.wire import Wire
from async_kernel.transport import connection_file
from tests.kernels import TIMEOUT, RunningKernel, spawn, wait_for_file, wait_for_log

pytestmark = pytest.mark.slow


def ps(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "async_kernel", "ps", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def rows_of(done: subprocess.CompletedProcess[str], folder: Path) -> dict[str, dict[str, Any]]:
    """The rows, by the names of the connection files; those below `folder`, since others may run kernels here too."""
    assert done.returncode == 0, done
    rows = {Path(row["connection_file"]): row for row in json.loads(done.stdout)}
    return {path.name: row for path, row in rows.items() if path.is_relative_to(folder)}


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def start(runtime: Path) -> Iterator[Callable[..., RunningKernel]]:
    kernels: list[RunningKernel] = []

    def start(path: Path, *options: str) -> RunningKernel:
        process = spawn(path, *options)
        wait_for_file(path, process)
        kernels.append(RunningKernel(process, path))
        return kernels[-1]

    yield start
    for each in kernels:
        each.process.send_signal(signal.SIGCONT)
        each.stop()


@pytest.fixture
def folder() -> Iterator[str]:
    """One whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory() as path:
        yield path


def test_the_states_of_kernels(start: Callable[..., RunningKernel], runtime: Path, tmp_path: Path) -> None:
    """Without it nobody knows which of ten kernels computes, hangs, or is only a file that was left."""
    busy = start(runtime / "kernel-busy.json")
    idle = start(tmp_path / "elsewhere.json", "--profile", "fast")  # ipc, and not in the runtime folder
    (runtime / "jpserver-1.json").write_text('{"pid": 1, "port": 8888}')
    (runtime / "broken.json").write_text("{")
    info = ConnectionInfo(hb_port=1, shell_port=1, stdin_port=1, control_port=1, iopub_port=1, kernel_name="python3")
    (runtime / "kernel-foreign.json").write_text(json.dumps(info.as_dict()))
    idle.run("1")  # until then it may still be starting
    msg_id = busy.client.execute("import threading; threading.Event().wait()")
    while busy.client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "execute_input":
        pass
    rows = rows_of(ps("--json"), tmp_path)
    assert set(rows) == {"kernel-busy.json", "elsewhere.json"}
    row = rows["kernel-busy.json"]
    assert (row["pid"], row["profile"], row["state"], row["running"]) == (busy.process.pid, "default", "busy", 1)
    assert 0 < row["uptime"] < 60
    assert row["memory"] > 10_000_000
    row = rows["elsewhere.json"]
    assert (row["pid"], row["profile"], row["state"], row["running"]) == (idle.process.pid, "fast", "idle", 0)
    plain = ps().stdout.splitlines()
    assert plain[0].split() == ["PID", "PROFILE", "STATE", "UPTIME", "MEMORY", "CONNECTION", "FILE"]
    assert any(line.startswith(f"{busy.process.pid} ") for line in plain)
    busy.client.session.send(busy.client.control_channel.socket, "interrupt_request", {})
    busy.reply(msg_id)
    watch(str(busy.process.pid))
    # One that is stopped holds its ports: what connects is not refused.
    busy.process.send_signal(signal.SIGSTOP)
    assert rows_of(ps("--json"), tmp_path)["kernel-busy.json"]["state"] in ("not answering", "starting")
    assert (runtime / "kernel-busy.json").exists()


def watch(pid: str) -> None:
    """`ps --watch` on a terminal shows what `ps` does, and ends with Ctrl-C as it should."""
    assert ps("--watch").returncode == 2
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    command = [sys.executable, "-m", "async_kernel", "ps", "--watch"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environ) as process:
        try:
            os.close(theirs)
            text = ""
            while text.count(pid) < 2:
                text += os.read(ours, 65536).decode()
            process.send_signal(signal.SIGINT)
            # A terminal reads on; else what is shown last, with the kernels of other tests in it, may not find room.
            with contextlib.suppress(OSError):  # so says Linux when there is no more writer
                while os.read(ours, 65536):
                    pass
            _, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()  # Else the test would wait for one that hangs, whatever its own time limit.
    os.close(ours)
    assert (process.returncode, err) == (0, b"")


def test_what_dead_kernels_leave(start: Callable[..., RunningKernel], runtime: Path, folder: str) -> None:
    """Files of dead kernels pile up; the file of a living one, removed, cuts its clients off for good."""
    # As Jupyter writes it: the file does not say whose it is, the kernel's log does.
    given = ConnectionInfo.new(kernel_name="async")
    names = ("hb", "shell", "stdin", "control", "iopub")
    fields = given.as_dict() | {f"{name}_port": number for number, name in enumerate(names, 1)}
    fields |= {"transport": "ipc", "ip": f"{folder}/given/channel"}
    (runtime / "kernel-given.json").write_text(json.dumps(fields))
    logged = start(runtime / "kernel-given.json")
    wait_for_log(logged)
    dead = start(runtime / "kernel-dead.json", "--profile", "fast")
    sockets = Path(json.loads(dead.connection_file.read_text())["ip"]).parent
    wait_for_log(dead)  # By now the other has looked for what dead kernels have left, as each does once.
    (runtime / "kernel-unknown.json").write_text(json.dumps(given.as_dict() | {f"{each}_port": 1 for each in names}))
    assert Path(folder, "given").is_dir()
    for each in (dead, logged):
        each.client.stop_channels()
        each.process.kill()
        each.process.wait(TIMEOUT)
    rows = rows_of(ps("--json"), runtime)
    assert {name: row["state"] for name, row in rows.items()} == {
        "kernel-dead.json": "stale",
        "kernel-given.json": "stale",
        "kernel-unknown.json": "stale",
    }
    assert sockets.is_dir()
    done = ps("--prune", "--json")
    assert list(rows_of(done, runtime)) == ["kernel-unknown.json"]
    assert sorted(done.stderr.splitlines()) == [
        f"kept  {runtime}/kernel-unknown.json: nothing says which process on which machine it belongs to",
        f"removed  {runtime}/kernel-dead.json",
        f"removed  {runtime}/kernel-given.json",
    ]
    assert not sockets.exists()
    assert not Path(folder, "given").exists()


class FakeKernel:
    """Answers on a control channel."""

    def __init__(self, *, encrypted: bool = False, key: bytes = b"key", answer_with: bytes = b"key") -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        curve: dict[str, Any] = {}
        if encrypted:
            public, secret = zmq.curve_keypair()
            self._socket.curve_server, self._socket.curve_secretkey = True, secret
            curve = {"curve_publickey": public, "curve_secretkey": secret}
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.info = ConnectionInfo(control_port=port, key=key, **curve)
        self._wires = Wire(key), Wire(answer_with)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            frames = self._socket.recv_multipart()
            ident, message = self._wires[0].decode(frames)
            content = {"implementation": "other"}
            self._socket.send_multipart(
                self._wires[1].encode("kernel_info_reply", content, parent=message, ident=ident)
            )
        except (zmq.ContextTerminated, WireError):
            return  # nobody has asked, or nobody who may
        finally:
            self._socket.close(1000)

    def close(self) -> None:
        self._context.term()
        self._thread.join(TIMEOUT)


def test_asking() -> None:
    """An encrypted kernel answers too; an answer that anybody could have sent is none."""
    kernels = {
        "plain": FakeKernel(),
        "encrypted": FakeKernel(encrypted=True),
        "forged": FakeKernel(answer_with=b"other"),
    }
    silent = FakeKernel(key=b"another")
    infos = {name: each.info for name, each in kernels.items()}
    infos["silent"] = silent.info.replace(key=b"key")
    infos["nowhere"] = ConnectionInfo(control_port=1, ip="no such host")
    try:
        answers = ask(infos, 0.5)
    finally:
        for each in (*kernels.values(), silent):
            each.close()
    assert {name: each["implementation"] for name, each in answers.items()} == {"plain": "other", "encrypted": "other"}


def test_a_kernel_says_who_it_is(start: Callable[..., RunningKernel], runtime: Path) -> None:
    """What `ps` shows is what any client may ask for."""
    kernel = start(runtime / "kernel-a.json", "--profile", "trio")
    kernel.run("1")  # until then it may still be starting
    deadline = time.monotonic() + TIMEOUT
    said: dict[str, Any] = {"state": "busy"}
    while said["state"] != "idle":  # A cell has ended a moment after its reply.
        assert time.monotonic() < deadline
        said = kernel.reply(kernel.client.kernel_info())["content"]["async_kernel"]
    assert said.pop("started").endswith("Z")
    assert 0 < said.pop("uptime") < 2 * TIMEOUT
    assert said == {"pid": kernel.process.pid, "profile": "trio", "state": "idle", "running": 0}


def test_a_look_is_not_work(start: Callable[..., RunningKernel], runtime: Path) -> None:
    """`ps --watch` would make every notebook of the user look busy once a second."""
    kernel = start(runtime / "kernel-a.json")
    kernel.run("1")
    kernel.published(kernel.client.kernel_info())
    (row,) = rows_of(ps("--json"), runtime).values()
    assert row["state"] == "idle"
    msg_id = kernel.client.kernel_info()
    message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
    assert (message["msg_type"], message["parent_header"]["msg_id"]) == ("status", msg_id)


def test_why_a_file_is_kept(tmp_path: Path) -> None:
    """The file of a kernel on another machine, which shares this folder, is not ours to judge."""
    path = tmp_path / "k.json"
    info = ConnectionInfo(hb_port=1, shell_port=1, stdin_port=1, control_port=1, iopub_port=1)
    connection_file.write(path, info)
    assert connection_file.why_kept(path) == f"the process {os.getpid()} lives"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"kernel_host": "elsewhere"}))
    assert connection_file.why_kept(path) == "it belongs to a process on elsewhere"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as sock:
        port = sock.bind_to_random_port("tcp://127.0.0.1")
        path.write_text(json.dumps(data | {"kernel_pid": 2**22 + 1, "shell_port": port}))
        assert connection_file.why_kept(path) == "somebody listens on its shell channel"
    assert connection_file.why_kept(path) == ""
