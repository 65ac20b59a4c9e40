"""The judge of the Avro codec: one record at a time, byte by byte, in plain Python.

It shares nothing with the codec but the words of the catalogue of faults, and says for any bytes what they hold or which
code they deserve. The rules, in the order in which they are applied:

- The frame: null TOMBSTONE, no bytes EMPTY_VALUE, a first byte that is not zero BAD_MAGIC, under six bytes SHORT_FRAME.
- Then the record from its first byte to its last; the first fault met is its code. What ends too early is TRUNCATED,
  what is left TRAILING_BYTES. A varint beyond 64 bits is TOO_LARGE; an int beyond 32 OUT_OF_RANGE, and so is a time of
  day that no day has. A length below zero or above 2**26 is TOO_LARGE, a count below zero or above that
  TOO_MANY_ITEMS, and either of them beyond the record's end TRUNCATED. BAD_UNION, BAD_ENUM, BAD_BOOLEAN and BAD_UTF8
  say what they say; a decimal of no bytes, or of more digits than its precision, is BAD_DECIMAL.
- For a matrix the wanted fields are judged as numbers while they are read (NULL_FIELD, NON_FINITE, OUT_OF_RANGE,
  WRONG_TYPE, WRONG_DIMENSION for an array of another length), and text, decimals and times of day that are not
  wanted are passed over unseen; a wanted time of day is any number.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

Avro = Any
PRIMITIVES = frozenset("null boolean int long float double string bytes".split())
LARGEST = 1 << 26  # bytes of one text, items of one array
LARGEST_FLOAT = 3.4028234663852886e38
NUMBERS = frozenset({"int", "long", "float", "double"})
TEXT_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
TEXT_INFINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


class Fault(Exception):  # noqa: N818  named for what it is
    """The code that a record deserves."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Branch:
    """A value of a union of several types beside null: which of them, and the value."""

    index: int
    value: Any


class Types:
    """A schema with its named types found; any part of it can be asked for its kind."""

    def __init__(self, schema: Avro) -> None:
        self.root = schema
        self.named: dict[str, Avro] = {}
        self._collect(schema)

    def _collect(self, schema: Avro) -> None:
        if isinstance(schema, list):
            for one in schema:
                self._collect(one)
        elif isinstance(schema, dict):
            if "name" in schema:
                self.named[schema["name"]] = schema
            for inner in ("type", "items", "values"):
                if isinstance(schema.get(inner), list | dict):
                    self._collect(schema[inner])
            for field in schema.get("fields", ()):
                self._collect(field["type"])

    def whole(self, schema: Avro) -> Avro:
        """What a name stands for; any other schema is itself."""
        if isinstance(schema, str) and schema not in PRIMITIVES:
            return self.named[schema]
        return schema

    def kind(self, schema: Avro) -> str:
        schema = self.whole(schema)
        if isinstance(schema, list):
            return "union"
        return schema if isinstance(schema, str) else str(schema["type"])

    def logical(self, schema: Avro) -> str:
        schema = self.whole(schema)
        return str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""

    def is_decimal(self, schema: Avro) -> bool:
        return self.logical(schema) == "decimal"

    def beside_null(self, schema: Avro) -> Avro | None:
        """The other type of a union of null and one type."""
        if isinstance(schema, list) and len(schema) == 2 and "null" in schema:
            return schema[schema[0] == "null"]
        return None


def unframed(value: bytes | None) -> tuple[int, bytes]:
    """(schema id, record) of a value in Confluent's framing."""
    if value is None:
        raise Fault("TOMBSTONE")
    if not value:
        raise Fault("EMPTY_VALUE")
    if value[0] != 0:
        raise Fault("BAD_MAGIC")
    if len(value) < 6:
        raise Fault("SHORT_FRAME")
    return int.from_bytes(value[1:5], "big"), value[5:]


class Cursor:
    """Reads one record from its first byte on."""

    def __init__(self, types: Types, data: bytes) -> None:
        self.types = types
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Fault("TRUNCATED")
        self.at += size
        return self.data[self.at - size : self.at]

    def long(self) -> int:
        number = 0
        for place in range(10):
            byte = self.take(1)[0]
            if place == 9 and byte > 1:
                break
            number |= (byte & 127) << 7 * place
            if byte < 128:
                return (number >> 1) ^ -(number & 1)
        raise Fault("TOO_LARGE")

    def length(self) -> int:
        size = self.long()
        if not 0 <= size <= LARGEST:
            raise Fault("TOO_LARGE")
        return size

    def text(self, *, seen: bool = True) -> bytes:
        found = self.take(self.length())
        if seen:
            try:
                found.decode()
            except UnicodeDecodeError:
                raise Fault("BAD_UTF8") from None
        return found

    def ended(self) -> None:
        if self.at < len(self.data):
            raise Fault("TRAILING_BYTES")

    def read(self, schema: Avro, *, seen: bool = True) -> Any:
        """One value, logical types as they are stored; ``seen`` is False for what is only passed over."""
        schema = self.types.whole(schema)
        match self.types.kind(schema):
            case "union":
                return self._union(schema, seen)
            case "null":
                return None
            case "boolean":
                if (byte := self.take(1)[0]) > 1:
                    raise Fault("BAD_BOOLEAN")
                return bool(byte)
            case "int":
                if not -(2**31) <= (number := self.long()) < 2**31:
                    raise Fault("OUT_OF_RANGE")
                return self._time_of_day(schema, number, seen)
            case "long":
                return self._time_of_day(schema, self.long(), seen)
            case "float":
                return struct.unpack("<f", self.take(4))[0]
            case "double":
                return struct.unpack("<d", self.take(8))[0]
            case "string":
                found = self.text(seen=seen)
                return found.decode(errors="replace")
            case "bytes":
                return self._digits(schema, self.take(self.length()), seen)
            case "fixed":
                return self._digits(schema, self.take(schema["size"]), seen)
            case "enum":
                if not 0 <= (index := self.long()) < len(schema["symbols"]):
                    raise Fault("BAD_ENUM")
                return schema["symbols"][index]
            case "record":
                return {one["name"]: self.read(one["type"], seen=seen) for one in schema["fields"]}
            case "array":
                return [self.read(schema["items"]) for _ in self._items()]
        return {self.text().decode(): self.read(schema["values"]) for _ in self._items()}

    def _digits(self, schema: Avro, found: bytes, seen: bool) -> bytes:
        if seen and self.types.is_decimal(schema):
            number = int.from_bytes(found, "big", signed=True)
            if not found or abs(number) >= 10 ** schema["precision"]:
                raise Fault("BAD_DECIMAL")
        return found

    def _time_of_day(self, schema: Avro, number: int, seen: bool) -> int:
        units = {"time-millis": 1000, "time-micros": 10**6}.get(self.types.logical(schema))
        if seen and units and not 0 <= number < 24 * 60 * 60 * units:
            raise Fault("OUT_OF_RANGE")
        return number

    def _union(self, schema: Avro, seen: bool) -> Any:
        if not 0 <= (index := self.long()) < len(schema):
            raise Fault("BAD_UNION")
        if self.types.beside_null(schema) is not None:
            return self.read(schema[index], seen=seen)
        return Branch(index, self.read(schema[index]))

    def _items(self) -> Iterator[None]:
        """Once for each item of an array or map."""
        for count in self.blocks():
            yield from (None for _ in range(count))

    def blocks(self) -> Iterator[int]:
        """How many items each block of an array or map has."""
        while True:
            count = self.long()
            if count < 0:
                count = -count
                self.long()  # of bytes, by which a reader may skip the block; no reader compares it with what it reads
            if count == 0:
                return
            if count > len(self.data) - self.at:  # each takes a byte at least
                raise Fault("TOO_MANY_ITEMS" if count > LARGEST else "TRUNCATED")
            yield count


def bare(value: Any) -> Any:
    """A value as fastavro gives it: without the branches of its unions."""
    if isinstance(value, Branch):
        return bare(value.value)
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items()}
    return [bare(one) for one in value] if isinstance(value, list) else value


def stored(types: Types, record: bytes) -> Any:
    """What a record holds, logical types as they are stored, unions with their branches; Fault."""
    cursor = Cursor(types, record)
    value = cursor.read(types.root)
    cursor.ended()
    return value


def columns(types: Types, record: bytes) -> Any:
    """What ``columns`` should give for a record: numbers for dates and times, pairs for maps; Fault."""
    return shown(types, types.root, stored(types, record))


def shown(types: Types, schema: Avro, value: Any) -> Any:
    """A stored value as it stands in a column."""
    schema = types.whole(schema)
    if (inner := types.beside_null(schema)) is not None:
        return None if value is None else shown(types, inner, value)
    match types.kind(schema):
        case "union":
            return _mixed(types, schema, value)
        case "record":
            return {
                one["name"]: shown(types, one["type"], value[one["name"]])
                for one in schema["fields"]
            }
        case "array":
            return [shown(types, schema["items"], one) for one in value]
        case "map":
            return [(key, shown(types, schema["values"], one)) for key, one in value.items()]
    return decimal(types, schema, value) if types.is_decimal(schema) else value


def decimal(types: Types, schema: Avro, value: bytes) -> Decimal:
    schema = types.whole(schema)
    number = int.from_bytes(value, "big", signed=True)
    return Decimal(number).scaleb(-schema.get("scale", 0), Context(prec=60))


def _mixed(types: Types, schema: Avro, branch: Branch) -> Any:
    """A union of several types: a number where all of them are, else text."""
    kinds = {types.kind(one) for one in schema} - {"null"}
    inner = schema[branch.index]
    if branch.value is None:
        return None
    if kinds <= {"int", "long"}:
        return branch.value
    if kinds <= NUMBERS:
        return float(branch.value)
    found = _json(types, inner, branch.value)
    return found if types.kind(inner) in ("string", "enum") else json.dumps(found)


def _json(types: Types, schema: Avro, value: Any) -> Any:
    """A value as JSON has it: bytes as hexadecimal digits, decimals as text."""
    schema = types.whole(schema)
    if isinstance(value, Branch):
        return _json(types, schema[value.index], value.value)
    if (inner := types.beside_null(schema)) is not None:
        return None if value is None else _json(types, inner, value)
    if types.is_decimal(schema):
        return str(decimal(types, schema, value))
    match types.kind(schema):
        case "record":
            return {
                one["name"]: _json(types, one["type"], value[one["name"]])
                for one in schema["fields"]
            }
        case "array":
            return [_json(types, schema["items"], one) for one in value]
        case "map":
            return {key: _json(types, schema["values"], one) for key, one in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def numbers(types: Types, record: bytes, wanted: Sequence[str], *, wide: bool) -> dict[str, Any]:
    """The wanted fields as exact numbers (Fraction, or a float's own value); Fault. Names as ``OUTER.INNER``."""
    reading = _Numbers(types, record, frozenset(wanted), LARGEST_FLOAT if not wide else None)
    reading.fields(types.root, "")
    reading.cursor.ended()
    for number in reading.late:
        reading.in_range(number)
    return reading.found


class _Numbers:
    """One record on its way into a row of a matrix."""

    def __init__(
        self, types: Types, record: bytes, wanted: frozenset[str], limit: float | None
    ) -> None:
        self.types = types
        self.cursor = Cursor(types, record)
        self.wanted = wanted
        self.limit = limit
        self.found: dict[str, Any] = {}
        self.vectors = {name: size for name, size in map(vector, wanted) if size is not None}
        self.late: list[float] = []

    def fields(self, record: Avro, prefix: str) -> None:
        for one in self.types.whole(record)["fields"]:
            self.field(one["type"], prefix + one["name"])

    def field(self, schema: Avro, name: str) -> None:
        inside = any(one.startswith(name + ".") for one in self.wanted)
        inner = self.types.beside_null(schema)
        plain = schema if inner is None else inner
        if self.types.kind(plain) == "record":
            if inner is not None and not self.present(schema):
                if inside:
                    raise Fault("NULL_FIELD")
                return
            self.fields(plain, name + ".")
        elif name in self.vectors:
            if inner is not None and not self.present(schema):
                raise Fault("NULL_FIELD")
            size = self.vectors[name]
            self.found[f"{name}[0:{size}]"] = self.items(self.types.whole(plain)["items"], size)
        elif name not in self.wanted:
            self.cursor.read(schema, seen=False)
        elif inner is not None and not self.present(schema):
            raise Fault("NULL_FIELD")
        else:
            self.found[name] = self.number(plain)

    def items(self, item: Avro, size: int) -> list[Any]:
        """An array of that many numbers."""
        found: list[Any] = []
        inner = self.types.beside_null(item)
        for count in self.cursor.blocks():
            if count > size - len(found):
                raise Fault("WRONG_DIMENSION")
            for _ in range(count):
                if inner is not None and not self.present(item):
                    raise Fault("NULL_FIELD")
                found.append(self.number(item if inner is None else inner))
        if len(found) < size:
            raise Fault("WRONG_DIMENSION")
        return found

    def present(self, schema: Avro) -> bool:
        if not 0 <= (index := self.cursor.long()) < 2:
            raise Fault("BAD_UNION")
        return bool(schema[index] != "null")

    def number(self, schema: Avro) -> Any:
        kind = self.types.kind(schema)
        if kind == "union":
            branches = self.types.whole(schema)
            if not 0 <= (index := self.cursor.long()) < len(branches):
                raise Fault("BAD_UNION")
            if branches[index] == "null":
                raise Fault("NULL_FIELD")
            return self.number(branches[index])
        if kind == "string":
            return self.text_number(self.cursor.text(seen=False))
        if self.types.is_decimal(schema):
            raw = self.cursor.read(schema)
            number = int.from_bytes(raw, "big", signed=True)
            return Fraction(number, 10 ** self.types.whole(schema).get("scale", 0))
        value = self.cursor.read(schema, seen=False)  # a time of day is any number
        if isinstance(value, Branch):
            kind, value = self.types.kind(schema[value.index]), value.value
            if kind == "null":
                raise Fault("NULL_FIELD")
        if kind in ("float", "double"):
            if value - value != 0:
                raise Fault("NON_FINITE")
            self.in_range(value)
        return value

    def text_number(self, raw: bytes) -> float:
        text = raw.decode(errors="replace")
        if TEXT_INFINITE.fullmatch(text):
            raise Fault("NON_FINITE")
        if not TEXT_NUMBER.fullmatch(text):
            raise Fault("WRONG_TYPE")
        self.late.append(float(text))  # judged when the whole record is known to be sound
        return float(text)

    def in_range(self, number: float) -> None:
        if abs(number) > (self.limit or 1.7976931348623157e308):
            raise Fault("OUT_OF_RANGE")


def leaves(types: Types) -> list[tuple[str, Avro]]:
    """(name, type) of every field that is no record, those of nested records as ``OUTER.INNER``."""

    def walk(record: Avro, prefix: str) -> Iterator[tuple[str, Avro]]:
        for one in types.whole(record)["fields"]:
            inner = types.beside_null(one["type"])
            plain = one["type"] if inner is None else inner
            if types.kind(plain) == "record":
                yield from walk(plain, f"{prefix}{one['name']}.")
            else:
                yield prefix + one["name"], plain

    return list(walk(types.root, ""))


def vector(name: str) -> tuple[str, int | None]:
    """(field, size) of a wanted array such as ``X[0:10]``; no size for any other name."""
    found = re.fullmatch(r"(.*)\[0:([0-9]+)\]", name)
    return (found[1], int(found[2])) if found else (name, None)


def is_vector(types: Types, schema: Avro) -> bool:
    """Whether a matrix takes the items of this array."""
    if types.kind(schema) != "array":
        return False
    item = types.whole(schema)["items"]
    inner = types.beside_null(item)
    return types.kind(item if inner is None else inner) in NUMBERS


def is_number(types: Types, schema: Avro) -> bool:
    """Whether a matrix takes fields of this type."""
    if types.kind(schema) == "union":
        kinds = {types.kind(one) for one in types.whole(schema)} - {"null"}
        return bool(kinds) and kinds <= set(NUMBERS)
    if types.kind(schema) == "union":
        return {types.kind(one) for one in schema} - {"null"} <= NUMBERS
    return types.kind(schema) in {*NUMBERS, "string"} or types.is_decimal(schema)


def selected(types: Types, wanted: Sequence[str]) -> list[str]:
    """The fields that are meant: of that name, or the only ones that differ from it in case alone; Fault."""
    found, kinds = [], dict(leaves(types))
    for asked in wanted:
        name, size = vector(asked)
        near = [one for one in kinds if one.casefold() == name.casefold()]
        if name not in kinds and len(near) != 1:
            raise Fault("MISSING_FIELD")
        name = name if name in kinds else near[0]
        taken = is_number if size is None else is_vector
        if not taken(types, kinds[name]):
            raise Fault("WRONG_TYPE")
        found.append(name if size is None else f"{name}[0:{size}]")
    return found
