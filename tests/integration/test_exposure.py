"""A kernel that others could reach does not start, unless its user consents; whichever way it is started."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyter_client.connect import write_connection_file

from tests.kernels import TIMEOUT, RunningKernel, spawn, text_of, wait_for_ports

pytestmark = pytest.mark.slow

Start = Callable[..., RunningKernel]


def refused(path: Path, *options: str, **environment: str) -> str:
    """The one line that says why no kernel was started."""
    process = spawn(path, *options, **environment)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1), err
    return err


def test_a_connection_file_without_a_key(tmp_path: Path) -> None:
    """Everybody on the machine could run code as the user, and nothing would tell."""
    path = tmp_path / "given.json"
    write_connection_file(str(path), key=b"")
    line = refused(path)
    assert f"async-kernel: error: the connection file {path} has no key: messages would not be signed" in line
    assert "consent: allow_unsigned: true" in line
    assert path.exists(), "it is the client's"
    process = spawn(path, "--set", "allow_unsigned=true")
    wait_for_ports(path, process)
    kernel = RunningKernel(process, path)
    try:
        assert text_of(kernel.run("print(1)")[1]) == "1\n"
    finally:
        kernel.stop()


def test_an_address_that_others_reach(tmp_path: Path, start_kernel: Start) -> None:
    """The profile's line is named, or the connection file; the network does not get in by a slip."""
    profile, own, given = tmp_path / "p.yaml", tmp_path / "own.json", tmp_path / "given.json"
    profile.write_text("description: x\nip: '*'\n")
    place = f"{profile}:2:5: error: ip '*' means every address of this machine"
    assert place in refused(own, "--profile", str(profile))
    assert place in refused(own, "--profile", str(profile), "--set", "encryption=required")
    assert "is not of this machine alone" in refused(own, ASYNC_KERNEL_IP="192.0.2.1")
    write_connection_file(str(given), ip="0.0.0.0", key=b"k")
    assert f"error: the connection file {given}: ip '0.0.0.0' means every" in refused(given)
    assert not own.exists()
    valid = subprocess.run(
        [sys.executable, "-m", "async_kernel", "profile", "validate", str(profile)],
        capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert (valid.returncode, place in valid.stderr + valid.stdout) == (2, True)
    kernel = start_kernel("--profile", str(profile), ASYNC_KERNEL_ALLOW_NETWORK="true")
    port = json.loads(kernel.connection_file.read_text())["shell_port"]
    socket.create_connection(("127.0.0.2", port), TIMEOUT).close()


EMBEDDED = """
import sys
from async_kernel import Kernel, embed
from async_kernel.errors import SetupError
info = {"key": KEY, "ip": IP, **{f"{name}_port": 0 for name in ("hb", "shell", "stdin", "control", "iopub")}}
try:
    kernel = Kernel()
    kernel.load_connection_info(info)
    embed(announce=lambda kernel: kernel.stop()) if EMBED else kernel.run()
except SetupError as error:
    print(error)
"""


@pytest.mark.parametrize("embed", [True, False])
def test_a_kernel_in_a_program(embed: bool) -> None:
    """A program that a user runs opens a door that the command would not."""
    for key, ip, said in (("", "127.0.0.1", "the connection info has no key"), ("k", "::", "means every address")):
        code = EMBEDDED.replace("KEY", repr(key)).replace("IP", repr(ip)).replace("EMBED", repr(embed))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT)
        assert (said in done.stdout, done.stderr, done.stdout.count("\n")) == (True, "", 1), done
