"""Which frames of a stopped thread are the user's."""

from __future__ import annotations

import asyncio
import runpy
from typing import Any

import anyio
import IPython
import trio

from async_kernel.debugger.stack import users_frames
from async_kernel.shell import execution


def stack(*paths: str | None) -> list[dict[str, Any]]:
    return [{"source": {"path": path}} if path else {} for path in paths]


def test_machinery_is_left_out() -> None:
    """The frame of the cell would be one of forty."""
    ours, shell, loop = execution.__file__, IPython.__file__, asyncio.__file__
    frames = stack("/tmp/user.py", shell, ours, "/tmp/cell.py", ours, anyio.__file__, loop, ours, runpy.__file__, None)
    assert users_frames(frames) == stack("/tmp/user.py", "/tmp/cell.py")
    assert users_frames(stack("/tmp/cell.py", ours, trio.__file__, "<frozen runpy>")) == stack("/tmp/cell.py")


def test_a_loop_of_the_user_stays() -> None:
    """`asyncio.run` in a cell would be invisible."""
    frames = stack("/tmp/user.py", asyncio.__file__, "/tmp/cell.py", execution.__file__, asyncio.__file__)
    assert users_frames(frames) == stack("/tmp/user.py", asyncio.__file__, "/tmp/cell.py")
    assert users_frames(stack(asyncio.__file__)) == []
