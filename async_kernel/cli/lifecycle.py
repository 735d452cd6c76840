"""What a kernel's life looks like on the terminal that it was started from. Imported when the kernel is ready."""

from __future__ import annotations

import queue
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TextIO

from async_kernel import __version__
from async_kernel.cli import render
from async_kernel.config.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["follow"]

COUNT_SECONDS: Final = 2.0
"After a refused message, those of this time are counted and told in one line."


def follow(profile: Profile, terminal: TextIO, events: queue.SimpleQueue[tuple[str, Mapping[str, Any]]]) -> None:
    """Tell of `events` on `terminal` until the kernel has stopped, or nobody is there any more.

    Args:
        profile: What the kernel runs as.
        terminal: Where to write.
        events: What `async_kernel.runtime.reception.Report` is told of.
    """
    refused: Counter[str] = Counter()
    quiet_until = 0.0
    event = ""
    try:
        lines = render.Lines(terminal)
        while event != "stopped":
            wait = max(0.0, quiet_until - time.monotonic()) if refused else None
            try:
                event, facts = events.get(timeout=wait)
            except queue.Empty:
                event, facts = "", {}
            if event == "refused":
                refused[facts["reason"]] += 1
            if refused and (event == "stopped" or time.monotonic() >= quiet_until):
                lines.line(_refused(refused), "yellow")
                refused.clear()
                quiet_until = time.monotonic() + COUNT_SECONDS
            _tell(lines, profile, event, facts)
    except OSError:
        return  # The terminal has gone, and with it whoever wanted to know.


def _tell(lines: render.Lines, profile: Profile, event: str, facts: Mapping[str, Any]) -> None:
    match event:
        case "started":
            _started(lines, profile, facts)
        case "interrupted":
            count = facts["count"]
            what = f"{count} running request{'s' if count > 1 else ''}" if count else "nothing was running"
            lines.line(f"interrupt: {what}", "yellow")
        case "failed":
            lines.line(f"failed in the background: {facts['what']}: {facts['error']}", "red")
        case "stopped":
            lines.line(f"stopped after {render.duration(facts['uptime'])}: {facts['reason'] or 'asked to'}", "bold")
        case _:
            pass  # counted above, or a time that has passed


def _started(lines: render.Lines, profile: Profile, facts: Mapping[str, Any]) -> None:
    values, file, info = profile.values, facts["connection_file"], facts["info"]
    backend, transport = values["backend"], info.transport
    channels = ", ".join(f"{each.name} {port}" for each, port in info.ports.items())
    lines.panel(
        f"async_kernel {__version__}",
        {
            "profile": f"{profile.name}  {profile.path}",
            "backend": backend,
            "transport": transport + (", encrypted (CURVE)" if info.curve_publickey else ""),
            "channels": f"{info.ip}  {channels}",
            "file": str(file),
            "stop": "Ctrl-C",
        },
        plain=(
            f"started (profile {profile.name}, {backend}, {transport}): {file}",
            f"listens at {info.ip}: {channels}",
        ),
    )
    # A line of its own: what is to be copied is not broken by the edge of a panel.
    lines.line(f"connect with: jupyter console --existing {file}    stop with Ctrl-C", "")


def _refused(reasons: Counter[str]) -> str:
    total = reasons.total()
    said = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"refused {total} message{'s' if total > 1 else ''}: {said}"
