"""From the text of a cell to code objects.

A cell's file name is a hash of its text, by the rule that debugger clients compute for themselves (Jupyter messaging
specification, `debugInfo`: `hashMethod`, `hashSeed`, `tmpFilePrefix`, `tmpFileSuffix`).
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, Final, TypeVar

from IPython.core.compilerop import CachingCompiler, PyCF_MASK

__all__ = ["HASH_METHOD", "HASH_SEED", "KernelCompiler", "again", "murmur2", "tmp_file_prefix"]

HASH_METHOD: Final = "Murmur2"
HASH_SEED: Final = 0xC70F6907
TMP_FILE_SUFFIX: Final = ".py"
MOST_HASHED: Final = 1 << 20
"Characters of a cell up to which its name is the one that debugger clients compute."
PARSES: Final = 20
"How often a text is parsed that another thread disturbs."
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


T = TypeVar("T")


def again(parse: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call what makes a syntax tree, again where another thread has disturbed it.

    Up to Python 3.12, the interpreter counts the depth of the tree that it makes in one place for all threads. Where
    these take turns meanwhile, `ast.parse` raises a SystemError that says nothing of the text ("AST constructor
    recursion depth mismatch", python/cpython#106905).
    """
    for _ in range(PARSES - 1):
        try:
            return parse(*args, **kwargs)
        except SystemError:
            continue
    return parse(*args, **kwargs)


def murmur2(text: str, seed: int = HASH_SEED) -> int:
    """The 32-bit MurmurHash2 of `text` in UTF-8 (Austin Appleby, public domain)."""
    data = text.encode("utf-8", "surrogatepass")
    whole = len(data) & ~3
    h = seed ^ (len(data) & _MASK)
    words = memoryview(data)[:whole].cast("I")
    if sys.byteorder == "big":
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, whole, 4)]
    for word in words:
        k = word * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def _number(text: str) -> int:
    """The hash in a cell's file name. That of a huge cell is one in C: `murmur2` would take a second for 8 MB."""
    if len(text) <= MOST_HASHED:
        return murmur2(text)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def tmp_file_prefix() -> str:
    """What a cell's file name begins with; nothing is written there but by a debugger."""
    for folder in (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")):
        if folder and os.path.isdir(folder):
            break
    else:
        folder = "/tmp" if os.name == "posix" else os.path.expanduser("~")
    return os.path.join(os.path.abspath(folder), f"async_kernel_{os.getpid()}", "")


class KernelCompiler(CachingCompiler):
    """Compiles cells; what a cell imports from `__future__` holds for the cells after it.

    Several threads may compile at once: nothing but `flags`, which only gains bits, is changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prefix: str = tmp_file_prefix()
        self._last = ("", "")

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """The file name of a cell."""
        last_code, last_name = self._last
        if last_code is raw_code and last_name:
            return last_name
        # The variable is ipykernel's: tools that run scripts in a kernel set it to the script's name.
        name = os.environ.get("IPYKERNEL_CELL_NAME") or f"{self.prefix}{_number(raw_code)}{TMP_FILE_SUFFIX}"
        self._last = (raw_code, name)
        return name

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        """Keep a cell for tracebacks; its file name.

        `linecache` gets a function for it, not lines: it makes them when a traceback, `inspect` or a debugger asks.
        """
        raw = transformed_code if raw_code is None else raw_code
        name = self.get_code_name(raw, transformed_code, number)
        self._filename_map[name] = number
        # The history has the raw one anyway.
        text = raw if transformed_code.removesuffix("\n") == raw else transformed_code
        linecache.cache[name] = (text.__str__,)
        return name

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        """The syntax tree of a text; raises what `compile` raises."""
        return again(super().ast_parse, source, filename, symbol)

    def compile_nodes(self, nodes: list[ast.stmt], filename: str, mode: str, *, allow_await: bool) -> CodeType:
        """One code object of statements; a coroutine's where one of them awaits.

        Args:
            nodes: Statements of one module.
            filename: As tracebacks show it.
            mode: `exec`, or `single`: the values of expressions go to `sys.displayhook`.
            allow_await: Whether `await` may stand outside of functions.
        """
        tree = ast.Interactive(nodes) if mode == "single" else ast.Module(nodes, [])
        flags = self.flags | (ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if allow_await else 0)
        code: CodeType = compile(tree, filename, mode, flags, True)
        self.flags |= code.co_flags & PyCF_MASK
        return code


def split_at_futures(nodes: list[ast.stmt]) -> list[list[ast.stmt]]:
    """Parts of a module, such that imports from `__future__` come first in a part.

    Python wants them first in what it compiles; in a cell they may stand anywhere, since it often begins with magics.
    """
    parts: list[list[ast.stmt]] = [[]]
    for node in nodes:
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level
        if future and parts[-1]:
            parts.append([])
        parts[-1].append(node)
    return [part for part in parts if part]
