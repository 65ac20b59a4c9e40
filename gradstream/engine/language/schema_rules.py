"""Which columns a key or a value of each format can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gradstream.engine.catalog import Column, Format
from gradstream.engine.language.analyze import base_name
from gradstream.engine.language.formatting import format_columns
from gradstream.engine.types import (
    BIGINT,
    BYTES,
    DOUBLE,
    INTEGER,
    STRING,
    Array,
    Map,
    SqlType,
    Struct,
)
from gradstream.errors import SqlError

_KAFKA = (INTEGER, BIGINT, DOUBLE, STRING, BYTES)
_AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_format(format_: Format, columns: Sequence[Column], part: str) -> None:
    """Can this format hold these columns? ``part`` is Key or Value.

    Raises:
        SqlError: BAD_SCHEMA.
    """
    if format_.name == "NONE":
        if columns:
            raise SqlError(
                "BAD_SCHEMA",
                "The 'NONE' format can only be used when no columns are defined. "
                f"Got: [{format_columns(columns)}]",
            )
        return
    if part == "Key":
        check_no_maps(columns)
    reason = _reason(format_, columns)
    if reason is None:
        return
    unwrapped = format_.name in ("AVRO", "JSON") and part == "Key" and len(columns) == 1
    raise SqlError(
        "BAD_SCHEMA",
        f"{part} format does not support schema.\n"
        f"format: {format_.name}\n"
        f"schema: Persistence{{columns=[{format_columns(columns)}], "
        f"features=[{'UNWRAP_SINGLES' if unwrapped else ''}]}}\n"
        f"reason: {reason}",
    )


def check_no_maps(columns: Iterable[Column]) -> None:
    """Key columns may not hold MAPs at any depth."""
    for column in columns:
        if _has_map(column.type):
            raise SqlError(
                "BAD_SCHEMA",
                "Map keys, including types that contain maps, are not supported as they may lead to unexpected "
                f"behavior due to inconsistent serialization. Key column name: `{column.name}`. Column type: "
                f"{column.type}. See https://github.com/confluentinc/ksql/issues/6621 for more.",
            )


def _has_map(type_: SqlType) -> bool:
    match type_:
        case Map():
            return True
        case Array(item):
            return _has_map(item)
        case Struct(fields):
            return any(_has_map(member) for _, member in fields)
    return False


def _reason(format_: Format, columns: Sequence[Column]) -> str | None:
    match format_.name:
        case "DELIMITED":
            for column in columns:
                if isinstance(column.type, Array | Map | Struct):
                    return (
                        f"The 'DELIMITED' format does not support type '{base_name(column.type)}', "
                        f"column: `{column.name}`"
                    )
        case "KAFKA":
            return _kafka_reason(columns)
        case "JSON":
            if any(not keys_are_text(column.type) for column in columns):
                return "JSON only supports MAP types with STRING keys"
        case "AVRO":
            if any(not keys_are_text(column.type) for column in columns):
                return "Avro only supports MAPs with STRING keys"
            return _avro_reason(columns)
    return None


def _kafka_reason(columns: Sequence[Column]) -> str | None:
    if len(columns) > 1:
        return f"The 'KAFKA' format only supports a single field. Got: [{format_columns(columns)}]"
    for column in columns:
        if column.type not in _KAFKA:
            return f"The 'KAFKA' format does not support type '{base_name(column.type)}'"
    return None


def _avro_reason(columns: Sequence[Column]) -> str | None:
    for name in names_within(columns):
        if not _AVRO_NAME.match(name):
            first = not re.match(r"[A-Za-z_]", name)
            return (
                f"Schema is not compatible with Avro: Illegal {'initial ' if first else ''}character"
                f"{'' if first else ' in'}: {name}"
            )
    return None


def names_within(columns: Sequence[Column]) -> Iterable[str]:
    """Names of columns and of all fields inside them."""
    for column in columns:
        yield column.name
        yield from _field_names(column.type)


def _field_names(type_: SqlType) -> Iterable[str]:
    match type_:
        case Array(item):
            yield from _field_names(item)
        case Map(_, value):
            yield from _field_names(value)
        case Struct(fields):
            for name, member in fields:
                yield name
                yield from _field_names(member)


def keys_are_text(type_: SqlType) -> bool:
    match type_:
        case Map(key, value):
            return key == STRING and keys_are_text(value)
        case Array(item):
            return keys_are_text(item)
        case Struct(fields):
            return all(keys_are_text(member) for _, member in fields)
    return True
