"""JSON: a client reads from us what it reads from ipykernel, and nothing that a cell can make loses a message."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import random
import time
import types
import uuid
import warnings
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from jupyter_client.session import Session, json_packer, json_unpacker

from async_kernel.protocol.jsonable import pack, unpack
from async_kernel.typing import MsgType

UTC = datetime.UTC
NAN, INF = math.nan, math.inf


class Colour(enum.StrEnum):
    red = "red"


class Level(enum.IntEnum):
    high = 3


class Plain(enum.Enum):
    one = 1


class Text(str):
    """A str that says something else when it is asked for its str."""

    __slots__ = ()

    def __str__(self) -> str:
        return "wrong"


class Count(int):
    def __repr__(self) -> str:
        return "wrong"


@dataclasses.dataclass
class Point:
    x: float
    y: Any


class Pair(msgspec.Struct):
    left: Any
    right: Any


class Unsayable:
    pass


class Named(NamedTuple):
    a: int
    b: int


def from_peer(content: dict[str, Any]) -> Any:
    """What a client decodes when `content` is sent by a kernel that uses jupyter_client, as ipykernel does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = Session(key=b"", pack=json_packer, unpack=json_unpacker)
        frames = session.serialize(session.msg("display_data", content))
    return json_unpacker(frames[-1])


def from_us(content: Any) -> Any:
    """What the same client decodes when the content is sent by us."""
    return json_unpacker(pack(content))


SAME = {
    "nan": NAN,
    "infinities": [INF, -INF, {"x": NAN}],
    "nan beside null and the word null": [None, "null", NAN, 1.5],
    "nan in a tuple": (1.0, (NAN,)),
    "overflow": 1e400,
    "floats": [0.1, 1e16, 5e-324, 1e22, -0.0, 1.7976931348623157e308],
    "integers": [2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, True, 0],
    "text": 'naïve \0 \x1f \x7f \u2028 😀 \\ " / \ufffd',
    "undecoded byte": "a\udcffb",
    "undecoded bytes": "\udce2\udc82 \udce2\udc82\udcac \udc80\udc80",
    "undecoded byte in a key": {"\udcff": 1},
    "bytes": b"abc\xff",
    "empty bytes": b"",
    "long bytes": bytes(range(256)) * 20,
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "datetime in UTC": datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    "datetime with microseconds": datetime.datetime(2020, 1, 2, 3, 4, 5, 500000, tzinfo=UTC),
    "datetime with an offset": datetime.datetime(
        2020, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=-30))
    ),
    "naive datetime": datetime.datetime(2020, 7, 2, 3, 4, 5, 6),
    "date": datetime.date(2020, 1, 2),
    "numpy integers": [np.int64(3), np.int8(-1), np.uint64(2**64 - 1)],
    "numpy floats": [np.float64(1.5), np.float32(0.1), np.float16(0.5), np.float64(0.1)],
    "numpy text": np.str_("x"),
    "numpy arrays": [np.arange(3), np.arange(4.0).reshape(2, 2), np.array(["a"])],
    "integer keys": {1: 2, -5: 3},
    "float keys": {1.5: 2, 1e16: 3},
    "nan and infinite keys": {NAN: 1, INF: 2},
    "null and bool keys": {None: 1, True: 2, False: 3},
    "tuple keys": {(1, 2): 3},
    "bytes keys": {b"a": 1},
    "enum keys": {Colour.red: 1, Level.high: 2},
    "numpy keys": {np.int64(3): 1},
    "date keys": {datetime.date(2020, 1, 1): 1},
    "keys that collide": {1: 2, "1": 3},
    "sets": [{1}, frozenset({2}), set()],
    "tuples": (1, (2, ()), Named(3, 4)),
    "iterables": [range(3), collections.deque([1]), {"a": 1}.keys(), array.array("d", [1.0])],
    "dicts": [collections.OrderedDict(a=1), collections.defaultdict(int, a=1), collections.Counter("aab")],
    "enums": [Colour.red, Level.high, MsgType.comm_open],
    "subclasses": [Text("q"), Count(5)],
    "fraction": fractions.Fraction(1, 3),
    "empty": {"a": {}, "b": [], "c": "", "d": None},
}


@pytest.mark.parametrize("value", SAME.values(), ids=SAME.keys())
def test_client_reads_what_ipykernel_sends(value: Any) -> None:
    """A widget or viewer written against ipykernel would read other data."""
    assert from_us({"value": value}) == from_peer({"value": value})


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("month", [1, 7])
def test_naive_datetime_gets_the_local_offset(zone: str, month: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time without an offset would be another time for a browser in another zone."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        content = {"t": datetime.datetime(2021, month, 2, 3, 4, 5)}
        assert from_us(content) == from_peer(content)
    finally:
        monkeypatch.undo()
        time.tzset()


BETTER = {
    "lone surrogate": ("a\ud800b", "a\ufffdb"),
    "surrogate pair": ("\ud83d\ude00", "😀"),
    "surrogates of both kinds": ("\udcff \ud800", "\ufffd \ufffd"),
    "surrogate in a key": ({"\ud800": 1}, {"\ufffd": 1}),
    "numpy bool": (np.bool_(True), True),
    "numpy nan": ([np.float64(NAN), np.float32(INF)], ["nan", "inf"]),
    "numpy array with nan": (np.array([1.0, NAN]), [1.0, "nan"]),
    "numpy scalar array": (np.array(3), 3),
    "numpy datetime": (np.datetime64("2020-01-01"), "2020-01-01"),
    "numpy long double": (np.longdouble(1.5), 1.5),
    "date beside nan": ([NAN, datetime.date(2020, 1, 1)], ["nan", "2020-01-01"]),
    "generator with nan": (lambda: (x for x in (1, NAN)), [1, "nan"]),
    "mappings": ([types.MappingProxyType({"a": 1}), collections.ChainMap({"a": NAN})], [{"a": 1}, {"a": "nan"}]),
    "path": (pathlib.PurePosixPath("/x/\udcff"), "/x/\ufffd"),
    "decimal": ([decimal.Decimal("1.50"), decimal.Decimal("nan")], ["1.50", "NaN"]),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "time": (datetime.time(1, 2), "01:02:00"),
    "timedelta": (datetime.timedelta(seconds=3), "PT3S"),
    "enum": (Plain.one, 1),
    "dataclass": (Point(NAN, Point(1, b"x")), {"x": "nan", "y": {"x": 1, "y": "eA=="}}),
    "struct": (Pair(1, {2}), {"left": 1, "right": [2]}),
}


@pytest.mark.parametrize(("value", "form"), BETTER.values(), ids=BETTER.keys())
def test_what_ipykernel_would_lose_or_garble_arrives(value: Any, form: Any) -> None:
    """A display or a comm message that holds one of these would be lost, as it is with ipykernel."""
    made = value() if callable(value) else value
    assert from_us({"value": made}) == {"value": form}


@pytest.mark.parametrize("deep", [{"data": {"x": [1, {"y": 2}, ("z", Unsayable())]}}])
def test_error_names_the_path_to_what_can_not_be_said(deep: Any) -> None:
    """The author of a display would search a large structure for the one object that is at fault."""
    with pytest.raises(TypeError, match=r"^content\['data'\]\['x'\]\[2\]\[1\]: an object of type Unsayable can't"):
        pack(deep)
    with pytest.raises(TypeError, match=r"^metadata: an object of type Unsayable"):
        pack(Unsayable(), "metadata")


UNSAYABLE = [Unsayable(), 1j, len, int, ..., ValueError("x"), np.complex128(1j), np.clongdouble(1j), np.ndarray]


@pytest.mark.parametrize("value", UNSAYABLE)
def test_what_has_no_form_is_a_type_error(value: object) -> None:
    """A wrong guess at a form would reach the client as data."""
    with pytest.raises(TypeError, match="can't be said in JSON"):
        pack([value])


def test_what_contains_itself_is_a_type_error() -> None:
    """The kernel would die of the recursion, or hang."""
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(TypeError, match="it contains itself"):
        pack(loop)
    ring: dict[Any, Any] = {1: NAN}
    ring["ring"] = ring
    with pytest.raises(TypeError, match="it contains itself"):
        pack(ring)


def test_packing_leaves_its_argument_alone() -> None:
    """The dict that a user passes to display would be changed under their hands."""
    content = {"a": [1.5, NAN], 2: {"b": b"x"}}
    copy = {"a": content["a"], 2: {"b": b"x"}}
    pack(content)
    assert content == copy
    assert content["a"] is copy["a"]


def random_value(chance: random.Random, depth: int = 0) -> Any:
    leaves = [
        lambda: chance.choice([None, True, False, NAN, INF, -INF, 0, -0.0]),
        lambda: chance.randint(-(10**20), 10**20),
        lambda: chance.uniform(-1e9, 1e9) * 10 ** chance.randint(-300, 290),
        lambda: "".join(chr(chance.choice([chance.randint(0, 0x7F), chance.randint(0x80, 0xD7FF)])) for _ in range(9)),
        lambda: "\udcff" * chance.randint(0, 3),
        lambda: chance.randbytes(chance.randint(0, 8)),
        lambda: np.float64(chance.random()),
    ]
    if depth > 3 or chance.random() < 0.4:
        return chance.choice(leaves)()
    size = chance.randint(0, 4)
    if chance.random() < 0.5:
        return chance.choice([list, tuple])(random_value(chance, depth + 1) for _ in range(size))
    keys = [chance.choice([chance.randint(-9, 9), chance.random(), f"k{chance.random()}"]) for _ in range(size)]
    return {key: random_value(chance, depth + 1) for key in keys}


@pytest.mark.parametrize("seed", range(40))
def test_any_content_reads_as_from_ipykernel(seed: int) -> None:
    """Some mixture of values would reach the client in another form."""
    content = {"value": random_value(random.Random(seed))}
    assert from_us(content) == from_peer(content)
    assert unpack(pack(content)) == json_unpacker(pack(content))


def test_output_is_strict_json() -> None:
    """A browser's JSON.parse would refuse the whole message."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = pack({"x": [NAN, INF, "\ud800", "\udcff"]}).decode("utf-8")
    assert json.loads(text, parse_constant=refuse) == {"x": ["nan", "inf", "\ufffd", "\ufffd"]}


@pytest.mark.parametrize(
    "data",
    [b'{"a": NaN, "b": -Infinity}', b'"\\ud800"', b'"\xff\xfe"', b"1e400", b"1" * 400, b' {"a": [1, 2.5, null]} '],
)
def test_lenient_input_is_read_as_jupyter_client_reads_it(data: bytes) -> None:
    """A client that works with ipykernel would be refused."""
    assert repr(unpack(data)) == repr(json_unpacker(data))
    assert repr(unpack(memoryview(data))) == repr(json_unpacker(data))


@pytest.mark.parametrize("data", [b"", b"{", b"{'a': 1}", b"[1,]", b"nil", b"[" * 200_000, b"1" * 5000])
def test_broken_input_is_a_value_error(data: bytes) -> None:
    """Broken frames would end the thread that receives."""
    with pytest.raises(ValueError):
        unpack(data)
