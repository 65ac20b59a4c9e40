"""Values of query translation tests to bytes and back, and how an expected value is compared with a real one.

Written from the formats' definitions and without the engine's codecs, since it is the judge of those.
"""

from __future__ import annotations

import base64
import decimal
import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from gradstream.engine import types
from gradstream.engine.types import SqlType

TOLERANCE = 0.000001
_WIDE = decimal.Context(prec=100)  # the digits of any test, not only the 28 of the default
_KAFKA = {types.INTEGER: ">i", types.BIGINT: ">q", types.DOUBLE: ">d"}


class Schemas(Protocol):
    """The part of a registry that the judge asks."""

    def latest(self, subject: str) -> tuple[int, int, str]: ...
    def text(self, schema_id: int) -> str: ...


def encode(
    value: Any, form: str, schemas: Schemas, subject: str, type_: SqlType | None
) -> bytes | None:
    """A test's value as a record's bytes; ``type_`` is the single column's for KAFKA."""
    if value is None or form == "NONE":
        return None
    if form == "DELIMITED":
        return _text(value).encode()
    if form == "KAFKA":
        return _encode_kafka(value, type_)
    if form == "AVRO":
        schema_id, _, text = schemas.latest(subject)
        return b"\x00" + struct.pack(">i", schema_id) + write_avro(json.loads(text), value)
    return json_text(value).encode()


def decode(raw: bytes | None, form: str, schemas: Schemas, type_: SqlType | None) -> Any:
    """A record's bytes as the value that a test would give for them."""
    if raw is None or form == "NONE":
        return None
    if form == "DELIMITED":
        return raw.decode()
    if form == "KAFKA":
        return _decode_kafka(raw, type_)
    if form == "AVRO":
        (schema_id,) = struct.unpack(">i", raw[1:5])
        value, end = read_avro(json.loads(schemas.text(schema_id)), raw, 5)
        assert end == len(raw), f"{len(raw) - end} bytes after the Avro value"
        return value
    return json.loads(raw, parse_float=decimal.Decimal)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """JSON with the digits that the test gives."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(key)}:{json_text(of)}" for key, of in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# Kafka's own serializers -----------------------------------------------------------------------------------


def _encode_kafka(value: Any, type_: SqlType | None) -> bytes:
    if type_ in _KAFKA:
        number = float(value) if type_ == types.DOUBLE else int(value)
        return struct.pack(_KAFKA[type_], number)
    if type_ == types.BYTES:
        return base64.b64decode(value)
    return _text(value).encode()


def _decode_kafka(raw: bytes, type_: SqlType | None) -> Any:
    if type_ in _KAFKA:
        return struct.unpack(_KAFKA[type_], raw)[0]
    return base64.b64encode(raw).decode() if type_ == types.BYTES else raw.decode()


# Avro --------------------------------------------------------------------------------------------------


def write_avro(schema: Any, value: Any, names: dict[str, Any] | None = None) -> bytes:
    """The Avro encoding of a test's value.

    Raises:
        ValueError: no branch of a union fits.
    """
    names = {} if names is None else names
    if isinstance(schema, list):
        branch = next((n for n, of in enumerate(schema) if _fits(of, value, names)), None)
        if branch is None and not isinstance(value, dict | list):  # the test relies on a coercion
            branch = next((n for n, of in enumerate(schema) if of != "null"), None)
        if branch is None:
            raise ValueError(f"no branch of {schema} takes {value!r}")
        return _varint(branch) + write_avro(schema[branch], value, names)
    if isinstance(schema, str):
        return (
            write_avro(names[schema], value, names)
            if schema in names
            else _write(schema, {}, value)
        )
    _remember(schema, names)
    kind = schema["type"]
    if kind == "record":
        parts = [_member(value, of) for of in schema["fields"]]
        fields = zip(schema["fields"], parts, strict=True)
        return b"".join(write_avro(of["type"], part, names) for of, part in fields)
    if kind == "array":
        if isinstance(value, dict):
            value = [{"key": key, "value": of} for key, of in value.items()]
        items = b"".join(write_avro(schema["items"], item, names) for item in value)
        return (_varint(len(value)) + items if value else b"") + b"\x00"
    if kind == "map":
        entries = b"".join(
            _write("string", {}, key) + write_avro(schema["values"], of, names)
            for key, of in value.items()
        )
        return (_varint(len(value)) + entries if value else b"") + b"\x00"
    if kind == "enum":
        return _varint(schema["symbols"].index(value))
    if isinstance(kind, (dict, list)):
        return write_avro(kind, value, names)
    return _write(kind, schema, value)


def _member(value: Mapping[str, Any], field: Mapping[str, Any]) -> Any:
    name = field["name"]
    for key in (name, *(key for key in value if key.upper() == name.upper())):
        if key in value:
            return value[key]
    return field.get("default")


def _remember(schema: Mapping[str, Any], names: dict[str, Any]) -> None:
    if "name" in schema:
        names[schema["name"]] = schema
        if "namespace" in schema:
            names[f"{schema['namespace']}.{schema['name']}"] = schema


def _fits(schema: Any, value: Any, names: dict[str, Any]) -> bool:
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "null" or value is None:
        return kind == "null" and value is None
    if isinstance(kind, str) and kind in names:
        return _fits(names[kind], value, names)
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    if isinstance(value, str):
        return kind in ("string", "enum", "bytes", "fixed")
    if isinstance(value, int):
        return kind in ("int", "long", "float", "double", "bytes")
    if isinstance(value, decimal.Decimal):
        return kind in ("float", "double", "bytes", "fixed")
    if isinstance(value, list):
        return bool(kind == "array")
    return kind in ("record", "map") or _is_entries(schema)


def _is_entries(schema: Any) -> bool:
    """Connect's form of a map: an array of records of key and value."""
    items = schema.get("items") if isinstance(schema, dict) else None
    fields = items.get("fields", ()) if isinstance(items, dict) else ()
    return [of["name"] for of in fields] == ["key", "value"]


def _write(kind: str, schema: Mapping[str, Any], value: Any) -> bytes:
    match kind:
        case "null":
            return b""
        case "boolean":
            return b"\x01" if value else b"\x00"
        case "int" | "long":
            return _varint(int(value))
        case "float":
            return struct.pack("<f", float(value))
        case "double":
            return struct.pack("<d", float(value))
        case "string":
            raw = _text(value).encode()
        case "fixed":
            return _unscaled(value, schema).rjust(schema["size"], b"\x00")
        case _:
            decimal_ = schema.get("logicalType") == "decimal"
            raw = _unscaled(value, schema) if decimal_ else base64.b64decode(value)
    return _varint(len(raw)) + raw


def _unscaled(value: Any, schema: Mapping[str, Any]) -> bytes:
    number = int(decimal.Decimal(str(value)).scaleb(schema.get("scale", 0), _WIDE))
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)


def _varint(number: int) -> bytes:
    coded = (number << 1) ^ (number >> 63)
    out = bytearray()
    while coded > 0x7F:
        out.append(coded & 0x7F | 0x80)
        coded >>= 7
    out.append(coded)
    return bytes(out)


def read_avro(
    schema: Any, raw: bytes, at: int, names: dict[str, Any] | None = None
) -> tuple[Any, int]:
    """(value as a test would give it, position behind it)."""
    names = {} if names is None else names
    if isinstance(schema, list):
        branch, at = _read_long(raw, at)
        return read_avro(schema[branch], raw, at, names)
    if isinstance(schema, str):
        if schema in names:
            return read_avro(names[schema], raw, at, names)
        return _read(schema, {}, raw, at)
    _remember(schema, names)
    kind = schema["type"]
    if kind == "record":
        record = {}
        for of in schema["fields"]:
            record[of["name"]], at = read_avro(of["type"], raw, at, names)
        return record, at
    if kind in ("array", "map"):
        return _read_blocks(schema, raw, at, names)
    if kind == "enum":
        index, at = _read_long(raw, at)
        return schema["symbols"][index], at
    if isinstance(kind, (dict, list)):
        return read_avro(kind, raw, at, names)
    return _read(kind, schema, raw, at)


def _read_blocks(
    schema: Mapping[str, Any], raw: bytes, at: int, names: dict[str, Any]
) -> tuple[Any, int]:
    items: list[Any] = []
    entries: dict[str, Any] = {}
    while True:
        count, at = _read_long(raw, at)
        if count < 0:
            count = -count
            _, at = _read_long(raw, at)
        if count == 0:
            if _is_entries(schema):
                entries = {item["key"]: item["value"] for item in items}
                return entries, at
            return (items if schema["type"] == "array" else entries), at
        for _ in range(count):
            if schema["type"] == "array":
                item, at = read_avro(schema["items"], raw, at, names)
                items.append(item)
            else:
                key, at = _read("string", {}, raw, at)
                entries[key], at = read_avro(schema["values"], raw, at, names)


def _read(kind: str, schema: Mapping[str, Any], raw: bytes, at: int) -> tuple[Any, int]:
    match kind:
        case "null":
            return None, at
        case "boolean":
            return raw[at] == 1, at + 1
        case "int" | "long":
            return _read_long(raw, at)
        case "float":
            return struct.unpack_from("<f", raw, at)[0], at + 4
        case "double":
            return struct.unpack_from("<d", raw, at)[0], at + 8
    length, at = (schema["size"], at) if kind == "fixed" else _read_long(raw, at)
    data = raw[at : at + length]
    at += length
    if kind == "string":
        return data.decode(), at
    if schema.get("logicalType") == "decimal":
        number = decimal.Decimal(int.from_bytes(data, "big", signed=True))
        return number.scaleb(-schema.get("scale", 0), _WIDE), at
    return base64.b64encode(data).decode(), at


def _read_long(raw: bytes, at: int) -> tuple[int, int]:
    shift = coded = 0
    while True:
        byte = raw[at]
        at += 1
        coded |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (coded >> 1) ^ -(coded & 1), at
        shift += 7


# Comparison --------------------------------------------------------------------------------------------


def same(expected: Any, actual: Any, type_: SqlType | None = None) -> bool:
    """Whether a value is the expected one, by the rules of the tests.

    Args:
        type_: the column's type where known; it tells a DECIMAL, whose scale counts, from a DOUBLE.
    """
    if expected is None or actual is None:
        return expected is None and actual is None
    if isinstance(expected, dict):
        return isinstance(actual, dict) and _same_object(expected, actual, type_)
    if isinstance(expected, list):
        item = type_.item if isinstance(type_, types.Array) else None
        return (
            isinstance(actual, list)
            and len(expected) == len(actual)
            and all(same(e, a, item) for e, a in zip(expected, actual, strict=True))
        )
    if isinstance(type_, types.Decimal):
        return _same_decimal(expected, actual)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, (int, decimal.Decimal)) and isinstance(
        actual, (int, float, decimal.Decimal)
    ):
        if isinstance(expected, int) and isinstance(actual, int):
            return expected == actual
        return abs(float(expected) - float(actual)) < TOLERANCE
    if isinstance(expected, str) and isinstance(actual, decimal.Decimal):
        return _same_decimal(expected, actual)
    return type(expected) is type(actual) and bool(expected == actual)


def _same_object(
    expected: Mapping[str, Any], actual: Mapping[str, Any], type_: SqlType | None
) -> bool:
    if len(expected) != len(actual):
        return False
    fields: dict[str, SqlType] = dict(type_.fields) if isinstance(type_, types.Struct) else {}
    for name, value in expected.items():
        found = name if name in actual else name.upper()
        if found not in actual:
            if value is not None:  # ksqlDB's own comparison takes a missing field for a null
                return False
            continue
        inner = type_.value if isinstance(type_, types.Map) else fields.get(found)
        if not same(value, actual[found], inner):
            return False
    return True


def _same_decimal(expected: Any, actual: Any) -> bool:
    try:
        wanted, got = decimal.Decimal(str(expected)), decimal.Decimal(str(actual))
    except decimal.InvalidOperation:
        return False
    return wanted == got and wanted.as_tuple().exponent == got.as_tuple().exponent
