"""Schemas, values and damage for the tests of the Avro codec, as Hypothesis strategies.

Values are stored ones: integers for dates and times, bytes for decimals, ``Branch`` for unions of several types.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hypothesis import strategies as st

from tests.wire.avro_judge import Avro, Branch, Types

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70)
INTS = st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70)
DOUBLES = st.floats()
FLOATS = st.floats(width=32)
NUMERALS = (
    st.integers(-(10**20), 10**20).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.from_regex(r"[+-]?[0-9]{0,19}\.?[0-9]{0,19}([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.sampled_from("nan -Infinity +inf 1e999 1e39 .5 5. e1 0x1 1_0 infected naf inn".split())
)
TEXT = st.text(max_size=12) | NUMERALS
DAY = 86_400_000
SIMPLE: list[tuple[Avro, st.SearchStrategy[Any]]] = [
    ("boolean", st.booleans()),
    ("int", INTS),
    ("long", LONGS),
    ("float", FLOATS),
    ("double", DOUBLES),
    ("string", TEXT),
    ("bytes", st.binary(max_size=20)),
    ({"type": "int", "logicalType": "date"}, INTS),
    ({"type": "int", "logicalType": "time-millis"}, st.integers(0, DAY - 1)),
    ({"type": "long", "logicalType": "time-micros"}, st.integers(0, DAY * 1000 - 1)),
    *(
        ({"type": "long", "logicalType": f"{local}timestamp-{unit}"}, LONGS)
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    ),
    ({"type": "string", "logicalType": "uuid"}, TEXT),
    ({"type": "long", "logicalType": "no-such"}, LONGS),
]
CASES = ["x", "X", "Value", "VALUE", "value", "ss", "SS"]  # names that differ in case alone


@dataclass(frozen=True)
class Case:
    """A schema, and records of it as stored values."""

    schema: Avro
    rows: list[Any]

    @property
    def types(self) -> Types:
        return Types(self.schema)


@dataclass(frozen=True)
class Scope:
    """Where a type is made: how deep it may go, names that are free, whether unions of several types are wanted."""

    depth: int
    mixed: bool = True
    names: Iterator[int] = field(default_factory=itertools.count)

    def inside(self) -> Scope:
        return replace(self, depth=self.depth - 1)

    def name(self) -> str:
        return f"N{next(self.names)}"

    def kinds(self) -> list[str]:
        nested = (["record", "array", "map"] + ["several"] * self.mixed) * (self.depth > 0)
        return ["simple"] * 6 + ["enum", "fixed", "decimal", "fixed decimal"] + nested


def decimal_bytes(number: int) -> bytes:
    """The fewest bytes that hold a number in two's complement."""
    return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


@st.composite
def types(draw: st.DrawFn, scope: Scope) -> tuple[Avro, st.SearchStrategy[Any]]:
    """A type, perhaps in a union with null, and its values."""
    kind = draw(st.sampled_from(scope.kinds()))
    schema, of = draw(KINDS[kind](scope))
    if kind != "several":
        match draw(st.sampled_from(["plain", "first", "second"])):
            case "first":
                return ["null", schema], st.none() | of
            case "second":
                return [schema, "null"], of | st.none()
    return schema, of


@st.composite
def _simple(draw: st.DrawFn, scope: Scope) -> Any:
    return draw(st.sampled_from(SIMPLE))


@st.composite
def _enum(draw: st.DrawFn, scope: Scope) -> Any:
    symbols = draw(st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=5, unique=True))
    schema = {"type": "enum", "name": scope.name(), "symbols": symbols}
    return schema, st.sampled_from(symbols)


@st.composite
def _fixed(draw: st.DrawFn, scope: Scope) -> Any:
    size = draw(st.integers(1, 20))
    schema = {"type": "fixed", "name": scope.name(), "size": size}
    return schema, st.binary(min_size=size, max_size=size)


@st.composite
def _decimal(draw: st.DrawFn, scope: Scope) -> Any:
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    schema = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return schema, st.integers(-(10**precision) + 1, 10**precision - 1).map(decimal_bytes)


@st.composite
def _fixed_decimal(draw: st.DrawFn, scope: Scope) -> Any:
    size = draw(st.integers(1, 16))
    most = min(10 ** draw(st.integers(1, 38)), 2 ** (8 * size - 1))
    precision = max(1, len(str(most)) - 1)
    schema = {
        "type": "fixed",
        "name": scope.name(),
        "size": size,
        "logicalType": "decimal",
        "precision": precision,
        "scale": draw(st.integers(0, precision)),
    }
    limit = min(10**precision, most) - 1
    return schema, st.integers(-limit, limit).map(
        lambda one: one.to_bytes(size, "big", signed=True)
    )


@st.composite
def _array(draw: st.DrawFn, scope: Scope) -> Any:
    inner, of = draw(types(scope.inside()))
    return {"type": "array", "items": inner}, st.lists(of, max_size=3)


@st.composite
def _map(draw: st.DrawFn, scope: Scope) -> Any:
    inner, of = draw(types(scope.inside()))
    return {"type": "map", "values": inner}, st.dictionaries(TEXT, of, max_size=3)


@st.composite
def _several(draw: st.DrawFn, scope: Scope) -> Any:
    """A union of several types, or of one: no two of a kind, as Avro asks, and null only beside two others."""
    found: dict[str, tuple[Avro, st.SearchStrategy[Any]]] = {}
    inside = replace(scope.inside(), mixed=False)
    for kind in draw(st.lists(st.sampled_from(inside.kinds()), min_size=1, max_size=4)):
        schema, of = draw(KINDS[kind](inside))
        named = schema["name"] if isinstance(schema, dict) and "name" in schema else ""
        found.setdefault(named or Types(schema).kind(schema), (schema, of))
    branches = list(found.values())
    if len(branches) > 1 and draw(st.booleans()):
        branches.insert(draw(st.integers(0, len(branches))), ("null", st.none()))
    values = [of.map(partial(Branch, i)) for i, (_, of) in enumerate(branches)]
    return [schema for schema, _ in branches], st.one_of(values)


@st.composite
def _record(draw: st.DrawFn, scope: Scope) -> Any:
    return draw(records(scope.inside()))


@st.composite
def records(draw: st.DrawFn, scope: Scope) -> tuple[Avro, st.SearchStrategy[Any]]:
    """A record of one to six fields, some with defaults, and its values."""
    name = scope.name()
    given = draw(st.lists(types(scope), min_size=1, max_size=6))
    called = draw(
        st.lists(
            st.sampled_from(CASES) | st.integers(0, 40).map("f{}".format),
            min_size=len(given),
            max_size=len(given),
            unique=True,
        )
    )
    fields = [_field(draw, one, schema) for one, (schema, _) in zip(called, given, strict=True)]
    of = st.tuples(*(values for _, values in given))
    rows = of.map(lambda row: dict(zip(called, row, strict=True)))
    return {"type": "record", "name": name, "fields": fields}, rows


def _field(draw: st.DrawFn, name: str, schema: Avro) -> Avro:
    if isinstance(schema, list) and schema[0] == "null" and draw(st.booleans()):
        return {"name": name, "type": schema, "default": None}
    return {"name": name, "type": schema}


KINDS: dict[str, Any] = {
    "simple": _simple,
    "enum": _enum,
    "fixed": _fixed,
    "decimal": _decimal,
    "fixed decimal": _fixed_decimal,
    "record": _record,
    "array": _array,
    "map": _map,
    "several": _several,
}


@st.composite
def cases(draw: st.DrawFn, depth: int = 2, *, mixed: bool = True, most: int = 6) -> Case:
    schema, of = draw(records(Scope(depth, mixed)))
    return Case(schema, draw(st.lists(of, min_size=1, max_size=most)))


# --- Bytes, piece by piece --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a record, and what they are: a number's kind, ``branch``, ``length``, ``count``, ``text`` …"""

    what: str
    data: bytes


def varint(number: int) -> bytes:
    """As Avro writes a long."""
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes([*out, left])


def pieces(types: Types, schema: Avro, value: Any, blocks: str = "one") -> Iterator[Piece]:
    """How a stored value is written. ``blocks``: how arrays and maps are cut: ``one``, ``sized`` or ``single``."""
    schema = types.whole(schema)
    kind = types.kind(schema)
    match kind:
        case "union":
            if types.beside_null(schema) is not None:
                index = (schema[0] == "null") == (value is not None)
                value = Branch(int(index), value)
            yield Piece("branch", varint(value.index))
            yield from pieces(types, schema[value.index], value.value, blocks)
        case "record":
            for one in schema["fields"]:
                yield from pieces(types, one["type"], value[one["name"]], blocks)
        case "array" | "map":
            yield from _blocks(types, schema, value, blocks)
        case "string" | "bytes":
            data = value.encode() if kind == "string" else value
            what = "text" if kind == "string" else "digits" if types.is_decimal(schema) else "bytes"
            yield Piece("length", varint(len(data)))
            yield Piece(what, data)
        case "enum":
            yield Piece("enum", varint(schema["symbols"].index(value)))
        case "int" | "long":
            yield Piece(kind, varint(value))
        case "boolean":
            yield Piece(kind, bytes([value]))
        case "float":
            yield Piece(kind, struct.pack("<f", value))
        case "double":
            yield Piece(kind, struct.pack("<d", value))
        case "fixed":
            yield Piece("digits" if types.is_decimal(schema) else "fixed", value)


def _blocks(types: Types, schema: Avro, value: Any, blocks: str) -> Iterator[Piece]:
    items: list[list[Piece]] = []
    if isinstance(value, dict):
        for key, one in value.items():
            inside = pieces(types, schema["values"], one, blocks)
            data = key.encode()
            items.append([Piece("length", varint(len(data))), Piece("text", data), *inside])
    else:
        items += [list(pieces(types, schema["items"], one, blocks)) for one in value]
    cut = [[one] for one in items] if blocks == "single" else [items] * bool(items)
    for block in cut:
        flat = list(itertools.chain(*block))
        if blocks == "sized":
            yield Piece("count", varint(-len(block)))
            yield Piece("size", varint(sum(len(one.data) for one in flat)))
        else:
            yield Piece("count", varint(len(block)))
        yield from flat
    yield Piece("count", varint(0))


def body(types: Types, value: Any, blocks: str = "one") -> bytes:
    """A record's bytes, without its frame."""
    return b"".join(piece.data for piece in pieces(types, types.root, value, blocks))


# --- Damage -----------------------------------------------------------------------------------------------------

HOSTILE_NUMBERS = [
    -1,
    -2,
    1,
    2,
    3,
    5,
    63,
    64,
    1000,
    2**26,
    2**26 + 1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
]
HOSTILE_VARINTS = [
    *map(varint, [*HOSTILE_NUMBERS, 2**32, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]),
    b"\x80\x00",  # zero, longer than it need be
    b"\x82\x80\x80\x80\x00",
    b"\x80" * 9 + b"\x01",
    b"\xff" * 9 + b"\x02",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 11,
    b"\x80",
    b"",
]
HOSTILE: dict[str, list[bytes]] = {
    "boolean": [b"\x02", b"\xff", b""],
    "text": [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"12345678\x80"],
    "digits": [b"", b"\x7f" * 16, b"\x80" + b"\0" * 16, b"\0" * 20 + b"\x01", b"\xff" * 40],
    "double": [struct.pack("<d", one) for one in (float("nan"), float("-inf"), 1e300, 3.5e38)],
    "float": [struct.pack("<f", one) for one in (float("nan"), float("inf"))],
}


@st.composite
def damage(draw: st.DrawFn, written: list[Piece]) -> bytes:
    """A record's bytes after something has happened to them; sometimes they are as good as before."""
    how = draw(st.sampled_from(["piece"] * 6 + ["cut", "more", "flip", "insert", "lose", "noise"]))
    if how == "piece":
        return draw(_with_a_piece(written))
    data = b"".join(piece.data for piece in written)
    at = draw(st.integers(0, max(0, len(data) - 1)))
    match how:
        case "cut":
            return data[:at]
        case "more":
            return data + draw(st.binary(min_size=1, max_size=9))
        case "flip":
            flipped = data[at : at + 1] or b"\0"
            return data[:at] + bytes([flipped[0] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        case "insert":
            return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
        case "lose":
            return data[:at] + data[at + draw(st.integers(1, 5)) :]
    return draw(st.binary(min_size=1, max_size=40))


@st.composite
def _with_a_piece(draw: st.DrawFn, written: list[Piece]) -> bytes:
    """One piece replaced by a hostile one, with its length where it has one."""
    place = draw(st.integers(0, len(written) - 1))
    what = written[place].what
    new = draw(st.sampled_from(HOSTILE.get(what) or HOSTILE_VARINTS) | st.binary(max_size=6))
    parts = [piece.data for piece in written]
    parts[place] = new
    if place and written[place - 1].what == "length" and draw(st.booleans()):
        parts[place - 1] = varint(len(new))
    return b"".join(parts)
