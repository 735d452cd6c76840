"""Trees of YAML as values that can be compared."""

from __future__ import annotations

from typing import Any

from async_kernel.config.tree import Node


def flat(node: Node | None) -> Any:
    """A tree with the types and the places of all that is in it."""
    if node is None:
        return None
    value = node.value
    if isinstance(value, dict):
        value = {key: flat(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [flat(child) for child in value]
    return value, type(value), node.mark, node.key_mark, node.text
