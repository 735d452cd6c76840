"""`async-kernel schema`: the JSON Schema of a profile."""

from __future__ import annotations

import click

from async_kernel.cli import render
from async_kernel.config.json_schema import json_schema

__all__ = ["schema"]


@click.command()
def schema() -> int:
    """Print the JSON Schema (draft 7) of a profile, for editors and other programs."""
    render.as_json(json_schema())
    return 0
