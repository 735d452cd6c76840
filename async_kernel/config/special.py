"""The kinds of value that only one key has: run modes, the environment and the start-up code."""

from __future__ import annotations

import re
from typing import Any

from async_kernel.config.kinds import REFERENCE, TEXT, Choice, Kind, ListOf, PathText, Text, one_of, shown, whole
from async_kernel.config.problems import Problem, Problems, suggest
from async_kernel.config.tree import Missing, Node, Table
from async_kernel.typing import MsgType, RunMode, SocketID

__all__ = ["Environment", "Factory", "RunModeTable", "StartupEntry"]

_MODES = tuple(mode.value for mode in RunMode)
_TYPES = tuple(kind.value for kind in MsgType)
_CONTROL_ONLY = frozenset(_TYPES[_TYPES.index("interrupt_request") :])
_NOT_DIRECT = frozenset(("execute_request", "debug_request"))
"""They take as long as they like, and `direct` would keep the scheduler from everything else meanwhile."""


class RunModeTable(Kind):
    """message type -> run mode, by channel; a message type without a channel means shell.

    Its normal form is ``{"shell": {message type: mode}, "control": {…}}``.
    """

    expected = "a mapping of message types to run modes"
    depth = 2
    _channels: tuple[str, ...] = (SocketID.shell.value, SocketID.control.value)

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        if not isinstance(node.value, dict):
            return self.refuse(node, key, problems)
        result: dict[str, Node] = {}
        for name, child in node.value.items():
            if name not in self._channels:
                self._entry(result, "shell", name, child, key, problems)
            elif isinstance(child.value, Missing):
                problems.append(child.value.problem)
            elif child.value is not None and not isinstance(child.value, dict):
                self.refuse(child, f"{key}.{name}", problems)
            else:
                table: Table = child.value or {}
                for msg_type, mode in table.items():
                    self._entry(result, name, msg_type, mode, f"{key}.{name}", problems)
        return node.but(result)

    def _entry(self, result: Table, channel: str, msg_type: str, mode: Node, key: str, problems: Problems) -> None:
        where = f"{key}.{msg_type}"
        if msg_type not in _TYPES:
            hint = suggest(msg_type, (*_TYPES, *self._channels))
            problems.append(Problem(mode.key_mark, f"{key}: unknown message type {msg_type!r}{hint and f' ({hint})'}"))
        elif channel == "shell" and msg_type in _CONTROL_ONLY:
            remedy = f"write 'control: {{{msg_type}: …}}'"
            problems.append(Problem(mode.key_mark, f"{where}: not handled on the shell channel ({remedy})"))
        elif not isinstance(mode.value, Missing | None) and mode.value not in _MODES:
            tail = f"{mode.value!r} {one_of(mode.value, _MODES)}" if isinstance(mode.value, str) else ""
            tail = tail or f"expected one of {', '.join(_MODES)}, got {shown(mode)}"
            problems.append(Problem(mode.mark, f"{where}: {tail}"))
        elif mode.value == "direct" and msg_type in _NOT_DIRECT:
            allowed = ", ".join(_MODES[:-1])
            problems.append(Problem(mode.mark, f"{where}: 'direct' is not allowed for it: use one of {allowed}"))
        else:
            entry = result.setdefault(channel, Node({}, mode.mark, mode.key_mark))
            if msg_type in entry.value:
                problems.append(Problem(mode.key_mark, f"{where}: given twice, with and without its channel"))
            entry.value[msg_type] = mode

    def schema(self) -> dict[str, Any]:
        control = {name: self._mode_schema(name) for name in _TYPES}
        shell = {name: mode for name, mode in control.items() if name not in _CONTROL_ONLY}
        tables = {
            channel: {"type": ["object", "null"], "properties": modes, "additionalProperties": False}
            for channel, modes in zip(self._channels, (shell, control), strict=True)
        }
        twice = [
            {"not": {"required": [name, "shell"], "properties": {"shell": {"type": "object", "required": [name]}}}}
            for name in shell
        ]
        return {"type": "object", "properties": {**shell, **tables}, "additionalProperties": False, "allOf": twice}

    @staticmethod
    def _mode_schema(msg_type: str) -> dict[str, Any]:
        modes = [mode for mode in _MODES if mode != "direct" or msg_type not in _NOT_DIRECT]
        return {"anyOf": [{"enum": [*modes, None]}, REFERENCE]}


class Environment(Kind):
    """Variable -> text, `{set|prepend|append: …}`, or null to unset it. In the normal form a text is `{set: text}`."""

    expected = "a mapping of variables"
    depth = 1
    keeps_null = True
    _action: Choice = Choice("set", "prepend", "append")
    _parts: ListOf = ListOf(Text("text without NUL", r"[^\0]*"), "a path or a list of paths", single=True)
    _name: str = "[A-Za-z_][A-Za-z0-9_]*"

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        if not isinstance(node.value, dict):
            return self.refuse(node, key, problems)
        return node.but({name: self._variable(name, child, key, problems) for name, child in node.value.items()})

    def _variable(self, name: str, node: Node, key: str, problems: Problems) -> Node:
        if not re.fullmatch(self._name, name):
            problems.append(Problem(node.key_mark, f"{key}: {name!r} is not the name of a variable"))
        where = f"{key}.{name}"
        if node.value is None:
            return node
        if not isinstance(node.value, dict):
            return node.but({"set": self._text(node, where, problems)})
        if len(node.value) != 1:
            problems.append(Problem(node.mark, f"{where}: expected one of set, prepend, append, got {len(node.value)}"))
        result: Table = {}
        for action, child in node.value.items():
            if action not in self._action.choices:
                self._action.check(Node(action, child.key_mark), where, problems)
                continue
            check = self._text if action == "set" else self._parts.check
            result[action] = check(child, f"{where}.{action}", problems)
        return node.but(result)

    @staticmethod
    def _text(node: Node, key: str, problems: Problems) -> Node:
        # A number is what it looks like in the environment: `OMP_NUM_THREADS: 4` needs no quotes.
        if node.text is not None and isinstance(node.value, int | float):
            return node.but(node.text)
        if isinstance(node.value, str) and "\0" in node.value:
            problems.append(Problem(node.mark, f"{key}: a variable can't hold a NUL character"))
        return Text().check(node, key, problems)

    def schema(self) -> dict[str, Any]:
        text = {"anyOf": [Text(pattern=r"[^\0]*").schema(), {"type": ["number", "boolean"]}]}
        action = {
            "type": "object",
            "properties": {"set": text, "prepend": self._parts.schema(), "append": self._parts.schema()},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {
            "type": "object",
            "propertyNames": {"pattern": whole(self._name)},
            "additionalProperties": {"anyOf": [{"type": "null"}, text, action]},
        }


class StartupEntry(Kind):
    """Code, or `{file: path}`. The normal form is `{code, origin}` or `{file, origin}` with an absolute path."""

    expected = "code (text) or {file: path}"

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        origin = node.but(str(node.mark))
        if isinstance(node.value, str):
            return node.but({"code": node.but(node.value), "origin": origin})
        if not isinstance(node.value, dict) or set(node.value) != {"file"}:
            return self.refuse(node, key, problems)
        file = PathText().check(node.value["file"], f"{key}.file", problems)
        return node.but({"file": file, "origin": origin})

    def schema(self) -> dict[str, Any]:
        properties = {"file": PathText().schema()}
        file = {"type": "object", "properties": properties, "required": ["file"], "additionalProperties": False}
        return {"anyOf": [TEXT, file]}


class Factory(Text):
    """`module:name` or `file.py:name`; the file, like every path, becomes absolute."""

    def normal(self, node: Node, key: str, problems: Problems) -> Node:
        before = len(problems)
        node = super().normal(node, key, problems)
        file, _, name = str(node.value).rpartition(":")
        if len(problems) > before or not file.endswith(".py"):
            return node
        return node.but(f"{PathText.absolute(file, node.mark)}:{name}")
