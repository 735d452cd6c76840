"""Let the cell await what its magics and `!` commands do, so that its event loop goes on meanwhile.

IPython's syntax becomes calls that block: `!ls` is `get_ipython().system('ls')`. Where such a call is a statement, or
the value of an assignment, and `await` may stand there, its awaitable twin is called in its place.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Container
from typing import Any, Final, TypeVar

__all__ = ["insert_awaits"]

T = TypeVar("T", bound=ast.stmt)

CALL: Final = "get_ipython()."
"What every call begins with that IPython's syntax becomes."
COMMANDS: Final = frozenset({"system", "getoutput"})
RUNNERS: Final = {"run_line_magic": "line", "run_cell_magic": "cell"}
LINE_MAGICS: Final = frozenset({"pip", "uv", "time", "timeit"})
CELL_MAGICS: Final = frozenset({"time", "timeit", "capture", "subshell", "thread", "asyncio", "trio", "script"})
"Magics that can be awaited, besides those of `%%script` and those that are coroutine functions."


def insert_awaits(shell: Any, text: str, tree: ast.Module) -> None:
    """Change `tree`, which is that of `text`, after IPython's transformations."""
    if CALL in text:
        _Inserter(shell).visit(tree)


class _Inserter(ast.NodeTransformer):
    """Goes to every statement that may await, but not into functions that can't."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        return self._await_value(node)

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        return self._await_value(node)

    def _await_value(self, node: Any) -> Any:
        match node.value:
            case ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython"), []), name) as function, arguments) as call:
                if name in COMMANDS or (name in RUNNERS and self._can_be_awaited(RUNNERS[name], arguments)):
                    function.attr = f"{name}_async"
                    node.value = ast.copy_location(ast.Await(call), call)
            case _:
                """Nothing of IPython's."""
        return node

    def _can_be_awaited(self, kind: str, arguments: list[ast.expr]) -> bool:
        match arguments:
            case [ast.Constant(str(name)), *_]:
                pass
            case _:
                return False
        ours: Container[str] = LINE_MAGICS if kind == "line" else self._shell.awaited_cell_magics
        return name in ours or inspect.iscoroutinefunction(self._shell.magics_manager.magics[kind].get(name))
