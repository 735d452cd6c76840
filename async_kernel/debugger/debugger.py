"""`Debugger`: answers debug requests, from what it knows itself or through debugpy's adapter."""

from __future__ import annotations

import ast
import contextlib
import linecache
import os
import stat
import sys
import tokenize
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeAlias

from async_kernel.debugger.client import AdapterClient, Spawn, listen
from async_kernel.debugger.stack import KERNEL_RULES, users_frames
from async_kernel.debugger.variables import FIRST_REFERENCE, Variables, assignment, rich_expression
from async_kernel.errors import ClientError
from async_kernel.interfaces import Publisher
from async_kernel.protocol.content import DebugRequest, parse
from async_kernel.protocol.dap import failure, success
from async_kernel.protocol.jsonable import unpack
from async_kernel.typing import Content, Message, MsgType

__all__ = ["Debugger"]

Arguments: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Arguments], Awaitable[Content]]


class Surroundings(Protocol):
    """What the debugger asks of the kernel around it."""

    prefix: str
    "What the file name of a cell begins with: a folder of this process."
    suffix: str
    hash_method: str
    hash_seed: int

    def file_of(self, code: str) -> str:
        """The file name that a cell of this text is compiled with."""
        ...

    def names(self) -> Mapping[str, Any]:
        """The user's namespace."""
        ...

    def hidden_names(self) -> Mapping[str, Any]:
        """What is in it that is not the user's."""
        ...

    def rich(self, expression: str) -> Content:
        """What IPython's `user_expressions` says of an expression: a mime bundle, or an error."""
        ...

    def paused(self, is_paused: bool) -> object:
        """Code of the user was stopped, or all of it runs again: interrupts wait meanwhile."""
        ...
