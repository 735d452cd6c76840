"""The architecture as data, and the checks that read the package's syntax trees; test_architecture.py runs them.

The rules and their reasons are on the documentation's architecture page.
"""

from __future__ import annotations

import ast
import graphlib
import sys
import token
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE_LINES, FUNCTION_LINES, MEMBER_LINES = 400, 40, 12


class Room(NamedTuple):
    """A folder of the package, or a module on its own."""

    level: tuple[int, int]
    "Floor and step: an import goes to a lower level. Rooms on one level don't know each other."
    third_party: str = ""
    "What may be imported here besides the standard library."
    modules: str = ""
    "The modules of a folder, lowest first: each may import those before it."
    lines: int = FILE_LINES
    "How many lines of code a room may have; blank lines, comments and docstrings are free."


ROOMS: Mapping[str, Room] = {
    # floor 0: vocabulary
    "typing": Room((0, 0), "msgspec"),
    "errors": Room((0, 0)),
    "threads": Room((0, 0)),
    "interfaces": Room((0, 1), "msgspec"),
    # floor 1: pure; no thread, loop or socket
    "protocol": Room(
        (1, 0),
        "msgspec",
        "jsonable messages content wire session exchange run_modes cell_policy connection_info dap",
        1300,
    ),
    "config": Room(
        (1, 0),
        "yaml msgspec",
        "problems tree plain_yaml yaml_tree interpolation kinds special schema json_schema trust discovery secrets "
        "layers profile needs written",
        1600,
    ),
    # floor 2: machinery
    "scheduling": Room(
        (2, 0),
        "anyio",
        "context event_loops asyncio_loop trio_loop pending pending_group sections calls queues waiting workers host "
        "caller gui",
        2150,
    ),
    "transport": Room(
        (2, 0),
        "zmq",
        "quota channel outbox connections iopub ipc sockets heartbeat connection_file io_loop zmq_transport memory",
        990,
    ),
    # floor 3: engines
    "shell": Room(
        (3, 0),
        "IPython traitlets anyio pygments stack_data",
        "traits user_code compiler transform awaits tracebacks formatting events forks outstream display history "
        "completion inspection lookup process_state startup execution children commands packages command_magics "
        "timing_magics loop_magics magics subshell_magics setup interactive subshell subshells",
        3350,
    ),
    "debugger": Room((3, 0), "anyio debugpy", "cells client stack variables debugger", 700),
    "comm": Room((3, 0), "comm", lines=120),
    # floor 4: the kernel over its runtime
    "runtime": Room(
        (4, 0),
        "traitlets anyio msgspec comm jupyter_core",
        "settings kernel_settings identity gui kernel_log log_file record_layout deaths messenger patches recorder "
        "signals forks interrupts handlers fd_rescue foreign_code fd_capture output_limit publishing input_requests "
        "reception timing usage variables exposure connection comm_lanes dispatch jobs failures threads background "
        "debugging watchdog parts lifecycle",
        3900,
    ),
    "kernel": Room((4, 1), "traitlets anyio"),
    # floor 5: application
    "folder_swap": Room((5, 0)),
    "factory": Room((5, 0)),
    "spec_folder": Room((5, 1)),
    "kernelspec": Room((5, 2), "jupyter_core"),
    "chooser": Room((5, 3)),
    "embedding": Room((5, 3)),
    "launch": Room((5, 3)),
    "cli": Room(
        (5, 4),
        "click rich zmq jupyter_core jupyter_client",
        "interpreter files checks render lifecycle start completion options check run install uninstall list processes "
        "lives logs asking kernels ps installation doctor show profile schema trust later main",
        2100,
    ),
    # floor 6: face
    "__init__": Room((6, 0)),
    "__main__": Room((6, 0)),
    "asyncshell": Room((6, 0)),
    "caller": Room((6, 0)),
    "pending": Room((6, 0)),
    "utils": Room((6, 0)),
}

ONLY_IN: Mapping[str, str] = {
    "debugpy": "debugger.client",
    "jedi": "shell",
    "rich": "cli.render",
    "trio": "scheduling.trio_loop",
}
"Third-party modules that one module or room alone may import."

LAZY: Mapping[tuple[str, str], str] = {
    ("shell.startup", "shutil"): "3 ms of compressors, where a temporary folder is removed",
    ("cli.checks", "async_kernel.protocol.connection_info"): "only where a profile is judged, not where it is run",
    ("cli.checks", "async_kernel.runtime.exposure"): "the same",
    ("scheduling.event_loops", "ctypes"): "only before trio is imported",
    ("scheduling.event_loops", "ctypes.util"): "only before trio is imported",
    ("launch", "async_kernel.kernel"): "ready first: kernel_info is answered before the kernel is imported",
    ("cli.checks", "async_kernel.kernel"): "judges settings, only where there are any",
    (
        "cli.checks",
        "async_kernel.runtime.settings",
    ): "judges settings, only where there are any",
    (
        "cli.checks",
        "async_kernel.shell.interactive",
    ): "judges settings, only where there are any",
    ("launch", "async_kernel.runtime.recorder"): "ready first: it stands before the kernel is imported",
    ("runtime.recorder", "async_kernel.runtime.deaths"): "only where the kernel before this one has died",
    ("launch", "async_kernel.runtime.kernel_log"): "ready first: the kernel imports it",
    ("launch", "async_kernel.runtime.deaths"): "with the log",
    ("launch", "async_kernel.runtime.log_file"): "10 ms, and the log is opened when the kernel is ready",
    ("__main__", "async_kernel.cli.main"): "click costs 40 ms, and the argv of a kernelspec does without",
    ("cli.run", "async_kernel.cli.check"): "only with --check: subprocess, and Jupyter's client",
    ("cli.check", "jupyter_client.blocking.client"): "150 ms, and where it is broken, the check says so",
    ("cli.interpreter", "subprocess"): "only where a process can't become another",
    ("cli.start", "async_kernel.launch"): "it imports zmq, and the verbs that only list do without",
    ("shell.history", "sqlite3"): "8 ms, when there is something to write; and a Python may be without it",
    ("shell.tracebacks", "pygments.formatters.terminal256"): "40 ms, with the first traceback",
    ("shell.tracebacks", "pygments.lexers.python"): "40 ms, with the first traceback",
    ("shell.tracebacks", "stack_data.core"): "40 ms, with the first traceback",
    ("cli.start", "async_kernel.cli.lifecycle"): "rich, and only when the kernel is ready",
    ("cli.start", "queue"): "only where somebody at a terminal wants to know of the kernel's life",
    ("cli.main", "async_kernel.cli.doctor"): "a verb that `--help` does not wait for",
    ("cli.main", "async_kernel.cli.logs"): "a verb that `--help` does not wait for",
    ("cli.main", "async_kernel.cli.ps"): "a verb that `--help` does not wait for",
    ("cli.render", "rich.console"): "60 ms, only where colour is wanted",
    ("cli.render", "rich.live"): "60 ms, only where a table is watched",
    ("cli.render", "rich.panel"): "60 ms, only where colour is wanted",
    ("cli.render", "rich.table"): "60 ms, only where colour is wanted",
    ("cli.render", "rich.tree"): "60 ms, only where colour is wanted",
    ("cli.render", "rich.text"): "60 ms, only where colour is wanted",
    ("cli.show", "async_kernel.config.secrets"): "PyYAML costs 12 ms: only where a profile is shown",
    ("debugger.client", "debugpy"): "200 ms, and threads of its own: with the first debug session",
    ("runtime.debugging", "async_kernel.debugger.cells"): "only where a client debugs",
    ("runtime.debugging", "async_kernel.debugger.debugger"): "only where a client debugs",
    ("runtime.debugging", "pdb"): "10 ms, only where a cell calls `breakpoint()`",
    ("config.layers", "async_kernel.config.yaml_tree"): "PyYAML costs 12 ms: only for what the plain reader leaves",
    ("runtime.fd_capture", "async_kernel.runtime.fd_rescue"): "only where a cell loads C code of others",
    ("scheduling.gui", "tkinter"): "only where it is used",
    ("runtime.gui", "async_kernel.scheduling.gui"): "selectors of a GUI's own: only where there is one",
    ("scheduling.sections", "ctypes"): "5 ms, only where a thread is interrupted",
    ("config.trust", "json"): "2 ms, only where there is such a file",
    ("config.problems", "difflib"): "3 ms, only on the way to an error message",
    ("runtime.settings", "difflib"): "the same",
    ("runtime.parts", "async_kernel.runtime.usage"): "only where a client asks what the kernel uses",
    ("runtime.usage", "resource"): "there is none on Windows",
    ("runtime.watchdog", "tempfile"): "only where a shutdown hangs",
    ("runtime.connection", "tempfile"): "only where the path of a socket would be too long",
    ("runtime.connection", "jupyter_core.paths"): "only where no connection file is named",
    ("shell.commands", "async_kernel.shell.children"): "terminals and pipes: 3 ms, with the first command",
    ("shell.lookup", "IPython.core.completer"): "what completes code is imported with the first completion",
    ("shell.subshells", "async_kernel.shell.subshell"): "8 ms, only where a subshell is made",
    ("shell.startup", "IPython.core.shellapp"): "only where there are startup files or extensions",
}
"Imports inside a function, by module and what it imports, each with its reason."

PACKAGE_NAMES = frozenset({"__version__"})
"What every floor may import from the package itself."


class Import(NamedTuple):
    """One imported name."""

    target: str
    line: int
    inside_function: bool
    for_types_only: bool


@dataclass
class Module:
    """One parsed file of the package; `name` is its dotted name below the package (`protocol.wire`)."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: list[Import] = field(default_factory=list[Import])

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


def read_package(package: Path) -> dict[str, Module]:
    """Every module below the folder `package`, by dotted name; a room's own `__init__` has the room's name."""
    modules: dict[str, Module] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        text = path.read_text("utf-8")
        modules[name] = Module(name, path, ast.parse(text, str(path)), len(text.splitlines()))
    for module in modules.values():
        module.imports = list(find_imports(module.tree, modules))
    return modules


def find_imports(
    node: ast.AST, modules: Mapping[str, Module], inside: bool = False, types: bool = False
) -> Iterator[Import]:
    """Every import below `node`, `import_module("a.constant")` included."""
    for child in ast.iter_child_nodes(node):
        for target in imported_names(child, modules):
            yield Import(target, getattr(child, "lineno", 0), inside, types)
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for statement in child.body:
                yield from find_imports(ast.Module([statement], []), modules, inside, types=True)
            for statement in child.orelse:
                yield from find_imports(ast.Module([statement], []), modules, inside, types)
        else:
            yield from find_imports(child, modules, inside or isinstance(child, FUNCTIONS), types)


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def imported_names(node: ast.AST, modules: Mapping[str, Module]) -> list[str]:
    """What `node` imports: full names of modules, and `package.name` for a name of the package itself."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module, names, level):
            source = "." * level + (module or "")
            return list(dict.fromkeys(imported_from(source, alias.name, modules) for alias in names))
        case ast.Call(func, [ast.Constant(str(name)), *_]) if ast.unparse(func).split(".")[-1] in IMPORTERS:
            return [name]
        case _:
            return []


IMPORTERS = frozenset({"import_module", "__import__"})


def imported_from(source: str, name: str, modules: Mapping[str, Module]) -> str:
    inner = f"{source}.{name}".removeprefix("async_kernel.")
    return f"{source}.{name}" if source == "async_kernel" or inner in modules else source


def own_name(target: str) -> str | None:
    """The dotted name below the package of what is imported, or None where it is not ours."""
    package, _, name = target.partition(".")
    return (name or "__init__") if package == "async_kernel" else None


def import_faults(modules: Mapping[str, Module], lazy: Mapping[tuple[str, str], str] = LAZY) -> list[str]:
    """Every import that the floors, the rooms or the third-party rule forbid, as `path:line: why`."""
    faults: list[str] = []
    for module in modules.values():
        for each in module.imports:
            faults += (f"{module.path}:{each.line}: {why}" for why in faults_of(module, each, lazy))
    used = {
        (module.name, each.target) for module in modules.values() for each in module.imports if each.inside_function
    }
    faults += (f"LAZY: {key} is listed but not imported so" for key in lazy if key[0] in modules and key not in used)
    return faults


def faults_of(module: Module, each: Import, lazy: Mapping[tuple[str, str], str]) -> Iterator[str]:
    if each.target.startswith("."):
        yield f"relative import of {each.target}"
        return
    if each.inside_function and (module.name, each.target) not in lazy:
        yield f"{each.target} is imported inside a function and is not in LAZY"
    own = own_name(each.target)
    if own is None:
        yield from third_party_faults(module, each.target)
    elif own not in PACKAGE_NAMES:
        if each.for_types_only:
            yield f"{each.target} is imported for type checking only: use a Protocol of `interfaces`"
        if not is_below(own, module.name):
            yield f"{module.name} may not import {own}: not below it"


def third_party_faults(module: Module, target: str) -> Iterator[str]:
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names:
        return
    if (home := ONLY_IN.get(top)) and home not in (module.name, module.room):
        yield f"{top} is imported in {home} only"
    elif not home and module.room in ROOMS and top not in ROOMS[module.room].third_party.split():
        yield f"{module.room} may not import {top}: allowed are {ROOMS[module.room].third_party or 'none'}"


def is_below(target: str, source: str) -> bool:
    """Whether the arrow from `source` to `target` points down."""
    above, below = source.partition("."), target.partition(".")
    if above[0] not in ROOMS or below[0] not in ROOMS:
        return False
    if above[0] != below[0]:
        return ROOMS[below[0]].level < ROOMS[above[0]].level
    order = ROOMS[above[0]].modules.split()
    if above[2] == "":  # a room's own __init__ stands over its modules
        return below[2] != ""
    return above[2] in order and below[2] in order[: order.index(above[2])]


def place_faults(modules: Mapping[str, Module]) -> list[str]:
    """Modules without a place in `ROOMS`, and places without a module."""
    places = {name for name, room in ROOMS.items() if not room.modules}
    places |= {f"{name}.{inner}" for name, room in ROOMS.items() for inner in room.modules.split()}
    folders = {name for name, room in ROOMS.items() if room.modules}
    unknown = [f"{modules[name].path}:1: {name} has no place in ROOMS" for name in modules.keys() - places - folders]
    return sorted(unknown) + sorted(f"ROOMS: there is no module {name}" for name in places - modules.keys())


def cycles(modules: Mapping[str, Module]) -> list[str]:
    """The first cycle among the modules, wherever the imports stand."""
    graph = {
        name: {own for each in module.imports if (own := own_name(each.target)) in modules and own != "__init__"}
        for name, module in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" → ".join(error.args[1])]
    return []


def size_faults(modules: Mapping[str, Module]) -> list[str]:
    """Files, functions, members of the kernel and rooms that are longer than allowed."""
    faults: list[str] = []
    rooms: dict[str, int] = {}
    for module in modules.values():
        rooms[module.room] = rooms.get(module.room, 0) + len(code_lines(module))
        if module.lines > FILE_LINES:
            faults.append(f"{module.path}:1: {module.lines} lines, at most {FILE_LINES}")
        faults += (f"{module.path}:{line}: {why}" for line, why in function_faults(module))
    faults += (
        f"{name}: {lines} lines of code in the room, at most {ROOMS[name].lines}"
        for name, lines in rooms.items()
        if name in ROOMS and lines > ROOMS[name].lines
    )
    return faults


def code_lines(module: Module) -> set[int]:
    """The lines that are neither blank nor comment nor docstring."""
    free = {token.COMMENT, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER}
    with tokenize.open(module.path) as file:
        tokens = [each for each in tokenize.generate_tokens(file.readline) if each.type not in free]
    texts = (node for node in ast.walk(module.tree) if isinstance(node, ast.Expr))
    texts = (node for node in texts if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
    documented = {line for node in texts for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    return {line for each in tokens for line in range(each.start[0], each.end[0] + 1)} - documented


def function_faults(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first, body = node.body[0], node.body
            docstring = 0
            if ast.get_docstring(node, clean=False) is not None:
                docstring, body = (first.end_lineno or first.lineno) - first.lineno + 1, node.body[1:]
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
            if length > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines, at most {FUNCTION_LINES}"
            inner = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if module.name == "kernel" and inner > MEMBER_LINES:
                yield node.lineno, f"the body of {node.name} has {inner} lines, at most {MEMBER_LINES} in the kernel"
