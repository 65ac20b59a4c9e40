"""Avro schemas as ksqlDB derives them from columns, and columns from Avro schemas.

ksqlDB goes through Kafka Connect, whose traces it leaves in the schemas: ``connect.name`` on records, logical types
with ``connect.*`` properties, and maps as arrays of key and value records, since its map keys may be null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradstream.engine.catalog import Column, Source
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    SqlType,
    Struct,
)
from gradstream.errors import DataError

NAMESPACE = "io.confluent.ksql.avro_schemas"
DEFAULT_NAME = f"{NAMESPACE}.KsqlDataSourceSchema"
PRECISION = 64  # of a decimal whose schema does not say

_PLAIN: dict[SqlType, str] = {
    BOOLEAN: "boolean",
    INTEGER: "int",
    BIGINT: "long",
    DOUBLE: "double",
    STRING: "string",
    BYTES: "bytes",
}
_TIMES: dict[SqlType, tuple[str, str, str]] = {
    DATE: ("int", "Date", "date"),
    TIME: ("int", "Time", "time-millis"),
    TIMESTAMP: ("long", "Timestamp", "timestamp-millis"),
}
_CONNECT = "org.apache.kafka.connect.data."


def key_name(source: Source) -> str:
    """Name of the Avro record of a source's keys: the source's name in camel case, and Key.

    >>> key_name(Source("GOOD_DAYS", "stream", (), "t", ..., ...))
    'io.confluent.ksql.avro_schemas.GoodDaysKey'
    """
    camel = "".join(word.capitalize() for word in source.name.split("_"))
    return f"{NAMESPACE}.{camel}Key"


def derive(
    columns: tuple[Column, ...], full_name: str = DEFAULT_NAME, *, wrapped: bool = True
) -> Any:
    """The Avro schema, as a JSON value, of records with these columns; unwrapped: of the only column."""
    if wrapped:
        fields = tuple((column.name, column.type) for column in columns)
        return _record(fields, full_name, root=True)
    return _schema(columns[0].type, full_name, root=True)


def _record(fields: tuple[tuple[str, SqlType], ...], full_name: str, *, root: bool) -> Any:
    namespace, _, name = full_name.rpartition(".")
    schema: dict[str, Any] = {"type": "record", "name": name}
    if root and namespace:
        schema["namespace"] = namespace
    schema["fields"] = [
        {
            "name": field.replace(".", "_"),
            "type": ["null", _schema(type_, f"{full_name}_{field}")],
            "default": None,
        }
        for field, type_ in fields
    ]
    schema["connect.name"] = full_name
    return schema


def _schema(type_: SqlType, full_name: str, *, root: bool = False) -> Any:
    match type_:
        case Struct(fields):
            return _record(fields, full_name, root=root)
        case Array(item):
            return {"type": "array", "items": ["null", _schema(item, full_name)]}
        case Map(_, value):
            return _map(value, full_name, root=root)
        case Decimal(precision, scale):
            return {
                "type": "bytes",
                "scale": scale,
                "precision": precision,
                "connect.version": 1,
                "connect.parameters": {
                    "scale": str(scale),
                    "connect.decimal.precision": str(precision),
                },
                "connect.name": f"{_CONNECT}Decimal",
                "logicalType": "decimal",
            }
    if type_ in _TIMES:
        base, name, logical = _TIMES[type_]
        return {
            "type": base,
            "connect.version": 1,
            "connect.name": _CONNECT + name,
            "logicalType": logical,
        }
    return _PLAIN[type_]


def _map(value: SqlType, full_name: str, *, root: bool) -> Any:
    fields = [
        {"name": "key", "type": ["null", "string"], "default": None},
        {
            "name": "value",
            "type": ["null", _schema(value, f"{full_name}_MapValue")],
            "default": None,
        },
    ]
    namespace, _, name = full_name.rpartition(".")
    entry: dict[str, Any] = {"type": "record", "name": name}
    if root and namespace:
        entry["namespace"] = namespace
    entry |= {"fields": fields, "connect.internal.type": "MapEntry"}
    return {"type": "array", "items": entry, "connect.name": full_name}


class Unsupported(DataError):  # noqa: N818  named for what is said of the schema
    """An Avro schema, or a part of it, that has no KSQL type."""


def sql_type(
    schema: Any, known: Mapping[str, Any] | None = None, *, as_named: bool = False
) -> SqlType:
    """The KSQL type of an Avro schema; fields without a KSQL type are left out.

    Args:
        known: types of named schemas that this one may use, their fields as they are named there.
        as_named: keep the names of fields; else they become upper case.

    Raises:
        Unsupported: NO_KSQL_TYPE.
    """
    names = dict(known or {})
    found = _sql_type(schema, "", names, frozenset())
    if found is None:
        raise Unsupported("NO_KSQL_TYPE", "the Avro schema has no KSQL type")
    return found if as_named else _upper_case(found)


def _upper_case(type_: SqlType) -> SqlType:
    match type_:
        case Struct(fields):
            return Struct(tuple((name.upper(), _upper_case(of)) for name, of in fields))
        case Array(item):
            return Array(_upper_case(item))
        case Map(key, value):
            return Map(key, _upper_case(value))
    return type_


def _sql_type(
    schema: Any, namespace: str, names: dict[str, Any], inside: frozenset[str]
) -> SqlType | None:
    if isinstance(schema, str):
        if schema in _FROM_AVRO:
            return _FROM_AVRO[schema]
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        return None if full in inside else names.get(full, names.get(schema))
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch not in ("null", {"type": "null"})]
        return _sql_type(branches[0], namespace, names, inside) if len(branches) == 1 else None
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _sql_type(kind, namespace, names, inside)
    if kind in ("record", "error", "enum", "fixed"):
        return _named(schema, namespace, names, inside)
    if kind == "array":
        return _array(schema["items"], namespace, names, inside)
    if kind == "map":
        value = _sql_type(schema["values"], namespace, names, inside)
        return Map(STRING, value) if value is not None else None
    return _logical(schema) or _sql_type(kind, namespace, names, inside)


_FROM_AVRO: dict[str, SqlType] = {name: type_ for type_, name in _PLAIN.items()} | {"float": DOUBLE}


def _named(
    schema: dict[str, Any], namespace: str, names: dict[str, Any], inside: frozenset[str]
) -> SqlType | None:
    namespace = schema.get("namespace", namespace)
    name = schema["name"]
    full = name if "." in name or not namespace else f"{namespace}.{name}"
    namespace = full.rpartition(".")[0]
    found: SqlType | None
    if schema["type"] == "enum":
        found = STRING
    elif schema["type"] == "fixed":
        found = _logical(schema) or BYTES
    else:
        fields = []
        for field in schema["fields"]:
            type_ = _sql_type(field["type"], namespace, names, inside | {full})
            if type_ is not None:
                fields.append((str(field["name"]), type_))
        found = Struct(tuple(fields)) if fields else None
    names[full] = found
    return found


def _array(
    items: Any, namespace: str, names: dict[str, Any], inside: frozenset[str]
) -> SqlType | None:
    item = _sql_type(items, namespace, names, inside)
    if isinstance(items, dict) and items.get("connect.internal.type") == "MapEntry":
        types = dict(item.fields) if isinstance(item, Struct) else {}
        return Map(STRING, types["value"]) if "value" in types else None
    return Array(item) if item is not None else None


def _logical(schema: dict[str, Any]) -> SqlType | None:
    kind, logical = schema["type"], schema.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return Decimal(int(schema.get("precision", PRECISION)), int(schema.get("scale", 0)))
    for type_, (base, _, name) in _TIMES.items():
        if (kind, logical) == (base, name):
            return type_
    return None


def is_record(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") in ("record", "error")
