"""Options that more than one verb has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from async_kernel.cli.completion import complete_sets, complete_values
from async_kernel.config.layers import Override
from async_kernel.config.profile import parse_set
from async_kernel.config.schema import SCHEMA
from async_kernel.kernelspec import get_kernel_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["kernel_folder", "overrides", "setting_options", "where"]


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--set`, and an option for every key of the schema that has one."""
    for setting in reversed([setting for setting in SCHEMA.values() if setting.option]):
        name = setting.key.replace("_", "-")
        if isinstance(setting.default, bool):
            option = click.option(f"--{name}/--no-{name}", setting.key, default=None, help=setting.doc)
        else:
            metavar = setting.kind.metavar
            option = click.option(
                f"--{name}", setting.key, metavar=metavar, help=setting.doc, shell_complete=complete_values
            )
        command = option(command)
    text = "Set any key of the profile, as YAML; run_modes.execute_request=task leads into a mapping. Repeatable."
    option = click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help=text, shell_complete=complete_sets)
    return option(command)


def overrides(sets: Sequence[str], options: Mapping[str, Any]) -> list[Override]:
    """What the command line says, `--set` first: an option of its own name is the more deliberate one."""
    result = [parse_set(text) for text in sets]
    for key, value in options.items():
        if value is not None:
            name = f"--{key.replace('_', '-')}"
            said = f"{name} {value}" if isinstance(value, str) else name if value else f"--no-{name[2:]}"
            result.append(Override(said, key, value if isinstance(value, str) else str(value).lower()))
    return result


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--user`, `--sys-prefix` and `--prefix DIR`."""
    command = click.option("--prefix", metavar="DIR", help="The environment in the folder DIR.")(command)
    command = click.option("--sys-prefix", is_flag=True, help="This interpreter's environment.")(command)
    return click.option("--user", is_flag=True, help="The user's own kernelspecs.")(command)


def kernel_folder(user: bool, sys_prefix: bool, prefix: str | None) -> Path | None:
    """The folder of kernelspecs that was asked for; None where none was.

    Raises:
        UsageError: More than one was.
    """
    if sum((user, sys_prefix, prefix is not None)) > 1:
        raise click.UsageError("give one of --user, --sys-prefix and --prefix")
    return get_kernel_dir(prefix, user=user) if user or sys_prefix or prefix is not None else None
