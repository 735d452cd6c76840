"""From data to traits: the only place where a setting's text becomes an attribute's value."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import traitlets

from async_kernel.errors import SetupError

__all__ = ["PathTrait", "SettingError", "check", "faults", "split"]


_NOBODY: Final = traitlets.HasTraits()
"""In whose name a value is checked before there is an object that takes it."""


class SettingError(SetupError):
    """A setting whose key does not exist or whose value does not fit its trait."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"setting {key!r}: {message}")
        self.key: str = key


def find_trait(traits: Mapping[str, Any], owner: str, key: str, name: str) -> Any:
    """The trait `name` of `traits`, those of an `owner`.

    Raises:
        SettingError: There is no such trait; the nearest one is named.
    """
    if name in traits and not name.startswith("_"):
        return traits[name]
    import difflib  # only on the way to an error message

    near = difflib.get_close_matches(name, traits, n=1)
    hint = f" (did you mean {key.removesuffix(name) + near[0]!r}?)" if near else ""
    raise SettingError(key, f"{owner} has no setting {name!r}{hint}")


def check(holder: type[traitlets.HasTraits], key: str, value: Any) -> Any:
    """`value` as the trait of `holder` that the last part of `key` names takes it; text is converted by the trait.

    Raises:
        SettingError: There is no such trait, or the value does not fit.
    """
    name = key.rpartition(".")[2]
    trait = find_trait(holder.class_traits(), holder.__name__, key, name)
    try:
        if isinstance(value, str) and not isinstance(trait, traitlets.Unicode):
            value = _from_text(trait, value)
        return trait._validate(_NOBODY, value)  # pyright: ignore[reportPrivateUsage]  # as an assignment does
    except (traitlets.TraitError, ValueError, TypeError) as error:
        raise SettingError(key, f"expected {trait.info()}, got {value!r}") from error


def split(
    kernel: type[traitlets.HasTraits], shell: Callable[[], type[traitlets.HasTraits]], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the kernel and of its shell, checked and converted.

    Args:
        kernel: The kernel's class.
        shell: Returns the shell's class; called when a setting is the shell's.
        settings: Dotted attribute to value.

    Raises:
        SettingError: The first one that does not exist or does not fit.
    """
    own: dict[str, Any] = {}
    of_shell: dict[str, Any] = {}
    for key, value in settings.items():
        path, _, name = key.rpartition(".")
        if not path:
            own[name] = check(kernel, key, value)
        elif path in ("shell", "main_shell"):
            of_shell[name] = check(shell(), key, value)
        else:
            raise SettingError(key, f"{path!r} holds no settings; expected a kernel setting or shell.<name>")
    return own, of_shell


def faults(
    kernel: type[traitlets.HasTraits], shell: Callable[[], type[traitlets.HasTraits]], settings: Mapping[str, Any]
) -> list[SettingError]:
    """What `split` would raise for each of the settings."""
    result: list[SettingError] = []
    for key, value in settings.items():
        try:
            split(kernel, shell, {key: value})
        except SettingError as error:
            result.append(error)
    return result


def _from_text(trait: Any, text: str) -> Any:
    """`text` as `trait` reads it; the trait judges it as it is where it has no reading of text.

    Containers are read as JSON and nothing is evaluated: traitlets' own reading of them goes through `literal_eval`.
    """
    if isinstance(trait, traitlets.Container | traitlets.Dict):
        return json.loads(text)
    if isinstance(trait, traitlets.Union):
        return text
    reader = type(trait).from_string
    return text if reader is traitlets.TraitType.from_string else trait.from_string(text)


class PathTrait(traitlets.TraitType[Path, Path | str]):
    """A path; text is taken as one."""

    info_text = "a path"

    def validate(self, obj: Any, value: Any) -> Path:
        """`value` as a `Path`."""
        if isinstance(value, str | os.PathLike) and os.fspath(value):
            return Path(value)
        return self.error(obj, value)

    def from_string(self, s: str) -> Path:
        """`s` as a `Path`."""
        return self.validate(None, s)
