"""Small conveniences for users: what the running code belongs to, and what its request says."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from async_kernel.kernel import Kernel, current_kernel
from async_kernel.protocol.cell_policy import CellPolicy
from async_kernel.protocol.messages import error_content
from async_kernel.scheduling.context import chosen_subshell, current_job, current_subshell_id
from async_kernel.threads import hide_from_debugger
from async_kernel.typing import Content, Job, Message, Tags

__all__ = [
    "error_to_content",
    "get_execution_count",
    "get_job",
    "get_kernel",
    "get_metadata",
    "get_parent",
    "get_subshell_id",
    "get_tag_value",
    "get_tags",
    "get_timeout",
    "mark_thread_pydev_do_not_trace",
    "setattr_nested",
    "subshell_context",
]


def get_kernel() -> Kernel:
    """The kernel of this process.

    Raises:
        RuntimeError: None is running.
    """
    kernel = current_kernel()
    if kernel is None or not kernel.event_started.is_set() or kernel.event_stopped.is_set():
        raise RuntimeError("no kernel is running in this process")
    return kernel


def get_job() -> Job[Any] | None:
    """The job that the calling code belongs to; None outside of every request."""
    return current_job.get()


def get_parent(job: Job[Any] | None = None) -> Message[Any] | None:
    """The message of `job` (default: the current one); None where there is none."""
    job = job or current_job.get()
    return None if job is None else job["msg"]


def get_metadata(job: Job[Any] | None = None) -> Content:
    """The metadata of the message of `job` (default: the current one)."""
    parent = get_parent(job)
    return {} if parent is None else parent["metadata"]


def get_tags(job: Job[Any] | None = None) -> list[str]:
    """The tags of the cell of `job` (default: the current one)."""
    tags = get_metadata(job).get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def get_tag_value(tag: Tags, tags: list[str] | None = None) -> str | None:
    """The text after `=` of the first of `tags` (default: the current cell's) that is `tag`.

    Returns:
        The text, empty where the tag has none; None where the tag is not there.
    """
    found = next((each for each in (get_tags() if tags is None else tags) if tag == each), None)
    return None if found is None else tag.get_string(found)


def get_timeout(job: Job[Any] | None = None) -> float | None:
    """The seconds that the cell's `timeout` tag says; None where it says nothing that can be understood."""
    return CellPolicy.parse(get_metadata(job)).timeout


def get_subshell_id(job: Job[Any] | None = None) -> str | None:
    """The subshell that the message of `job` (default: the current one) is for; None for the main shell."""
    return current_subshell_id() if job is None else job["msg"]["header"].get("subshell_id")


@contextmanager
def subshell_context(subshell_id: str | None) -> Generator[Any]:
    """Let the code inside belong to a subshell (None: to the main shell): `kernel.shell`, `get_ipython()` and the like.

    What it prints still goes to its own cell, and it still runs in its own thread. Yields the shell.

    Raises:
        ClientError: There is no such subshell.
        RuntimeError: No kernel is running.
    """
    shell = get_kernel().subshell_manager.get_shell(subshell_id)
    token = chosen_subshell.set(subshell_id)
    try:
        yield shell
    finally:
        chosen_subshell.reset(token)


def get_execution_count() -> int:
    """The execution count of the current (sub)shell: the number of its next cell that is stored."""
    return get_kernel().shell.execution_count


def setattr_nested(obj: Any, name: str, value: Any) -> None:
    """Set the attribute that the dotted path `name` means, counted from `obj`.

    Raises:
        AttributeError: A part of the path does not exist.
    """
    *path, last = name.split(".")
    for part in path:
        obj = getattr(obj, part)
    if not hasattr(obj, last):
        raise AttributeError(f"{type(obj).__name__!r} object has no attribute {last!r}")
    setattr(obj, last, value)


def error_to_content(error: BaseException) -> Content:
    """The content of an error reply made of `error`."""
    return error_content(error)


def mark_thread_pydev_do_not_trace(thread: threading.Thread | None = None, *, remove: bool = False) -> None:
    """Hide a thread (default: the current one) from debugpy, or show it again."""
    hide_from_debugger(thread or threading.current_thread(), hidden=not remove)
