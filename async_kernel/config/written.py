"""Values as they are written in YAML: the lines of a profile, each with its origin, and the text of a new one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from async_kernel.config.profile import Origin, Profile
from async_kernel.config.schema import SCHEMA
from async_kernel.config.tree import Node, data, resolve_plain

__all__ = ["Line", "lines", "new_profile", "scalar", "written"]

_PLAIN = re.compile(r"[A-Za-z0-9_/.](?:[A-Za-z0-9_/.+()=% -]*[A-Za-z0-9_/.+()=%-])?")


class Line(NamedTuple):
    """One line of a profile as YAML."""

    path: tuple[str, ...]
    "The keys and indexes that lead to it."
    text: str
    "Without indentation: `key: value`, `- value`, or `key:` over further lines."
    value: Any
    "The value of the line; None where further lines are its value."
    origin: Origin | None
    "Where the value came from; None where further lines are its value."


def scalar(value: Any) -> str:
    """`value` as YAML writes it in one line, so that `resolve_plain` reads it back."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value not in ("---", "...") and resolve_plain(value) == value:
            return value
        return re.sub(r"[^\x20-\x7e]", _escaped, json.dumps(value, ensure_ascii=False))
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    return json.dumps(value)


def _escaped(match: re.Match[str]) -> str:
    """A character that YAML does not allow (section 5.1), or that could not be seen, as an escape."""
    char = match[0]
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def written(node: Node) -> Any:
    """The value of `node` in the form in which a profile says it."""
    return data(_as_said(node))


def _as_said(node: Node) -> Node:
    value = node.value
    if isinstance(value, list):
        return node.but([_as_said(child) for child in value])
    if not isinstance(value, dict):
        return node
    if "origin" in value and ("code" in value or "file" in value):  # an entry of `startup` in its normal form
        return value["code"] if "code" in value else node.but({"file": value["file"]})
    return node.but({key: _as_said(child) for key, child in value.items()})


def lines(
    profile: Profile,
    *,
    effective: bool = False,
    hide: Callable[[tuple[str, ...], Any], Any] = lambda _path, value: value,
) -> Iterator[Line]:
    """What the layers of `profile` say, one line for each value.

    Args:
        profile: The profile.
        effective: Also what no layer says: the defaults.
        hide: Gives what is shown of the value at a path.
    """
    for key, setting in SCHEMA.items():
        node = profile.said.get(key)
        if node is not None:
            yield from _walk((key,), f"{scalar(key)}:", _as_said(node), profile, hide)
        elif effective and not setting.in_files_only:
            default = setting.written_default
            yield Line((key,), f"{key}: {scalar(default)}", default, profile.origin(key))


def _walk(
    path: tuple[str, ...], label: str, node: Node, profile: Profile, hide: Callable[[tuple[str, ...], Any], Any]
) -> Iterator[Line]:
    value = node.value
    if isinstance(value, dict | list) and value:
        yield Line(path, label, None, None)
        in_list = isinstance(value, list)
        for name, child in enumerate(value) if in_list else value.items():
            yield from _walk((*path, str(name)), "-" if in_list else f"{scalar(name)}:", child, profile, hide)
    else:
        shown = hide(path, value)
        yield Line(path, f"{label} {scalar(shown)}", shown, profile.origin_at(node.mark))


def new_profile(extends: str, schema: str) -> str:
    """The text of a new profile: what it extends, and every key that it could say, commented out.

    Args:
        extends: The profile to inherit from.
        schema: Where the JSON Schema is, as seen from the file.
    """
    text = [
        f"# yaml-language-server: $schema={schema}",
        "# What is not said here is inherited. `async-kernel profile validate` checks it; what it comes to is shown by",
        "# `async-kernel profile show --effective --origin`.",
        f"extends: {scalar(extends)}",
        "",
    ]
    for setting in SCHEMA.values():
        if not setting.in_files_only:
            text += [f"# {setting.doc}", f"#{setting.key}: {scalar(setting.written_default)}", ""]
    return "\n".join(text)
