"""Columns as Avro has them, brought to a source's types, and back.

Rules of ksqlDB's reading: a field is found by exact or upper-cased name, missing ones are NULL; integers widen to
BIGINT, numbers to DOUBLE, scalars and enums become STRING; an integer may be a DATE, TIME or TIMESTAMP and the reverse;
maps come as maps or as arrays of key and value. A column that fits already is passed on as it is. Writing with a schema
that somebody else made fills in what that schema gives where the row has nothing.
"""

from __future__ import annotations

import decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire.java_text import double_text, double_texts

BARE = "value"  # what codec_avro calls the column of a schema that is no record


class Mismatch(ValueError):  # noqa: N818  named for what happened
    """What was written can never be of the column's type."""


def from_avro(
    batch: pa.RecordBatch, schema: pa.Schema, wrapped: bool
) -> tuple[list[pa.Array], str]:
    """The batch's columns as those of ``schema``, and why that is impossible, if it is.

    Args:
        wrapped: False when the schema's only column is the whole value.
    """
    n = batch.num_rows
    try:
        if not wrapped:
            whole = batch.column(0) if batch.schema.names == [BARE] else _as_struct(batch)
            return [coerced(whole, schema.field(0).type, "")], ""
        return [
            _field(batch.schema.names, batch.columns, field, n, f"->{field.name}")
            for field in schema
        ], ""
    except (Mismatch, pa.ArrowInvalid) as error:
        return [pa.nulls(n, field.type) for field in schema], str(error)


def _as_struct(batch: pa.RecordBatch) -> pa.StructArray:
    if batch.num_columns == 0:
        return pa.nulls(batch.num_rows)
    return pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))


def _field(
    names: list[str], columns: list[pa.Array], field: pa.Field, n: int, path: str
) -> pa.Array:
    """The column of that name, NULL where there is none."""
    place = names.index(field.name) if field.name in names else -1
    if place < 0:
        upper = [name.upper() for name in names]
        place = upper.index(field.name) if field.name in upper else -1
    return pa.nulls(n, field.type) if place < 0 else coerced(columns[place], field.type, path)


def coerced(column: pa.Array, type_: pa.DataType, path: str) -> pa.Array:
    """The column as one of ``type_``.

    Raises:
        Mismatch: ksqlDB refuses to read the one as the other.
    """
    have = column.type
    if have == type_:
        return column
    if pa.types.is_null(have):
        return pa.nulls(len(column), type_)
    if pa.types.is_nested(type_):
        return _nested(column, type_, path)
    if pa.types.is_string(type_):
        return _texts(column, path)
    whole = _as_integer(column)
    if pa.types.is_float64(type_) and (pa.types.is_floating(have) or pa.types.is_integer(have)):
        return column.cast(type_, safe=False)
    if type_ in (pa.int64(), pa.timestamp("ms")) and whole is not None:
        return whole.cast(pa.int64()).cast(type_)
    if type_ in (pa.int32(), pa.date32(), pa.time32("ms")) and whole is not None:
        if whole.type == pa.int32():
            return whole.cast(type_)
        raise _mismatch(column, type_, path)
    if pa.types.is_binary(type_) and pa.types.is_fixed_size_binary(have):
        return column.cast(type_)
    if pa.types.is_decimal(type_) and pa.types.is_decimal(have):
        return column.cast(type_)
    raise _mismatch(column, type_, path)


_CONNECT_NAMES = {
    pa.bool_(): "boolean",
    pa.int32(): "int32",
    pa.date32(): "int32",
    pa.time32("ms"): "int32",
    pa.int64(): "int64",
    pa.timestamp("ms"): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.string(): "string",
}


def _connect_name(type_: pa.DataType) -> str:
    if pa.types.is_map(type_):
        return "map"
    if pa.types.is_list(type_):
        return "array"
    return "struct" if pa.types.is_struct(type_) else _CONNECT_NAMES.get(type_, "bytes")


def _mismatch(column: pa.Array, type_: pa.DataType, path: str) -> Mismatch:
    return Mismatch(
        f"Cannot deserialize type {_connect_name(column.type)} as type {_connect_name(type_)} for path: {path}"
    )


def _as_integer(column: pa.Array) -> pa.Array | None:
    """Integers, dates and times as int32 or int64, as they were written; None for anything else."""
    type_ = column.type
    if pa.types.is_integer(type_):
        return column
    if pa.types.is_date32(type_) or pa.types.is_time32(type_):
        return column.cast(pa.int32())
    if pa.types.is_timestamp(type_) or pa.types.is_time64(type_):
        return column.cast(pa.int64())
    return None


def _texts(column: pa.Array, path: str) -> pa.StringArray:
    whole = _as_integer(column)
    if whole is not None:
        return whole.cast(pa.string())
    if pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    if pa.types.is_float64(column.type):
        return double_texts(column)
    if pa.types.is_float32(column.type):  # Float.toString: the digits of the shorter type
        values = column.to_numpy(zero_copy_only=False)
        texts = [double_text(float(str(value))) for value in values]
        return pa.array(texts, pa.string(), mask=column.is_null().to_numpy(zero_copy_only=False))
    raise _mismatch(column, pa.string(), path)


def _nested(column: pa.Array, type_: pa.DataType, path: str) -> pa.Array:
    if column.offset:
        column = pa.concat_arrays([column])  # offsets and masks are simpler without a slice
    null = column.is_null() if column.null_count else None
    if pa.types.is_map(type_):
        return _map(column, type_, path, null)
    if pa.types.is_list(type_) and pa.types.is_list(column.type):
        items = coerced(column.values, type_.value_type, f"{path}->ARRAY")
        return pa.ListArray.from_arrays(column.offsets, items, type=type_, mask=null)
    if pa.types.is_struct(type_) and pa.types.is_struct(column.type):
        names = [field.name for field in column.type]
        inner = column.flatten()
        columns = [
            _field(names, inner, field, len(column), f"{path}->{field.name}") for field in type_
        ]
        return pa.StructArray.from_arrays(columns, fields=list(type_), mask=null)
    raise _mismatch(column, type_, path)


def _map(column: pa.Array, type_: pa.DataType, path: str, null: pa.Array | None) -> pa.MapArray:
    have = column.type
    if pa.types.is_map(have):
        keys, items = column.keys, column.items
    elif pa.types.is_list(have) and _is_entry(have.value_type):
        keys, items = column.values.field("key"), column.values.field("value")
    else:
        raise _mismatch(column, type_, path)
    if keys.null_count:
        raise Mismatch(f"A map without a key for path: {path}")
    keys = coerced(keys, type_.key_type, f"{path}->MAP_KEY")
    items = coerced(items, type_.item_type, f"{path}->MAP_VAL")
    return pa.MapArray.from_arrays(column.offsets, keys, items, type=type_, mask=null)


def _is_entry(type_: pa.DataType) -> bool:
    return pa.types.is_struct(type_) and {field.name for field in type_} == {"key", "value"}


def to_avro(batch: pa.RecordBatch, avro: Any) -> pa.RecordBatch:
    """The batch with its maps as arrays of entries where the Avro schema has them so."""
    if not any(pa.types.is_nested(field.type) for field in batch.schema):
        return batch
    types = {}
    if isinstance(avro, dict) and avro.get("type") == "record":
        types = {field["name"].upper(): field["type"] for field in avro["fields"]}
    columns = [
        _entries(column, types.get(name.upper(), avro))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _entries(column: pa.Array, avro: Any) -> pa.Array:
    """The column, maps at any depth as lists of structs where the schema has an array."""
    if isinstance(avro, list):
        avro = next((branch for branch in avro if branch != "null"), "null")
    if not pa.types.is_nested(column.type) or not isinstance(avro, dict):
        return column
    if column.offset:
        column = pa.concat_arrays([column])
    null = column.is_null() if column.null_count else None
    if pa.types.is_map(column.type):
        if avro.get("type") != "array":
            return column
        fields = {field["name"]: field["type"] for field in avro["items"]["fields"]}
        items = _entries(column.items, fields["value"])
        entries = pa.StructArray.from_arrays([column.keys, items], ["key", "value"])
        return pa.ListArray.from_arrays(column.offsets, entries, mask=null)
    if pa.types.is_list(column.type):
        items = _entries(column.values, avro.get("items"))
        return pa.ListArray.from_arrays(column.offsets, items, mask=null)
    types = {field["name"].upper(): field["type"] for field in avro.get("fields", ())}
    names = [field.name for field in column.type]
    inner = [
        _entries(child, types.get(name.upper()))
        for name, child in zip(names, column.flatten(), strict=True)
    ]
    return pa.StructArray.from_arrays(inner, names, mask=null)


def filled(batch: pa.RecordBatch, avro: dict[str, Any], kinds: pa.Schema) -> pa.RecordBatch:
    """The batch with all fields of a record schema, at any depth; its defaults stand where a row has nothing.

    Args:
        kinds: the Arrow types of the schema's fields.
    """
    names, columns = _filled_fields(
        batch.schema.names, batch.columns, batch.num_rows, avro["fields"], kinds
    )
    return pa.RecordBatch.from_arrays(columns, names)


def _filled_fields(
    names: list[str],
    columns: list[pa.Array],
    n: int,
    fields: list[dict[str, Any]],
    kinds: pa.Schema | pa.StructType,
) -> tuple[list[str], list[pa.Array]]:
    upper = [name.upper() for name in names]
    made = []
    for field in fields:
        name, kind = field["name"], kinds.field(field["name"]).type
        place = names.index(name) if name in names else -1
        if place < 0 and name.upper() in upper:
            place = upper.index(name.upper())
        column = pa.nulls(n, kind) if place < 0 else columns[place]
        made.append(_filled(column, field, kind))
    return [field["name"] for field in fields], made


def _filled(column: pa.Array, field: dict[str, Any], kind: pa.DataType) -> pa.Array:
    avro = field["type"]
    if isinstance(avro, list):
        avro = next((branch for branch in avro if branch != "null"), "null")
    if pa.types.is_struct(column.type) and isinstance(avro, dict) and "fields" in avro:
        names = [of.name for of in column.type]
        null = column.is_null() if column.null_count else None
        names, inner = _filled_fields(names, column.flatten(), len(column), avro["fields"], kind)
        column = pa.StructArray.from_arrays(inner, names, mask=null)
    if field.get("default") is None or not column.null_count:
        return column
    values = pa.repeat(_default(field["default"], column.type), len(column))
    return pc.if_else(column.is_null(), values, column)


def _default(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A default as the schema's JSON has it: bytes are text there, and maps objects."""
    if isinstance(value, str) and pa.types.is_binary(kind):
        return pa.scalar(value.encode("latin-1"), kind)
    if isinstance(value, str) and pa.types.is_decimal(kind):
        unscaled = int.from_bytes(value.encode("latin-1"), "big", signed=True)
        return pa.scalar(decimal.Decimal(unscaled).scaleb(-kind.scale), kind)
    if isinstance(value, dict) and pa.types.is_map(kind):
        return pa.scalar(list(value.items()), kind)
    return pa.scalar(value, kind)
