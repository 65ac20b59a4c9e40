"""Avro values in Confluent's framing: by fastavro, which is nobody's here, and where that is too kind, byte by byte.

fastavro takes bytes that no Avro writer would write (bytes after the record, a union's branch −1, a boolean of 7), and
refuses text that is not UTF-8 though nobody wants it. So a value counts as sound by fastavro's word only if fastavro
writes it back as the same bytes; any other is walked through here. Text and decimals directly in a record are looked at
only by who wants them: where they are none, they are UNFIT.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro

FRAME = 5  # a zero, and the id of the schema
LARGEST = 1 << 26  # bytes of one text, items of one array
PRIMITIVES = frozenset("null boolean int long float double string bytes".split())
Schema = Any  # as JSON has it
UNFIT = object()  # text that is no UTF-8, a decimal of too many digits


class Bad(Exception):  # noqa: N818  the name is what the record is
    """A record that cannot be used, and why."""


class Reader:
    """Reads the values of one topic.

    Args:
        schemas: those that its values may be written with, by id.
    """

    def __init__(self, schemas: Mapping[int, Schema]) -> None:
        self.schemas = schemas
        self._endless = {one for one, schema in schemas.items() if endless(schema)}
        self._parsed = {one: fastavro.parse_schema(schema) for one, schema in schemas.items()}
        self._ints = {
            one: [f["name"] for f in schema["fields"] if '"int"' in json.dumps(f["type"])]
            for one, schema in schemas.items()
        }

    def read(self, value: bytes | None) -> tuple[int, dict[str, Any]]:
        """Schema id and fields of a value.

        Raises:
            Bad: it is not what its frame says.
        """
        number = schema_id(value)
        assert value is not None
        if number not in self.schemas:
            raise Bad(f"schema {number} is none of the topic's")
        if number in self._endless:
            raise Bad(f"schema {number} has a type that holds itself")
        record = value[FRAME:]
        try:
            source, back = BytesIO(record), BytesIO()
            found = fastavro.schemaless_reader(source, self._parsed[number], None)
            if source.tell() == len(record):
                fastavro.schemaless_writer(back, self._parsed[number], found)
        except Exception:  # noqa: BLE001  whatever it stumbles over, the walk tells what it is
            return number, walked(self.schemas[number], record)
        if back.getvalue() == record and all(_small(found[name]) for name in self._ints[number]):
            return number, found
        return number, walked(self.schemas[number], record)


def endless(schema: Schema, around: frozenset[str] = frozenset()) -> bool:
    """Whether a record holds itself, as deep as its writer likes: refused whatever its values are."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2] in around
    if isinstance(schema, list):
        return any(endless(one, around) for one in schema)
    if schema["type"] == "record":
        inner = around | {schema["name"].rpartition(".")[2]}
        return any(endless(one["type"], inner) for one in schema["fields"])
    return any(endless(schema[key], around) for key in ("type", "items", "values") if key in schema)


def _small(value: Any) -> bool:
    """Whether it is an int of 32 bits, which fastavro does not look at; what is made of several is not looked into."""
    return value is None or (type(value) is int and -(2**31) <= value < 2**31)


def schema_id(value: bytes | None) -> int:
    """Raises:
    Bad: the value has no frame.
    """
    if value is None:
        raise Bad("tombstone")
    if len(value) <= FRAME or value[0] != 0:
        raise Bad("no frame")
    return int.from_bytes(value[1:FRAME], "big", signed=True)


def walked(schema: Schema, record: bytes) -> dict[str, Any]:
    """The fields of a record, read strictly from its first byte to its last.

    Raises:
        Bad: it is no such record.
    """
    walk = _Walk(schema, record)
    found: dict[str, Any] = walk.read(schema, 0, False)
    if walk.at < len(record):
        raise Bad(f"{len(record) - walk.at} bytes after its end")
    return found


class _Walk:
    def __init__(self, schema: Schema, data: bytes) -> None:
        self._data, self.at = data, 0
        self._named: dict[str, Schema] = {}
        self._collect(schema)

    def _collect(self, schema: Schema) -> None:
        if isinstance(schema, list):
            for one in schema:
                self._collect(one)
        elif isinstance(schema, dict):
            if "name" in schema:
                self._named[schema["name"]] = schema
            for inner in ("type", "items", "values"):
                if isinstance(schema.get(inner), list | dict):
                    self._collect(schema[inner])
            for field in schema.get("fields", ()):
                self._collect(field["type"])

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self.at:
            raise Bad("cut short")
        self.at += size
        return self._data[self.at - size : self.at]

    def _long(self) -> int:
        number = 0
        for place in range(10):
            byte = self._take(1)[0]
            if place == 9 and byte > 1:
                break
            number |= (byte & 127) << 7 * place
            if byte < 128:
                return (number >> 1) ^ -(number & 1)
        raise Bad("a number of over 64 bits")

    def read(self, schema: Schema, depth: int, strict: bool) -> Any:
        """One value; ``strict``: text and decimals must be what they say."""
        if depth > 64:
            raise Bad("too deep")
        if isinstance(schema, str) and schema not in PRIMITIVES:
            schema = self._named[schema if schema in self._named else schema.rpartition(".")[2]]
        if isinstance(schema, list):
            nullable = len(schema) == 2 and "null" in schema
            return self.read(schema[self._index(len(schema))], depth + 1, strict or not nullable)
        kind = schema if isinstance(schema, str) else schema["type"]
        if not isinstance(kind, str):
            return self.read(kind, depth + 1, strict)
        match kind:
            case "record":
                return {
                    one["name"]: self.read(one["type"], depth + 1, strict)
                    for one in schema["fields"]
                }
            case "array":
                return [found for _, found in self._items(schema["items"], False, depth)]
            case "map":
                return dict(self._items(schema["values"], True, depth))
            case "enum":
                return schema["symbols"][self._index(len(schema["symbols"]))]
            case "fixed" | "bytes" | "string":
                size = schema["size"] if kind == "fixed" else self._size()
                found = _meant(schema, kind, self._take(size))
                if strict and found is UNFIT:
                    raise Bad(f"{kind} that is not what it says")
                return found
        return self._primitive(kind)

    def _primitive(self, kind: str) -> Any:
        match kind:
            case "null":
                return None
            case "boolean":
                if (byte := self._take(1)[0]) > 1:
                    raise Bad("a boolean that is neither 0 nor 1")
                return bool(byte)
            case "float":
                return struct.unpack("<f", self._take(4))[0]
            case "double":
                return struct.unpack("<d", self._take(8))[0]
        number = self._long()
        if kind == "int" and not -(2**31) <= number < 2**31:
            raise Bad("an int of over 32 bits")
        return number

    def _index(self, count: int) -> int:
        if not 0 <= (index := self._long()) < count:
            raise Bad(f"choice {index} of {count}")
        return index

    def _size(self) -> int:
        if (size := self._long()) > LARGEST:
            raise Bad("too large")
        return size

    def _items(self, schema: Schema, keyed: bool, depth: int) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = []
        while (count := self._long()) != 0:
            if count < 0:
                count = -count
                self._long()  # of bytes, to skip them by
            if count > len(self._data) - self.at:  # each takes a byte at least
                raise Bad("more items than bytes")
            for _ in range(count):
                key = self.read("string", depth + 1, True) if keyed else None
                found.append((key, self.read(schema, depth + 1, True)))
        return found


def _meant(schema: Schema, kind: str, raw: bytes) -> Any:
    logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
    if logical == "decimal":
        number = int.from_bytes(raw, "big", signed=True)
        if not raw or abs(number) >= 10 ** schema["precision"]:
            return UNFIT
        return Decimal(number).scaleb(-schema.get("scale", 0))
    if kind != "string":
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return UNFIT
