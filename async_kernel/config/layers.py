"""The layers of a profile: the files of its `extends` chain, its local file, variables and options; merged, checked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from async_kernel.config import discovery
from async_kernel.config.interpolation import interpolate
from async_kernel.config.plain_yaml import parse_plain
from async_kernel.config.problems import Mark, Problem, Problems, suggest
from async_kernel.config.schema import BACKEND_OPTIONS, SCHEMA, key_of
from async_kernel.config.tree import Missing, Node, Table, resolve_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Loader", "Override", "check", "merge", "missing", "parse", "read_file"]

MAX_BYTES = 1 << 20
_PREFIX = "ASYNC_KERNEL_"
_NOT_KEYS = ("ASYNC_KERNEL_PROFILES",)


class Override(NamedTuple):
    """A value from the command line: how it was said there (for messages), the key, and the value's text."""

    said: str
    key: str
    text: str


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """The tree of `text`; None, with a problem, where it can't be read."""
    if (node := parse_plain(text, file)) is None:
        from async_kernel.config import yaml_tree  # PyYAML costs 12 ms: only for what the plain reader leaves to it

        node = yaml_tree.parse(text, file, problems)
    return node


def read_file(path: str, problems: Problems) -> Table:
    """The mapping in the file `path`; empty, with a problem, where there is none to be had."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode(errors="replace")) + 1
        problems.append(Problem(Mark(path, line, column), f"byte 0x{exc.object[exc.start]:02x} is not UTF-8"))
        return {}
    except OSError as exc:
        problems.append(Problem(Mark(path), f"can't be read: {exc.strerror}"))
        return {}
    if len(raw) > MAX_BYTES:
        problems.append(Problem(Mark(path, 1, 1), "the file is larger than 1 MiB: this is no profile"))
        return {}
    node = parse(text, path, problems)
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        problems.append(Problem(node.mark, "a profile is a mapping of keys to values"))
        return {}
    return node.value


def check(table: Table, problems: Problems) -> Table:
    """The normal form of one layer, without what is faulty: there is a problem for each of those."""
    result: Table = {}
    for name, node in table.items():
        key = name.removesuffix("+")
        setting = SCHEMA.get(key)
        if setting is None:
            if "." not in key:
                hint = suggest(key, SCHEMA)
            else:
                owner = key_of(key)
                hint = (
                    f"the key {owner!r} sets it" if owner else f"below 'settings', attributes are set: settings.{key}"
                )
            problems.append(Problem(node.key_mark, f"unknown key {name!r}{hint and f' ({hint})'}"))
        elif key != name and not setting.kind.is_list:
            problems.append(Problem(node.key_mark, f"{name}: only a list can be appended to"))
        elif key != name and setting.in_files_only:
            problems.append(Problem(node.key_mark, f"{name}: it is not inherited: write {key!r}"))
        elif node.value is None:
            result[name] = node
        elif setting.in_files_only and not node.mark.line:
            problems.append(Problem(node.mark, f"{key}: only a profile's file can say this"))
        else:
            before = len(problems)
            checked = setting.kind.check(node, key, problems)
            if len(problems) == before:
                result[name] = checked
    return result


def merge(base: Table, over: Table) -> Table:
    """`over` on top of `base`: mappings key by key, lists and scalars replace, `key+` appends, null takes away."""
    result = dict(base)
    for name, node in over.items():
        key = name.removesuffix("+")
        kind = SCHEMA[key].kind
        if node.value is None:
            result.pop(key, None)
        elif key != name:
            inherited = result.get(key, node.but([]))
            result[key] = _appended(inherited, node)
        else:
            result[key] = _merged(result.get(key), node, kind.depth, kind.keeps_null)
    return result


def _appended(inherited: Node, node: Node) -> Node:
    for part in (inherited, node):
        if isinstance(part.value, Missing):
            return part
    return node.but([*inherited.value, *node.value])


def _merged(base: Node | None, over: Node, depth: int, keeps_null: bool) -> Node:
    if depth == 0 or not isinstance(over.value, dict):
        return over
    table: Table = dict(base.value) if base and isinstance(base.value, dict) else {}
    for key, node in over.value.items():
        if node.value is None and not keeps_null:
            table.pop(key, None)
        else:
            table[key] = _merged(table.get(key), node, depth - 1, keeps_null)
    return over.but(table)


def missing(node: Node) -> Iterator[Problem]:
    """The problems of the required variables that are still not there when everything is merged."""
    if isinstance(node.value, Missing):
        yield node.value.problem
    elif isinstance(node.value, dict | list):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from missing(child)


class Loader:
    """Reads one profile with everything it stands on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ: Mapping[str, str] = environ
        self.problems: Problems = []
        self.layers: dict[str, str] = {}
        "The layer that a file, a variable or an option belongs to."
        self.folders: list[str] = list(discovery.folders(environ))
        for folder, fault in discovery.trusted(environ):
            if fault:
                self.problems.append(Problem(Mark(folder), f"not searched, though trusted: {fault}", "warning"))

    def load(self, name: str, overrides: Sequence[Override]) -> tuple[str, Table]:
        """The file of the profile `name` (a name or a path) and all its layers merged."""
        path = self.find(name, Mark("--profile"))
        if path is None:
            return "", {}
        if fault := discovery.wrong_name(discovery.profile_name(path)):
            self.problems.append(Problem(Mark(path), fault))
        result = self.chain(path, "profile", [])
        local = discovery.local_file(path)
        if os.path.isfile(local):
            result = merge(result, self.file(local, "local", extends=False))
        for layer, override in [*self.variables(), *(("command line", override) for override in overrides)]:
            result = merge(result, self.override(layer, override))
        for node in result.values():
            self.problems.extend(missing(node))
        if not any(problem.severity == "error" for problem in self.problems):
            self.cross_check(result)
        return path, result

    def find(self, name: str, mark: Mark, beside: str = "") -> str | None:
        """The file of the profile `name`, said at `mark`, in the file `beside` if in one."""
        label = "extends: " if beside else ""
        if discovery.is_path(name):
            path = os.path.expanduser(name)
            path = os.path.join(os.path.dirname(beside), path) if beside else path
            if os.path.isfile(path):
                return path
            self.problems.append(Problem(mark, f"{label}there is no file {path!r}"))
            return None
        if fault := discovery.wrong_name(name):
            self.problems.append(Problem(mark, label + fault))
            return None
        searched = ([os.path.dirname(beside)] if beside else []) + self.folders
        found = discovery.find(name, searched, beside)
        if found is None and (not beside or (found := discovery.find(name, searched)) is None):
            hint = suggest(name, [profile for profile, _, _ in discovery.profiles(self.environ)])
            where = ", ".join(dict.fromkeys(folder or "." for folder in searched))
            self.problems.append(Problem(mark, f"{label}no profile {name!r} (looked in {where}{hint and f'; {hint}'})"))
        return found

    def file(self, path: str, layer: str, *, extends: bool = True) -> Table:
        """The checked content of one file."""
        self.layers.setdefault(path, layer)
        table = read_file(path, self.problems)
        table = {key: interpolate(node, self.environ, self.problems) for key, node in table.items()}
        if not extends and (node := table.pop("extends", None)):
            self.problems.append(Problem(node.key_mark, "extends: not in a '.local.yaml' file: it only changes values"))
        return check(table, self.problems)

    def chain(self, path: str, layer: str, trail: list[str]) -> Table:
        """The file `path` on top of all that it extends; `trail` is the way from the profile to it."""
        own = self.file(path, layer)
        parents = own.pop("extends", None)
        trail = [*trail, path]
        result: Table = {}
        unset = list(missing(parents)) if parents else []
        self.problems.extend(unset)
        for node in (parents.value or []) if parents and not unset else []:
            parent = self.find(node.value, node.mark, path)
            if parent is None:
                continue
            if any(os.path.samefile(parent, other) for other in trail):
                shown = " → ".join(map(discovery.profile_name, [*trail, parent]))
                self.problems.append(Problem(node.mark, f"extends: a cycle: {shown}"))
            elif len(trail) > 50:
                self.problems.append(Problem(node.mark, "extends: more than 50 levels"))
            else:
                result = merge(result, self.chain(parent, "extends", trail))
        return merge(result, own)

    def variables(self) -> Iterator[tuple[str, Override]]:
        """The environment variables that set a key."""
        for name in sorted(name for name in self.environ if name.startswith(_PREFIX)):
            key = name.removeprefix(_PREFIX).lower()
            if key in SCHEMA and name.isupper():
                yield "environment", Override(name, key, self.environ[name])
            elif name not in _NOT_KEYS:
                hint = suggest(name, [_PREFIX + key.upper() for key in SCHEMA])
                message = f"the variable sets nothing: there is no such key{hint and f' ({hint})'}"
                self.problems.append(Problem(Mark(name), message, "warning"))

    def override(self, layer: str, override: Override) -> Table:
        """The checked table of one variable or option: `run_modes.execute_request` leads into the mapping."""
        mark = Mark(override.said)
        self.layers.setdefault(override.said, layer)
        plain = not set(override.text) & set("[]{}\"'#&*!|>%@`\n:,")
        node = Node(resolve_plain(override.text), mark, mark, override.text) if plain else self._flow(override, mark)
        if node is None:
            return {}
        first, dot, rest = override.key.partition(".")
        if first not in SCHEMA:
            first, dot = override.key, ""
        if dot:
            for part in reversed([rest] if first == "settings" else rest.split(".")):
                node = Node({part: node}, mark)
        return check({first: node}, self.problems)

    def _flow(self, override: Override, mark: Mark) -> Node | None:
        before = len(self.problems)
        node = parse(override.text, override.said, self.problems)
        if len(self.problems) > before:  # not YAML, so it is text: `--set display_name='Python: mine'`
            del self.problems[before:]
            return Node(override.text, mark)
        return _marked(node, mark) if node else None

    def cross_check(self, table: Table) -> None:
        """The faults that only show when all is merged."""
        backend = table["backend"].value if "backend" in table else SCHEMA["backend"].default
        known = BACKEND_OPTIONS[backend]
        for name, node in table["backend_options"].value.items() if "backend_options" in table else ():
            if name not in known:
                message = f"backend_options: {name!r} is not an option of {backend} (they are {', '.join(known)})"
                self.problems.append(Problem(node.key_mark, message))


def _marked(node: Node, mark: Mark) -> Node:
    """`node` with the one position that a value from outside a file has."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _marked(child, mark) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_marked(child, mark) for child in value]
    return Node(value, mark, mark, node.text)
