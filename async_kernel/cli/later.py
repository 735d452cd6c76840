"""Verbs that are imported when they are used: `--help` shows them, and does not wait for what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Later"]


class Later(click.Command):
    """Stands for a command in its group until somebody calls it.

    Args:
        name: The verb.
        short_help: The first sentence of its help.
        load: Imports and returns it.
    """

    def __init__(self, name: str, short_help: str, load: Callable[[], click.Command]) -> None:
        super().__init__(name, short_help=short_help)
        self.load: Callable[[], click.Command] = load

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """The context of the real command: from here on click deals with that alone."""
        return self.load().make_context(*args, **options)
