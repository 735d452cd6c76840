"""The JSON Schema (draft 7) of a profile, for editors and other programs, from the table that also checks profiles.

What a schema refuses and the loader does not: `yes`, `no`, `on` and `off` without quotes for true and false (a schema
can't see the quotes). What the loader refuses and a schema can't: a `${…}` whose variable is not set or does not fit,
`.nan`, what a value means together with those of other layers (parents that don't exist, options of another backend),
settings that the kernel does not have, files that don't exist, and what is not YAML.
"""

from __future__ import annotations

from typing import Any, Final

from async_kernel.config.interpolation import NAMED
from async_kernel.config.kinds import VALUE, ListOf, whole
from async_kernel.config.schema import BACKEND_OPTIONS, SCHEMA, Setting

__all__ = ["json_schema"]

_LITERAL: Final = r"[^$]|\$\$|\$(?![${])"
"""A piece of a text that is no reference."""

_DEFINITIONS: Final[dict[str, Any]] = {
    "text": {"type": "string", "pattern": whole(rf"(?:{_LITERAL}|{NAMED})*")},
    "reference": {"type": "string", "pattern": whole(rf"(?:{_LITERAL})*{NAMED}(?:{_LITERAL}|{NAMED})*")},
    "value": {
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            {"$ref": "#/definitions/text"},
            {"type": "array", "items": VALUE},
            {"type": "object", "additionalProperties": VALUE},
        ]
    },
}


def json_schema() -> dict[str, Any]:
    """The schema; every key may also be null, which resets it to its default."""
    properties: dict[str, Any] = {}
    for setting in SCHEMA.values():
        properties[setting.key] = _property(setting)
        if isinstance(setting.kind, ListOf) and not setting.in_files_only:
            doc = f"What is appended to the inherited {setting.key}."
            properties[f"{setting.key}+"] = {"description": doc, **_or_null(setting)}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:async-kernel:profile",
        "title": "A profile of async_kernel",
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
        "allOf": [_options_of(backend) for backend in BACKEND_OPTIONS],
        "definitions": _DEFINITIONS,
    }


def _property(setting: Setting) -> dict[str, Any]:
    return {"description": setting.doc, "default": setting.written_default, **_or_null(setting)}


def _or_null(setting: Setting) -> dict[str, Any]:
    return {"anyOf": [setting.kind.schema(), {"type": "null"}]}


def _options_of(backend: str) -> dict[str, Any]:
    """Where a profile says its backend, the options are those of this backend."""
    names = dict.fromkeys(BACKEND_OPTIONS[backend], VALUE)
    options = {"type": ["object", "null"], "properties": names, "additionalProperties": {"type": "null"}}
    return {
        "if": {"required": ["backend"], "properties": {"backend": {"const": backend}}},
        "then": {"properties": {"backend_options": options}},
    }
