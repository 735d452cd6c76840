"""What must not be shown of a profile: values whose key, or whose environment variable, is named like a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Secrets"]

HIDDEN = "***"
WORDS = ("key", "token", "password", "secret")
MIN_LENGTH = 4
"Shorter values of variables are left alone: hiding every `1` would hide everything."

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_secret(name: str) -> bool:
    """Whether a key or variable of that name holds a secret."""
    return any(word in name.lower() for word in WORDS)


class Secrets:
    """Hides them.

    Args:
        environ: The environment: what its secret variables hold is hidden wherever it stands.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {value for name, value in environ.items() if is_secret(name) and len(value) >= MIN_LENGTH}
        self.values: list[str] = sorted(found, key=len, reverse=True)

    def in_text(self, text: str) -> str:
        """`text` without what secret variables hold."""
        for value in self.values:
            text = text.replace(value, HIDDEN)
        return text

    def at(self, path: Sequence[str], value: Any) -> Any:
        """What is shown of `value`, to which the keys of `path` lead."""
        if value is not None and value not in ({}, []) and any(map(is_secret, path)):
            return HIDDEN
        return self.in_text(value) if isinstance(value, str) else value

    def in_yaml(self, text: str) -> str:
        """The YAML document `text`, its comments and its form kept, with its secrets hidden."""
        result, end = "", 0
        for start, stop in sorted(set(_secret_scalars(yaml.compose(text, Loader=_LOADER), secret=False))):
            tail = "\n" if text[start:stop].endswith("\n") else ""  # a block scalar ends with its line
            result += f'{text[end:start]}"{HIDDEN}"{tail}'
            end = stop
        return self.in_text(result + text[end:])


def _secret_scalars(node: Any, *, secret: bool) -> Iterator[tuple[int, int]]:
    """Begin and end of every secret scalar below `node`; `secret`: whether the key over it is."""
    if isinstance(node, yaml.ScalarNode):
        if secret and node.value:
            yield node.start_mark.index, node.end_mark.index
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _secret_scalars(child, secret=secret)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield from _secret_scalars(child, secret=secret or is_secret(str(key.value)))
