"""Threads of the kernel's own: nobody debugs them."""

from __future__ import annotations

import sys
import threading

__all__ = ["KernelThread", "hide_from_debugger"]


class KernelThread(threading.Thread):
    """A daemon thread that is the kernel's, not the user's: debugpy neither traces, lists nor suspends it.

    A thread that moves messages must go on while cells are paused. The attributes are those that pydevd looks for.
    """

    pydev_do_not_trace = True
    is_pydev_daemon_thread = True

    def __init__(self, *, target: object, name: str, args: tuple[object, ...] = ()) -> None:
        # Before Python 3.13 a thread can't be made without it, and a kernel can't be interrupted or stopped then.
        deleted = not hasattr(sys, "stderr")
        if deleted:
            sys.stderr = None
        super().__init__(target=target, name=name, args=args, daemon=True)  # pyright: ignore[reportArgumentType]
        if deleted:
            del sys.stderr


def hide_from_debugger(thread: threading.Thread, *, hidden: bool = True) -> None:
    """Hide a thread that is none of ours from debugpy, or show it again."""
    thread.pydev_do_not_trace = hidden  # pyright: ignore[reportAttributeAccessIssue]
    thread.is_pydev_daemon_thread = hidden  # pyright: ignore[reportAttributeAccessIssue]
