"""When a cell was run, and how: the metadata of its `execute_reply`."""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Any

from async_kernel.protocol.jsonable import pack_finite
from async_kernel.scheduling import event_loops
from async_kernel.typing import Job

__all__ = ["timing"]


def timing(job: Job[Any], began: int) -> bytes:
    """The metadata of the reply to `job`, as JSON; call it where the handler ran.

    `started` is where ipykernel has it and frontends look for it. Times are ISO 8601 in UTC with microseconds.

    Args:
        job: The request.
        began: When its handler began (nanoseconds since the epoch).
    """
    now = time.time_ns()
    queued = now - int((time.monotonic() - job["received_time"]) * 1e9)
    metadata = {
        "started": _iso(began),
        "async_kernel": {
            "queued": _iso(queued),
            "finished": _iso(now),
            "run_mode": job.get("run_mode"),
            "thread": threading.current_thread().name,
            "backend": event_loops.running_backend(),
            "subshell": job["msg"]["header"].get("subshell_id"),
        },
    }
    return pack_finite(metadata, "metadata")


def _iso(nanoseconds: int) -> str:
    return f"{_second(nanoseconds // 1_000_000_000)}.{nanoseconds // 1000 % 1_000_000:06d}Z"


@lru_cache(8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
