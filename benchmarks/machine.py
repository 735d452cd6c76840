"""Where and of what a run was made, without a name of the machine or of a person."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environments import run

ROOT = Path(__file__).parents[1]
PACKAGES = ("async-kernel", "async_kernel", "ipykernel", "xeus-python", "ipython", "pyzmq", "uvloop", "trio", "anyio")
ASK = f"""
import importlib.metadata, json
found = {{}}
for name in {PACKAGES}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
print(json.dumps(found))
"""


def facts() -> dict[str, Any]:
    """What may explain a figure: the processor, the memory, the versions, and how busy the machine is now."""
    system, release = platform.system(), ".".join(platform.release().split(".")[:2])
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{system} {release}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "load_before": [round(each, 2) for each in os.getloadavg()],
    }


def cpu_model() -> str:
    """The processor's name (Linux); else its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(python: Path) -> dict[str, str]:
    """The versions of the packages that matter in the environment of the interpreter `python`."""
    return json.loads(run(python, "-c", ASK))


def commit() -> str:
    """The checkout's commit, with a plus where files differ from it; `unknown` outside a checkout."""
    command = ("git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
