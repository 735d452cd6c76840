"""The tags of a cell as one frozen policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from async_kernel.protocol.jsonable import shown
from async_kernel.protocol.run_modes import as_run_mode
from async_kernel.typing import RunMode, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["NO_POLICY", "CellPolicy"]


class CellPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the tags of a cell say; None where they say nothing. Of tags of one name the first counts."""

    run_mode: RunMode | None = None
    timeout: float | None = None
    "Seconds until the cell is cancelled; 0 is never."
    raises_exception: bool = False
    "The cell is expected to fail: an error does not stop the cells after it."
    suppress_error: str | None = None
    "Show this text instead of the error; may be empty."
    stop_on_error: bool | None = None
    problems: tuple[str, ...] = ()
    "Tags that could not be read, each as a sentence."

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> CellPolicy:
        """The policy in the metadata of an `execute_request`. Tags that are not ours are left alone."""
        tags = metadata.get("tags")
        if not tags:
            return NO_POLICY
        if not isinstance(tags, list | tuple):
            return cls(problems=(f"tags: expected a list of strings, got {shown(tags)}",))
        said: dict[str, Any] = {}
        problems: list[str] = []
        for tag in tags:
            if not isinstance(tag, str):
                problems.append(f"tags: expected a string, got {shown(tag)}")
            elif (run_mode := as_run_mode(tag)) is not None:
                said.setdefault("run_mode", run_mode)
            elif (reader := next((_READERS[name] for name in _READERS if name == tag), None)) is not None:
                field, read = reader
                try:
                    said.setdefault(field, read(tag))
                except ValueError as error:
                    problems.append(str(error))
        return cls(**said, problems=tuple(problems))


NO_POLICY: Final = CellPolicy()
"""The policy of a cell without tags."""


def _timeout(tag: str) -> float:
    seconds = Tags.timeout.get_float(tag, default=math.nan)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"tag {tag!r}: expected a number of seconds, 0 or more")
    return seconds


_READERS: Final[Mapping[Tags, tuple[str, Callable[[str], Any]]]] = {
    Tags.raises_exception: ("raises_exception", Tags.raises_exception.get_bool),
    Tags.suppress_error: ("suppress_error", Tags.suppress_error.get_string),
    Tags.stop_on_error: ("stop_on_error", Tags.stop_on_error.get_bool),
    Tags.timeout: ("timeout", _timeout),
}
