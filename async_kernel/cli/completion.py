"""What the shell offers when Tab is pressed: click does the talking, here are the words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from async_kernel.config import discovery
from async_kernel.config.kinds import Bool, Choice
from async_kernel.config.schema import SCHEMA, Setting
from async_kernel.kernelspec import kernel_dirs, kernel_specs

if TYPE_CHECKING:
    import click

__all__ = ["complete_kernelspecs", "complete_profiles", "complete_sets", "complete_values"]


def complete_profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of profiles; files, where a path is begun."""
    if discovery.is_path(incomplete):
        return [CompletionItem(incomplete, type="file")]
    found = discovery.profiles(os.environ)
    return [CompletionItem(name, help=whose) for name, _, whose in found if name.startswith(incomplete)]


def complete_kernelspecs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the kernelspecs that this program wrote."""
    found = {path.name: path for folder in reversed(kernel_dirs()) for path, _ in kernel_specs(folder)}
    return [CompletionItem(name, help=str(path)) for name, path in sorted(found.items()) if name.startswith(incomplete)]


def complete_sets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The keys of `--set KEY=VALUE`; where one key is left, its values, if they can be listed."""
    keys = [each for each in SCHEMA.values() if each.key.startswith(incomplete.partition("=")[0])]
    keys = [each for each in keys if not each.in_files_only]
    if len(keys) == 1 and (values := _values(keys[0])):
        words = [f"{keys[0].key}={value}" for value in values]
        return [CompletionItem(word, help=keys[0].doc) for word in words if word.startswith(incomplete)]
    return [CompletionItem(f"{each.key}=", help=each.doc) for each in keys if "=" not in incomplete]


def complete_values(_ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The values of the option of a setting."""
    values = _values(SCHEMA[param.name or ""])
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _values(setting: Setting) -> tuple[str, ...]:
    if isinstance(setting.kind, Choice):
        return setting.kind.choices
    return ("true", "false") if isinstance(setting.kind, Bool) else ()
