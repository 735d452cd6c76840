"""Mime bundles of plain values, without asking eleven formatters for what they can't have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import NoneType
from typing import Any, Final

__all__ = ["quick_format"]

Format = Callable[..., "tuple[dict[str, Any], dict[str, Any]]"]

_PLAIN: Final = frozenset(
    {bool, int, float, complex, str, bytes, bytearray, NoneType, list, tuple, dict, set, frozenset, range}
)
"These exact types have no `_repr_..._` methods."
_PRINTERS: Final = ("type_printers", "deferred_printers", "singleton_printers")


def quick_format(formatter: Any) -> Format:
    """`DisplayFormatter.format` that takes a short cut for plain values that nobody has registered anything for.

    Args:
        formatter: IPython's `DisplayFormatter`, whose method is called for all others.
    """
    return partial(_format, formatter, formatter.format)


def _format(
    formatter: Any,
    slowly: Format,
    obj: Any,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    if type(obj) not in _PLAIN or include or exclude:
        return slowly(obj, include=include, exclude=exclude)
    others = {**formatter.formatters, "display": formatter.ipython_display_formatter}
    others["bundle"] = formatter.mimebundle_formatter
    text = others.pop("text/plain", None)
    if text is None or any(_registered(each, obj) for each in others.values()):
        return slowly(obj, include=include, exclude=exclude)
    data = text(obj)
    return ({} if data is None else {"text/plain": data}), {}


def _registered(formatter: Any, obj: Any) -> bool:
    """Whether somebody may have registered something in `formatter` for `obj`."""
    # Past the descriptors of traits, which cost more than all the rest.
    values = formatter._trait_values
    types, deferred, singletons = (values.get(name) for name in _PRINTERS)
    return bool(
        (types and any(kind in types for kind in type(obj).__mro__))
        or (singletons and id(obj) in singletons)
        or (deferred and any((kind.__module__, kind.__name__) in deferred for kind in type(obj).__mro__))
    )
