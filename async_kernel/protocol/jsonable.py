"""JSON as a Jupyter client reads it: bytes ↔ Python, and a defined form for what JSON can't say.

The forms are the ones a client gets from a kernel that serialises with `jupyter_client`:

========================================  ==============================================
Python                                    JSON
========================================  ==============================================
NaN, infinities                           their names: ``"nan"``, ``"inf"``, ``"-inf"``
lone surrogates                           U+FFFD each; undecoded bytes as UTF-8 reads them
bytes                                     base64
numbers of other types (numpy, Fraction)  a number
numpy bool, arrays and other `tolist`     what `tolist` returns
datetime, date                            ISO 8601; a naive datetime gets the local offset
tuples, sets, other iterables             a list
keys that are not strings                 1 → ``"1"``, None → ``"null"``, (1, 2) → ``"(1, 2)"``
========================================  ==============================================

Where that serialiser fails and the message would be lost, there is a form too: str for Path, Decimal and UUID, ISO 8601
for time and timedelta, the value of an Enum, the fields of a dataclass or a Struct, an object for any Mapping. Nothing
can say the rest: `TypeError`, with the path to it.
"""

from __future__ import annotations

import binascii
import datetime
import enum
import json
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

__all__ = ["pack", "pack_finite", "shown", "unpack"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder[Any]().decode

_WHOLE: Final = frozenset({str, int, bool, type(None)})
_LEAVES: Final = _WHOLE | {float}
_NO, _FLOATS, _YES = range(3)
_PLAIN: Final = _LEAVES | {dict, list, tuple}


def pack(obj: object, root: str = "content") -> bytes:
    """JSON for `obj` as UTF-8.

    Args:
        obj: What to say.
        root: What to call `obj` in an error message.

    Raises:
        TypeError: `obj` holds something that has no form in JSON; the message names the path to it.
    """
    try:
        plainness = _plainness(obj)
        if plainness != _NO:
            packed = _encode(obj)
            # msgspec says null for NaN and the infinities: they are looked for only where there is a float and a null.
            if plainness == _YES or b"null" not in packed or not _has_nonfinite(obj):
                return packed
        return _encode(_say(obj))
    except UnicodeEncodeError:
        return _encode(_say(obj))
    except _UnsayableError as error:
        raise TypeError(f"{root}{error}: an object of type {error.type_name} can't be said in JSON") from None
    except RecursionError:
        raise TypeError(f"{root}: nested too deeply, or it contains itself") from None


def pack_finite(obj: object, root: str = "content") -> bytes:
    """As `pack`, for what is known to be plain and without NaN or infinities: that is not looked at first."""
    try:
        return _encode(obj)
    except (TypeError, UnicodeEncodeError):
        return pack(obj, root)


def unpack(data: bytes | bytearray | memoryview | str) -> Any:
    """What the JSON text `data` says. NaN literals, lone surrogates and bytes that are not UTF-8 are read leniently.

    Raises:
        ValueError: `data` is not JSON, or it is nested too deeply.
    """
    try:
        return _decode(data)
    except (ValueError, RecursionError):
        text = data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def shown(value: object, limit: int = 100) -> str:
    """What came from a client, for an error message: cut where it is long, and only named where it is deep."""
    try:
        text = repr(value[: 2 * limit] if isinstance(value, str | bytes | list) else value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    return text if len(text) <= limit else f"{text[:limit]}…"


def _plainness(obj: Any) -> int:
    """Whether only exact builtin types that JSON knows are in `obj`: `_YES`, `_NO`, or yes, and floats among them."""
    kind = type(obj)
    if kind is dict:
        found = _YES
        for key, value in obj.items():
            if type(key) is not str:
                return _NO
            if type(value) not in _WHOLE and (of_value := _plainness(value)) < found:
                found = of_value
                if found == _NO:
                    return _NO
        return found
    if kind is list or kind is tuple:
        # The long ones are lists of numbers: a set of types is the quickest look at them.
        kinds = {*map(type, obj)}
        if kinds <= _WHOLE:
            return _YES
        if kinds <= _LEAVES:
            return _FLOATS
        return min(map(_plainness, obj)) if kinds <= _PLAIN else _NO
    return _YES if kind in _WHOLE else _FLOATS if kind is float else _NO


def _has_nonfinite(obj: Any) -> bool:
    """Whether a NaN or an infinity is in the plain `obj`."""
    kind = type(obj)
    if kind is float:
        return not math.isfinite(obj)
    items: Any = obj.values() if kind is dict else obj if kind in (list, tuple) else ()
    kinds = {*map(type, items)}
    if kinds == {float}:
        return not all(map(math.isfinite, items))
    if float in kinds and any(type(item) is float and not math.isfinite(item) for item in items):
        return True
    return not kinds <= _LEAVES and any(map(_has_nonfinite, items))


class _UnsayableError(Exception):
    """Raised at an object that JSON can't say; the path to it is collected on the way up."""

    def __init__(self, obj: object) -> None:
        self.type_name: str = type(obj).__qualname__
        self.path: list[str] = []

    def __str__(self) -> str:
        return "".join(reversed(self.path))


def _say(obj: Any) -> Any:
    """A copy of `obj` of plain types, each in its form."""
    say = _FORMS.get(type(obj))
    return _say_other(obj) if say is None else say(obj)


def _same(obj: Any) -> Any:
    return obj


def _text(text: str) -> str:
    if text.isascii():
        return str.__str__(text)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # Not from undecoded bytes. A pair of surrogates is one character; a lone one is replaced.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _real(number: float) -> float | str:
    return number if math.isfinite(number) else float.__repr__(number)


def _binary(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _moment(moment: datetime.datetime) -> str:
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return moment.isoformat().replace("+00:00", "Z")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _text(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, float):
        return float.__repr__(key)
    return _text(int.__repr__(key) if isinstance(key, int) else str(key))


def _mapping(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value in mapping.items():
        try:
            said[_key(key)] = _say(value)
        except _UnsayableError as error:
            error.path.append(f"[{key!r}]")
            raise
    return said


def _sequence(items: Iterable[Any]) -> list[Any]:
    said: list[Any] = []
    for item in items:
        try:
            said.append(_say(item))
        except _UnsayableError as error:
            error.path.append(f"[{len(said)}]")
            raise
    return said


def _fields(obj: Any) -> dict[str, Any]:
    names: Iterable[str] = getattr(type(obj), "__struct_fields__", None) or type(obj).__dataclass_fields__
    return _mapping({name: getattr(obj, name) for name in names})


def _say_other(obj: Any) -> Any:
    """The form of an object of a type that is not in the table: by what it is a kind of."""
    for kinds, say in _KINDS:
        if isinstance(obj, kinds):
            return say(obj)
    if hasattr(type(obj), "__struct_fields__") or hasattr(type(obj), "__dataclass_fields__"):
        return _fields(obj)
    tolist = None if isinstance(obj, type) else getattr(obj, "tolist", None)
    if callable(tolist):
        said = tolist()
        if type(said) is not type(obj):
            return _say(said)
    if isinstance(obj, Iterable) and not isinstance(obj, type):
        return _sequence(obj)
    try:
        return msgspec.to_builtins(obj)
    except TypeError:
        raise _UnsayableError(obj) from None


_FORMS: Final[Mapping[type, Callable[[Any], Any]]] = {
    **dict.fromkeys((int, bool, type(None)), _same),
    **dict.fromkeys((list, tuple, set, frozenset), _sequence),
    str: _text,
    float: _real,
    dict: _mapping,
    bytes: _binary,
}

_KINDS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...]] = (
    (str, _text),
    (enum.Enum, lambda member: _say(member.value)),
    (datetime.datetime, _moment),
    (datetime.date, datetime.date.isoformat),
    (bytes, _binary),
    (os.PathLike, lambda path: _say(os.fspath(path))),
    (Mapping, _mapping),
    (numbers.Integral, int),
    (numbers.Real, lambda number: _real(float(number))),
)
