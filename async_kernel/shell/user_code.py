"""The ways into the code of a cell."""

from __future__ import annotations

import threading
from _thread import get_ident
from types import CodeType
from typing import Any, Final

from async_kernel.scheduling.sections import BORDERS, Stepped, guarded

__all__ = ["NOT_SHOWN", "USER_CODE", "await_user_code", "call_user_code", "run_user_code"]


def run_user_code(code: CodeType, global_ns: dict[str, Any], local_ns: dict[str, Any]) -> None:
    exec(code, global_ns, local_ns)


async def await_user_code(code: CodeType, global_ns: dict[str, Any], local_ns: dict[str, Any]) -> None:
    coroutine = eval(code, global_ns, local_ns)
    await (coroutine if get_ident() == threading.main_thread().ident else Stepped(coroutine))


def call_user_code(func: Any, *args: Any) -> Any:
    return guarded(func, *args)


USER_CODE: Final = frozenset({run_user_code.__code__, await_user_code.__code__, call_user_code.__code__})
"""One of these is on the stack exactly while the code of a cell is: an interrupt may be raised there."""
NOT_SHOWN: Final = USER_CODE | BORDERS
"What stands between the kernel and the code of a cell in a traceback."
