"""What `usage_request` says: the figures of a frontend's resource display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from async_kernel.runtime.usage import Usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def test_what_is_measured() -> None:
    """The display of a frontend would be empty, or show what is not so."""
    usage = Usage()
    first = usage.measure()
    assert first["pid"] == os.getpid()
    assert first["cpu_count"] == os.cpu_count()
    assert "host_cpu_percent" not in first
    block = bytearray(b"x") * 50_000_000
    until = sum(os.times()[:2]) + 0.05
    while sum(os.times()[:2]) < until:
        pass
    second = usage.measure()
    assert second["kernel_memory"] - first["kernel_memory"] > 0.9 * len(block)
    assert second["kernel_cpu"] > 0
    assert 0 <= second.get("host_cpu_percent", 0) <= 100
    memory = second["host_virtual_memory"]
    assert memory["total"] > memory["available"] > 0
    assert memory["used"] == memory["total"] - memory["available"]


def test_children_count() -> None:
    """A process that a cell has started would use the whole host, and nobody would see it."""
    usage = Usage()
    alone = usage.measure()["kernel_memory"]
    code = "block = bytearray(b'x') * 50_000_000; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert usage.measure()["kernel_memory"] - alone > 50_000_000
        child.communicate(b"\n")


def test_without_proc(tmp_path: Path) -> None:
    """On macOS or Windows the request would be an error."""
    content = Usage(tmp_path).measure()
    assert content["kernel_memory"] > 1_000_000
    assert content["kernel_cpu"] == 0.0
