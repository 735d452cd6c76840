"""From the text of a cell to code objects."""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from async_kernel.shell import compiler as module
from async_kernel.shell.compiler import KernelCompiler, again, murmur2, split_at_futures, tmp_file_prefix

FUNCTION = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    # As ipykernel and JupyterLab compute them.
    [("", 3990065800), ("a", 2167009006), ("ab", 2805137849), ("x = 1\n", 1602534638), ("é日", 3841975259)],
)
def test_the_hash_of_a_cell(text: str, expected: int) -> None:
    """Breakpoints would be set in files that no cell has."""
    assert murmur2(text) == expected


def test_the_file_name_of_a_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A debugger could not find the cell that runs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("IPYKERNEL_CELL_NAME", raising=False)
    compiler = KernelCompiler()
    prefix = str(tmp_path / f"async_kernel_{os.getpid()}") + os.sep
    assert compiler.prefix == tmp_file_prefix() == prefix
    assert compiler.get_code_name("abc", "", 1) == compiler.get_code_name("abc", "", 2) == f"{prefix}3350977461.py"
    assert compiler.format_code_name(compiler.cache("abc\n", 7, "abc")) == ("Cell", "In[7]")
    assert not os.path.exists(prefix)


def test_the_file_name_of_a_huge_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted data would be hashed for seconds, in Python, before the cell begins; an interrupt had no effect."""
    monkeypatch.delenv("IPYKERNEL_CELL_NAME", raising=False)
    monkeypatch.setattr(module, "murmur2", lambda text: len(text) <= 1 << 20 or pytest.fail("hashed in Python"))
    compiler = KernelCompiler()
    compiler.get_code_name("x" * (1 << 20), "", 1)
    names = [compiler.get_code_name(f"{'x' * (1 << 20)}{end}", "", 1) for end in ("a", "b", "a", "\ud800")]
    assert names[0] == names[2]
    assert len({*names}) == 3
    assert all(name.startswith(compiler.prefix) and name.removesuffix(".py")[-8:].isdigit() for name in names)


@pytest.mark.parametrize("raw", [FUNCTION.strip(), FUNCTION, "%%time\ndef f(): return 1", None])
def test_the_lines_of_a_cell(raw: str | None) -> None:
    """Tracebacks, `inspect.getsource` and debuggers would show nothing of a cell, or not what was run."""
    compiler = KernelCompiler()
    name = compiler.cache(FUNCTION, 3, raw)
    namespace: dict[str, Any] = {}
    exec(compile(FUNCTION, name, "exec"), namespace)
    for _ in range(2):
        linecache.checkcache()
        assert "".join(linecache.getlines(name)) == FUNCTION
        assert inspect.getsource(namespace["f"]) == FUNCTION
    assert compiler.cache("", 4) != name
    assert linecache.getlines(compiler.cache("", 4)) == []


def test_statements_are_one_code_object() -> None:
    """A cell of 10,000 lines would be compiled line by line."""
    compiler = KernelCompiler()
    nodes = ast.parse("x = 1\nawait f()").body
    code = compiler.compile_nodes(nodes, "cell", "exec", allow_await=True)
    assert code.co_flags & inspect.CO_COROUTINE
    assert not compiler.compile_nodes(nodes[:1], "cell", "exec", allow_await=True).co_flags & inspect.CO_COROUTINE
    with pytest.raises(SyntaxError):
        compiler.compile_nodes(nodes, "cell", "exec", allow_await=False)


def test_splitting_at_future_imports() -> None:
    """A cell with magics before `from __future__` would not compile."""
    nodes = ast.parse("from __future__ import annotations\na\nfrom x import y\nfrom __future__ import division\nb").body
    assert split_at_futures(nodes) == [nodes[:3], nodes[3:]]
    assert split_at_futures([]) == []


def test_a_tree_that_another_thread_has_disturbed_is_made_again() -> None:
    """A cell would fail with a SystemError that says nothing of it (python/cpython#106905)."""
    outcomes = [SystemError("AST constructor recursion depth mismatch"), SystemError("again"), None]

    def parse(text: str) -> ast.AST:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return ast.parse(text)

    assert isinstance(again(parse, "x = 1"), ast.Module)
    with pytest.raises(SyntaxError):
        again(ast.parse, "x =")


def test_cells_and_tracebacks_are_made_in_many_threads_at_once() -> None:
    """What the interpreter says of its own depth would be shown in the place of the cell's error."""
    compiler = KernelCompiler()
    text = "\n".join(f"def f{n}(a, b={{1: [2, (3, n)]}}): return a + b[{n}]" for n in range(300))
    failed: list[BaseException] = []

    def parse() -> None:
        try:
            for _ in range(10):
                compiler.ast_parse(text)
        except SystemError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failed
