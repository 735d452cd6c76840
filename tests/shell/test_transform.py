"""Leaving IPython's transformations out must never be seen."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from async_kernel.shell.transform import parse_plain, transform
from tests.shell.bench import Bench

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])

PLAIN = [
    "pass",
    "1 + 1",
    "x = 1\nx",
    "import os\n\n\n",
    "x = '%time'",
    "a % b",
    "f(a\n% b)",
    "'''\n%%time\n'''",
    "λ = 1",
]
"Text that needs none of them."
SPECIAL = [
    "%time 1",
    "%%time\nx",
    "!ls",
    "x = !ls",
    "x = %pwd",
    "print?",
    "?print",
    "print??",
    "a = 1\n%time a",
    ">>> x = 1\n... y",
    "In [1]: x = 1",
    "In [1]: x = 1\n   ...: y",
    "  x = 1\n  y = 2",
    "\n\n x = 1",
    "/print 1",
    ", print a b",
    "; print a b",
    "ls",
    "ls -l",
    "pwd",
    "exit",
    "exit()",
    "quit",
    "time",
    "cd",
    "who",
    "x = (1,\n%time)",
    "def f(:",
    "'''unfinished",
    "if x:\n    %time x",
    "timeit",
    "who.x",
    "tool.leave",
    "macro",
    "",
    "\t",
    "# %time\n",
    "\\\n1",
    "if 1:\n  !ls\nelse:\n  x = !ls",
    "time = 3",
    "x = 1 # PYTHON-MODE",
]
"Text in which IPython finds something, or nearly."


def by_ipython(shell: Any, raw: str) -> str | None:
    try:
        return shell.transform_cell(raw)
    except SyntaxError:
        return None


@pytest.mark.parametrize("autocall", [0, 1, 2])
@pytest.mark.parametrize("raw", PLAIN + SPECIAL)
def test_the_same_as_ipython(bench: Bench, raw: str, autocall: int) -> None:
    """IPython's syntax would not work, or break plain Python."""
    shell: Any = bench.shell
    shell.run_cell("tool = type('Tool', (), {})()\ntool.leave = exit\n%macro -q macro 1")
    shell.autocall = autocall
    expected = by_ipython(shell, raw)
    try:
        text, tree = transform(shell, raw)
    except SyntaxError:
        assert expected is None
        return
    assert text == expected
    if tree is not None:
        assert ast.dump(tree, include_attributes=True) == ast.dump(ast.parse(text), include_attributes=True)


@pytest.mark.parametrize("raw", PLAIN)
def test_plain_python_is_parsed_once(bench: Bench, raw: str) -> None:
    """Each cell would be tokenized in Python: a cell of 10,000 lines would take twice the time."""
    plain = parse_plain(bench.shell, raw)
    assert plain is not None
    assert plain[1] is not None


def test_what_users_add_is_used(bench: Bench) -> None:
    """A user's own transformation would be left out."""
    shell: Any = bench.shell

    def double(lines: list[str]) -> list[str]:
        return lines * 2

    for transforms in (
        shell.input_transformers_post,
        shell.input_transformers_cleanup,
        shell.input_transformer_manager.line_transforms,
    ):
        transforms.append(double)
        assert transform(shell, "x = 1") == ("x = 1\nx = 1\n", None)
        transforms.remove(double)

    class Checker:
        priority = 1
        enabled = True

        def check(self, line_info: Any) -> Any:
            return self if line_info.line == "magic_word" else None

        def handle(self, _line_info: Any) -> str:
            return "x = 5"

    checker = Checker()
    shell.prefilter_manager.register_checker(checker)
    assert transform(shell, "magic_word")[0] == "x = 5\n"
    shell.prefilter_manager.unregister_checker(checker)
    assert transform(shell, "magic_word")[0] == "magic_word\n"
