"""What a kernel writes is its owner's only, and the keys are in none of it but the connection file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.connect import write_connection_file

from async_kernel.errors import SetupError
from async_kernel.transport import connection_file
from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_file, wait_for_log, wait_for_ports

pytestmark = pytest.mark.slow

FOLDERS = ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "TMPDIR")
OTHERS = stat.S_IRWXG | stat.S_IRWXO
KEY = b"the-key-of-this-kernel-0123456789"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of a new user, most of which are not there yet."""
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    for name in ("HOME", "TMPDIR"):
        Path(os.environ[name]).mkdir(parents=True)
    return tmp_path / "home"


@contextmanager
def umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def debugged(kernel: RunningKernel, command: str, **arguments: Any) -> dict[str, Any]:
    content = {"type": "request", "seq": 1, "command": command, "arguments": arguments}
    message = kernel.client.session.msg("debug_request", content)
    kernel.client.control_channel.send(message)
    return kernel.control_reply(message["header"]["msg_id"])["content"]


def open_to_others(folder: Path) -> Iterator[str]:
    """What others could get at: a folder that they may not enter keeps all in it from them."""
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if not path.is_symlink() and mode & OTHERS:
            yield f"{stat.filemode(mode)} {path}"
        if stat.S_ISDIR(mode) and mode & stat.S_IXOTH:
            yield from open_to_others(path)


def test_files_are_their_owners_only(home: Path) -> None:
    """Others could read the key, what was typed, or put code where the next kernel runs it."""
    home.chmod(0o755)
    path = home / "k.json"
    with umask(0):
        process = spawn(path, "--set", "transport=ipc")
        wait_for_file(path, process)
    kernel = RunningKernel(process, path)
    try:
        wait_for_log(kernel)
        debugged(kernel, "initialize")
        assert Path(debugged(kernel, "dumpCell", code="x = 1")["body"]["sourcePath"]).exists()
        assert kernel.run("password = 'typed'")[0]["content"]["status"] == "ok"
        assert kernel.run("%history -g -l 1")[0]["content"]["status"] == "ok"
        assert kernel.run("!echo hi")[0]["content"]["status"] == "ok"
        told = [*open_to_others(home)]
        made = {each.name for each in home.rglob("*")}
    finally:
        kernel.stop()
    ours = [each for each in told if not each.endswith(("/home/home", "/home/tmpdir"))]
    assert ours == []
    assert {"k.json", "k.log", "history.sqlite", "startup", "channel-1"} <= made


def test_what_commands_write_nobody_else_may_change(home: Path, tmp_path: Path) -> None:
    """Who may write a kernelspec or a profile may say what the next kernel runs."""
    trusted = tmp_path / "mine"
    trusted.mkdir(mode=0o700)
    with umask(0):
        for verb in (["install", "--prefix", str(home)], ["profile", "new", "mine"], ["trust", str(trusted)]):
            command = [sys.executable, "-m", "async_kernel", *verb]
            subprocess.run(command, check=True, timeout=TIMEOUT, capture_output=True)
    written = [*home.rglob("kernels/async/**/*"), *home.rglob("kernels/async"), *home.rglob("profiles/**/*")]
    written += [*home.rglob("profiles"), *home.rglob("*trust*")]
    assert {"kernel.json", "mine.yaml", "async"} <= {path.name for path in written}
    assert [path for path in written if path.stat().st_mode & stat.S_IWOTH] == []


BAD = (
    [b"<IDS|MSG>", b"0" * 64, b"{}", b"{}", b"{}", b"{}"],
    [b"<IDS|MSG>"],
    [b"nothing"],
)
LOOK = """
import faulthandler, os, pprint, subprocess, sys
from rich.pretty import pretty_repr
from async_kernel.utils import get_kernel
kernel = get_kernel(); connection = kernel._running_parts.connection
parts = (connection.info, connection.wire, connection.transport)
for each in (kernel, kernel.session, kernel.settings, connection, *parts):
    print(repr(each), str(each), pprint.pformat(each), pretty_repr(each))
print(sys.argv, dict(os.environ))
print(subprocess.run(["env"], capture_output=True, text=True).stdout)
kernel.log.debug("of %r and %r", connection.info, connection.wire)
print("x", file=sys.__stderr__)
"""


def verb(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "async_kernel", *words], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return done.stdout + done.stderr


def test_keys_are_in_the_connection_file_only(home: Path) -> None:
    """A log that is sent with a bug report, a list of processes or an error message would let others in."""
    runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
    runtime.mkdir(mode=0o700)
    path = runtime / "kernel-k.json"
    public, secret = zmq.curve_keypair()
    write_connection_file(str(path), key=KEY, curve_publickey=public, curve_secretkey=secret)
    process = spawn(path, "--log-level", "debug", "--set", "print_kernel_messages=true")
    wait_for_ports(path, process)
    kernel = RunningKernel(process, path)
    said: list[Any] = []
    try:
        wait_for_log(kernel)
        for channel in ("shell", "control", "stdin"):
            for frames in BAD:
                getattr(kernel.client, f"{channel}_channel").socket.send_multipart(frames)
        fails = "import async_kernel.launch as a\na.launch(None)"
        said += [kernel.run(code) for code in (LOOK, "%xmode Verbose", fails, "1/0")]
        assert "<ConnectionInfo" in text_of(said[0][1])
        said += [debugged(kernel, "attach", x=[]), debugged(kernel, "evaluate", expression=3)]
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            said.append(file.read())
        said.append(Path(f"/proc/{process.pid}/environ").read_bytes())
        said += [verb("ps", "--json"), verb("logs", str(path)), verb("doctor", "--json")]
        kernel.client.execute("import os; os.abort()")
        said += kernel.process.communicate(timeout=TIMEOUT)
    finally:
        kernel.stop()
    said += [verb("logs", "--last"), verb("ps")]
    said += [each.read_bytes() for each in home.rglob("*") if each.is_file() and each != path]
    everything = "\n".join(each.decode("latin-1") if isinstance(each, bytes) else repr(each) for each in said)
    assert "dropped a message" in everything
    assert "ZeroDivisionError" in everything
    for each in (KEY, secret):
        assert each.decode() not in everything, everything[max(0, everything.index(each.decode()) - 2000) :][:3000]
    assert KEY.decode() in json.dumps(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "field", [{"signature_scheme": "x"}, {"curve_publickey": ""}, {"curve_secretkey": "short"}, {"key": [KEY.decode()]}]
)
def test_a_broken_connection_file_is_not_shown(tmp_path: Path, field: dict[str, Any]) -> None:
    """The error is copied into a chat, with the key in it."""
    path, (public, secret) = tmp_path / "k.json", zmq.curve_keypair()
    write_connection_file(str(path), key=KEY, curve_publickey=public, curve_secretkey=secret)
    path.write_text(json.dumps({**json.loads(path.read_text()), **field}))
    with pytest.raises(SetupError) as refused:
        connection_file.read(path)
    shown = "".join(traceback.format_exception(refused.value))
    assert KEY.decode() not in shown
    assert secret.decode() not in shown
