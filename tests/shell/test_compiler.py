"""From the text of a cell to code objects."""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path

import pytest

from async_kernel.shell.compiler import KernelCompiler, murmur2, split_at_futures, tmp_file_prefix


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
