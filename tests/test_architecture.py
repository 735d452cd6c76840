"""The package is held to its architecture, and the checks that do it find what they are for.

Without them the package grows into what it was built not to be: rooms that know each other, imports that cost every
start, functions that nobody can see at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.architecture import Module, cycles, import_faults, place_faults, read_package, size_faults

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(__file__).parents[1] / "async_kernel"


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return read_package(PACKAGE)


def test_every_import_goes_down(modules: dict[str, Module]) -> None:
    """Without it a room needs the whole house to be understood, tested or started."""
    assert import_faults(modules) == []


def test_every_module_has_a_place(modules: dict[str, Module]) -> None:
    """A module without a place would be held to no rule."""
    assert place_faults(modules) == []


def test_there_is_no_cycle(modules: dict[str, Module]) -> None:
    """A cycle makes the order of imports matter, and the first import that users write decides whether it works."""
    assert cycles(modules) == []


def test_everything_is_small_enough_to_see(modules: dict[str, Module]) -> None:
    """What fits on a screen can be read, reviewed and repaired."""
    assert size_faults(modules) == []


# The checks themselves: each must find what it is for.


def package(folder: Path, files: Mapping[str, str]) -> dict[str, Module]:
    """A package made of `files`, text by dotted name."""
    for name, text in files.items():
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return read_package(folder)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("errors", "from async_kernel.protocol import wire", "errors may not import protocol"),
        ("protocol.wire", "import async_kernel.config.schema", "protocol.wire may not import config.schema"),
        ("protocol.wire", "from async_kernel.protocol.session import Session", "may not import protocol.session"),
        ("protocol.wire", "from async_kernel.unheard_of import x", "may not import unheard_of"),
        ("protocol.wire", "from async_kernel import Kernel", "protocol.wire may not import Kernel"),
        ("protocol.wire", "from . import session", "relative import"),
        ("protocol.wire", "import zmq.asyncio", "protocol may not import zmq: allowed are msgspec"),
        ("shell.execution", "import rich.table", "rich is imported in cli.render only"),
        ("cli.main", "import rich", "rich is imported in cli.render only"),
        ("kernel", "def f():\n    import async_kernel.shell.interactive", "inside a function and is not in LAZY"),
        ("kernel", "async def f():\n    import json", "json is imported inside a function"),
        ("kernel", "f = lambda: __import__('json')", "json is imported inside a function"),
        (
            "kernel",
            "from importlib import import_module\nimport_module('async_kernel.launch')",
            "may not import launch",
        ),
        (
            "kernel",
            "import typing\nif typing.TYPE_CHECKING:\n    from async_kernel.comm import Comm",
            "for type checking only",
        ),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, name: str, text: str, fault: str) -> None:
    assert any(fault in each for each in import_faults(package(tmp_path, {name: text}), {}))


def test_an_allowed_import_is_let_through(tmp_path: Path) -> None:
    files = {
        "typing": "import enum",
        "protocol.wire": "import hmac, msgspec\nfrom async_kernel import __version__, typing",
        "protocol.__init__": "from async_kernel.protocol.wire import Wire",
        "transport.channel": "import zmq\nfrom async_kernel.protocol import Wire, wire",
        "kernel": "from async_kernel.transport import channel\ndef f():\n    import json",
    }
    assert import_faults(package(tmp_path, files), {("kernel", "json"): "a reason"}) == []


def test_a_lazy_import_that_is_gone_is_found(tmp_path: Path) -> None:
    modules = package(tmp_path, {"kernel": "import json"})
    assert import_faults(modules, {("kernel", "json"): "a reason"}) != []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    wire = "from async_kernel.protocol.session import Session"
    session = "def f():\n    from async_kernel.protocol.wire import Wire"
    assert cycles(package(tmp_path, {"protocol.wire": wire, "protocol.session": session})) != []
    assert cycles(package(tmp_path, {"protocol.wire": ""})) == []


def test_a_module_without_a_place_is_found(tmp_path: Path) -> None:
    assert any("helpers has no place" in each for each in place_faults(package(tmp_path, {"helpers": ""})))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n" * 401, "401 lines, at most 400"),
        ("def f():\n" + "    x = 1\n" * 40, "f has 41 lines"),
        ("class Kernel:\n    def f(self):\n" + "        x = 1\n" * 13, "the body of f has 13 lines"),
    ],
)
def test_too_long_is_found(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in each for each in size_faults(package(tmp_path, {"kernel": text})))


def test_a_docstring_is_not_counted(tmp_path: Path) -> None:
    docstring = '    """' + "word\n" * 50 + '    """\n'
    assert size_faults(package(tmp_path, {"kernel": "def f():\n" + docstring + "    x = 1\n" * 12})) == []


def test_a_room_over_its_ceiling_is_found(tmp_path: Path) -> None:
    files = {f"protocol.{name}": "x = 1\n# y\n\n" * 399 for name in ("wire", "session", "content", "dap")}
    assert any("1596 lines of code" in each for each in size_faults(package(tmp_path, files)))
