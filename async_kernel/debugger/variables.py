"""Variables while nothing is stopped, as the Debug Adapter Protocol describes them, and code for frames that are."""

from __future__ import annotations

import keyword
import reprlib
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from async_kernel.errors import ClientError

__all__ = ["FIRST_REFERENCE", "Variables", "assignment", "rich_expression"]

FIRST_REFERENCE: Final = 1 << 30
"Our references begin here; debugpy's are small."
MOST: Final = 1000
"Children of one variable that are described at once; a client asks for the others with `start` and `count`."
LONGEST: Final = 1000
"Characters of a value."
LEAVES: Final = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, type),
    *(ModuleType, FunctionType, BuiltinFunctionType, MethodType),
)
SEQUENCES: Final = (list, tuple)
SETS: Final = (set, frozenset)


class Shown(reprlib.Repr):
    """`repr`, but of what is big only the beginning is computed, and what fails is said."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = 30
        self.maxstring = self.maxother = self.maxlong = LONGEST

    def repr_instance(self, x: Any, level: int) -> str:
        """The `repr` of the user's own object."""
        try:
            text = repr(x)
        except Exception as error:  # noqa: BLE001  # the user's `__repr__` may raise anything; it is shown
            return f"<{type(x).__name__} object: its repr raises {type(error).__name__}>"
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


SHOW: Final = Shown().repr


class Variables:
    """The variables of a namespace, and what is in them, by reference.

    Args:
        namespace: The names now.
        hidden: The names that are not the user's.
    """

    def __init__(self, namespace: Callable[[], Mapping[str, Any]], hidden: Callable[[], Mapping[str, Any]]) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._referred: dict[int, tuple[Any, str]] = {}

    def inspect(self) -> list[dict[str, Any]]:
        """The user's variables; references given out before are forgotten."""
        self._referred.clear()
        names, hidden = dict(self._namespace()), self._hidden()
        mine = {
            name: value
            for name, value in names.items()
            if not name.startswith("_") and not (name in hidden and hidden[name] is value)
        }
        return [self._describe(name, mine[name], name) for name in sorted(mine)]

    def children(self, reference: int, start: int = 0, count: int = 0) -> list[dict[str, Any]]:
        """What is in the variable that was given `reference`: at most `count` (0: a thousand) from number `start` on.

        Raises:
            ClientError: There is no such reference (any more).
        """
        if reference not in self._referred:
            raise ClientError(f"variables: there is no variablesReference {reference}: send inspectVariables again")
        value, path = self._referred[reference]
        found = list(_children(value, path, start + (count or MOST)))[start:]
        return [self._describe(*each) for each in found]

    def _describe(self, name: str, value: Any, path: str) -> dict[str, Any]:
        reference = 0
        kind = type(value)  # `isinstance` would ask the object itself.
        if not issubclass(kind, LEAVES) and any(_children(value, path, 1)):
            reference = FIRST_REFERENCE + len(self._referred)
            self._referred[reference] = value, path
        found = {"name": name, "value": SHOW(value), "type": kind.__name__, "variablesReference": reference}
        if path:
            found["evaluateName"] = path
        if reference and issubclass(kind, (*SEQUENCES, *SETS)):
            found["indexedVariables"] = len(value)
        return found


def _children(value: Any, path: str, most: int) -> Iterable[tuple[str, Any, str]]:
    """Name, value and expression (where there is one) of the first `most` things in `value`."""
    kind = type(value)
    if issubclass(kind, dict):
        items = [*zip(value.copy().items(), range(most), strict=False)]
        return [(SHOW(key), each, f"{path}[{key!r}]" if path and _is_plain(key) else "") for (key, each), _ in items]
    if issubclass(kind, SEQUENCES):
        return [(str(i), each, f"{path}[{i}]" if path else "") for i, each in enumerate(value[:most])]
    if issubclass(kind, SETS):
        return [(str(i), each, "") for each, i in zip(value.copy(), range(most), strict=False)]
    slots = [name for each in kind.__mro__ for name in _slots(each)]
    own = {name: object.__getattribute__(value, name) for name in slots if _is_set(value, name)}
    try:
        own |= object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        own = {**own}  # It has none.
    names = [name for name in own if isinstance(name, str) and not (name.startswith("__") and name.endswith("__"))]
    return [(name, own[name], f"{path}.{name}" if path and is_name(name) else "") for name in names[:most]]


def _slots(kind: type) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else slots
    return [name for name in names if isinstance(name, str) and not name.startswith("__")]


def _is_set(value: Any, name: str) -> bool:
    try:
        object.__getattribute__(value, name)
    except AttributeError:
        return False
    return True


def _is_plain(key: object) -> bool:
    return type(key) in (str, int, bool, bytes, type(None))


def is_name(name: object) -> bool:
    """Whether Python takes it as the name of a variable."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def rich_expression(expression: str) -> str:
    """What evaluates in a frame to the mime bundle and metadata of `expression`, as JSON."""
    shell = "__import__('IPython').get_ipython()"
    pack = "__import__('async_kernel.protocol.jsonable', fromlist=['pack']).pack"
    return f"{pack}({shell}.display_formatter.format(({expression}))).decode()"


def assignment(name: str, expression: str) -> str:
    """What gives a name of the user's namespace the value that `expression` has in a frame.

    Raises:
        ClientError: `name` is none.
    """
    if not is_name(name):
        raise ClientError(f"copyToGlobals: dstVariableName: expected the name of a variable, got {name!r:.100}")
    return f"__import__('IPython').get_ipython().push({{{name!r}: ({expression})}}, interactive=False)"
