"""What the kernel and its host use: the content of `usage_reply`, with the fields of ipykernel's.

On Linux all is read from `/proc`, the processes that the kernel has started included; elsewhere the standard library
knows the kernel's own share only.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from async_kernel.typing import Content

__all__ = ["Usage"]

PROC: Final = Path("/proc")
KIB: Final = 1024
MEMORY: Final = {
    "total": "MemTotal",
    "available": "MemAvailable",
    "free": "MemFree",
    "active": "Active",
    "inactive": "Inactive",
    "buffers": "Buffers",
    "shared": "Shmem",
    "slab": "Slab",
}
"""Fields of `host_virtual_memory` by psutil's names, and what `/proc/meminfo` calls them."""


class Usage:
    """Measures; what is a percentage is meant since the measurement before."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}
        self._measured = 0.0
        self._host = (0.0, 0.0)

    def measure(self) -> Content:
        """The content of a `usage_reply`.

        `kernel_cpu` and `host_cpu_percent` are percent (of one CPU, of all), memory is in bytes. A value that is not
        known is left out: `host_cpu_percent` the first time.
        """
        content: Content = {
            "status": "ok",
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "cpu_count": os.cpu_count(),
        }
        with self._lock:
            if (self._proc / "self" / "stat").exists():
                pids = list(self._family(os.getpid()))
                content["kernel_cpu"] = self._kernel_cpu({pid: self._cpu_seconds(pid) for pid in pids})
                content["kernel_memory"] = sum(map(self._memory, pids))
                content["host_virtual_memory"] = self._host_memory()
                content |= self._host_cpu()
            else:
                content["kernel_cpu"] = self._kernel_cpu({os.getpid(): time.process_time()})
                content |= _own_memory()
        return content

    def _kernel_cpu(self, seconds: dict[int, float]) -> float:
        now = time.monotonic()
        since, self._measured = now - self._measured, now
        before, self._seconds = self._seconds, seconds
        if not before:
            return 0.0
        spent = sum(max(0.0, after - before.get(pid, 0.0)) for pid, after in seconds.items())
        return round(100 * spent / max(since, 1e-3), 1)

    def _read(self, *parts: object) -> str:
        """A file of /proc; empty where the process has ended, or is somebody else's."""
        try:
            return self._proc.joinpath(*map(str, parts)).read_text("utf-8", "replace")
        except OSError:
            return ""

    def _family(self, pid: int) -> Iterator[int]:
        """A process and all that it has started."""
        yield pid
        try:
            threads = os.listdir(self._proc / str(pid) / "task")
        except OSError:
            return
        for thread in threads:
            for child in self._read(pid, "task", thread, "children").split():
                yield from self._family(int(child))

    def _cpu_seconds(self, pid: int) -> float:
        fields = self._read(pid, "stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, pid: int) -> int:
        """Its share of what it has in memory where that is told, else all of it."""
        if (pss := _in_kib(self._read(pid, "smaps_rollup")).get("Pss")) is not None:
            return pss
        pages = self._read(pid, "statm").split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0

    def _host_memory(self) -> Content:
        found = _in_kib(self._read("meminfo"))
        memory: Content = {name: found.get(field, 0) for name, field in MEMORY.items()}
        memory["cached"] = found.get("Cached", 0) + found.get("SReclaimable", 0)
        memory["used"] = max(0, memory["total"] - memory["available"])
        memory["percent"] = round(100 * memory["used"] / max(memory["total"], 1), 1)
        return memory

    def _host_cpu(self) -> Content:
        times = [float(each) for each in self._read("stat").partition("\n")[0].split()[1:9]]
        before, self._host = self._host, (sum(times), sum(times[3:5]))  # idle, and waiting for a disk
        whole, idle = self._host[0] - before[0], self._host[1] - before[1]
        return {"host_cpu_percent": round(100 * (1 - idle / whole), 1)} if before[0] and whole > 0 else {}


def _in_kib(text: str) -> dict[str, int]:
    """The lines `Name: N kB` of a file, in bytes."""
    fields = (line.split() for line in text.splitlines())
    return {each[0].rstrip(":"): int(each[1]) * KIB for each in fields if len(each) == 3 and each[2] == "kB"}


def _own_memory() -> Content:
    if sys.platform == "win32":
        return {}
    import resource  # there is none on Windows

    # macOS counts in bytes. It is the highest value there was: what is used now is not known without more.
    return {
        "kernel_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
    }
