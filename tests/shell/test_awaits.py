"""Where the awaitable twins of IPython's calls are put in."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from async_kernel.shell.awaits import insert_awaits
from tests.shell.bench import Bench

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])

AWAITED = [
    "!ls",
    "x = !ls",
    "!!ls",
    "%pip list",
    "x = %timeit -o 1",
    "%%bash\nls",
    "%%time\n1",
    "%%subshell name\n1",
    "if x:\n    !ls\nelse:\n    pass",
    "for i in range(3):\n    !echo {i}",
    "try:\n    !ls\nfinally:\n    pass",
    "async def f():\n    !ls",
]
BLOCKING = [
    "def f():\n    !ls",
    "class C:\n    x = !ls",
    "async def f():\n    def g():\n        !ls",
    "%matplotlib inline",
    "%who",
    "%%writefile x\n!ls",
    "get_ipython().system",
    "get_ipython().run_line_magic(name, '')",
    "print(get_ipython().system('ls'))",
    "%no_such_magic",
]


def awaits_in(shell: Any, raw: str) -> int:
    text = shell.transform_cell(raw)
    tree = ast.parse(text)
    insert_awaits(shell, text, tree)
    compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return sum(isinstance(node, ast.Await) for node in ast.walk(tree))


@pytest.mark.parametrize("raw", AWAITED)
def test_what_is_awaited(bench: Bench, raw: str) -> None:
    """The kernel would stand still while a command runs."""
    assert awaits_in(bench.shell, raw) == 1


@pytest.mark.parametrize("raw", BLOCKING)
def test_what_is_left_alone(bench: Bench, raw: str) -> None:
    """The cell would not compile, or do something else."""
    assert awaits_in(bench.shell, raw) == 0


@pytest.mark.anyio
async def test_a_command_and_magic_of_the_users_own(bench: Bench) -> None:
    """`get_ipython().system = ...`, or a magic in the place of one of ours, would be passed over."""
    shell: Any = bench.shell
    seen: list[str] = []
    shell.system = seen.append
    shell.register_magic_function(seen.append, "line", "pip")

    async def nap(line: str) -> str:
        return f"napped {line}"

    shell.register_magic_function(nap, "line", "nap")
    reply = await bench.run("!one\n%pip two\n%nap three")
    assert reply["status"] == "ok"
    assert seen == ["one", "two"]
    assert bench.published.of("execute_result")[0]["data"]["text/plain"] == "'napped three'"
