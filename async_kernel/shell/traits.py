# pyright: reportPrivateUsage=false
"""Setting a trait on the way of every cell."""

from __future__ import annotations

from typing import Any

from traitlets import All, HasTraits

__all__ = ["assign"]


def assign(owner: HasTraits, name: str, value: Any) -> None:
    """Set a trait to a value that is known to be valid, for a tenth of the cost where nobody observes it."""
    observers = owner._trait_notifiers
    if name in observers or name in owner._trait_validators or any(observers.get(All, {}).values()):
        setattr(owner, name, value)
    else:
        owner._trait_values[name] = value
