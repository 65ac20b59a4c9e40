"""JSON: one object (or one bare value) per record, read and written as ksqlDB does.

Reading: orjson per record, then a column at a time. A row that holds anything which the two libraries see differently
(numbers with a fraction where whole or decimal ones are wanted, numbers for text, nested types, broken JSON) is read
again by the exact path, with decimals instead of doubles. Writing never leaves Arrow but for text that needs escapes.
"""

from __future__ import annotations

import base64
import binascii
import decimal
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import NUMBER
from gradstream.wire.java_text import (
    DAY_MS,
    double_texts,
    fitted,
    parse_decimal,
    parse_double,
    parse_integer,
)

LARGEST_EXPONENT = (
    10_000  # of a number that is to become an integer: beyond, it would fill the memory
)

BLOCK = 2048  # rows whose Python objects exist at once: they stay in the cache

Column = list[Any] | tuple[Any, ...]
Reader = Callable[[Any, str], Any]


class BadField(ValueError):  # noqa: N818  named for what it is
    """A value that ksqlDB cannot read either: the code, and why in words that hold no value."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def decode(values: pa.BinaryArray, schema: pa.Schema, *, wrapped: bool = True) -> Decoded:
    """Columns of the types of ``schema``; a null value, or the text ``null``, is a row of nulls.

    Args:
        wrapped: False when the schema's only column is the value itself and not a field of an object.

    Fields are found by exact name, else by their upper-cased name; others are ignored, missing ones are NULL.
    """
    readers = [_reader(field.type) for field in schema]
    codes = np.zeros(len(values), np.uint8)
    batches, rows = [], []
    for start in range(0, len(values) or 1, BLOCK):
        raw = values.slice(start, BLOCK).to_pylist()
        batch, good = _block(raw, schema, readers, wrapped, codes[start : start + BLOCK])
        batches.append(batch)
        rows.append(good + start)
    whole = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return Decoded(
        whole,
        np.concatenate(rows),
        codes,
        lambda row: _why(values[row].as_py(), schema, readers, wrapped),
    )


def _block(
    raw: list[bytes | None],
    schema: pa.Schema,
    readers: list[Reader],
    wrapped: bool,
    codes: npt.NDArray[np.uint8],
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The good rows of a block, and their positions in it; writes the codes of the others."""
    documents, odd = _documents(raw, wrapped)
    columns = [
        _quick(column, field.type, odd)
        for column, field in zip(_columns(documents, schema, wrapped), schema, strict=True)
    ]
    rows = np.arange(len(raw), dtype=np.int64)
    if odd.any():
        exact = np.flatnonzero(odd).astype(np.int64, copy=False)
        good, again = _read_exactly(raw, exact, schema, readers, wrapped, codes)
        rows = np.concatenate([rows[~odd], good])
        order = np.argsort(rows, kind="stable")
        kept, index = pa.array(~odd), pa.array(order)
        columns = [
            pa.concat_arrays([column.filter(kept), more]).take(index)
            for column, more in zip(columns, again, strict=True)
        ]
        rows = rows[order]
    return pa.RecordBatch.from_arrays(columns, schema=schema), rows


def _documents(raw: list[bytes | None], wrapped: bool) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    """What orjson makes of each value, and the rows that the exact path must read."""
    odd = np.zeros(len(raw), np.bool_)
    empty: Any = {} if wrapped else None
    try:
        documents = [empty if value is None else orjson.loads(value) for value in raw]
    except orjson.JSONDecodeError:
        documents = []
        for row, value in enumerate(raw):
            try:
                documents.append(empty if value is None else orjson.loads(value))
            except orjson.JSONDecodeError:
                documents.append(empty)
                odd[row] = True
    if wrapped and set(map(type, documents)) - {dict}:
        for row, document in enumerate(documents):
            if type(document) is not dict:
                odd[row] |= document is not None
                documents[row] = {}
    return documents, odd


def _columns(documents: list[Any], schema: pa.Schema, wrapped: bool) -> Sequence[Column]:
    """The value of each field of the schema in each document, None where it is missing."""
    if not wrapped:
        return [documents]
    layouts: dict[tuple[str, ...], list[str | None]] = {}
    keys = list(map(tuple, documents))
    for layout in set(keys):
        upper = {name.upper(): name for name in layout}
        layouts[layout] = [
            field.name if field.name in layout else upper.get(field.name) for field in schema
        ]
    if len(layouts) == 1:
        ((layout, names),) = layouts.items()
        by_name = dict(zip(layout, zip(*map(dict.values, documents), strict=True), strict=True))
        nothing = [None] * len(documents)
        return [nothing if name is None else by_name[name] for name in names]
    found = [layouts[key] for key in keys]
    return [
        [document.get(names[i]) for document, names in zip(documents, found, strict=True)]
        for i in range(len(schema))
    ]


_NONE = type(None)
_QUICK: dict[pa.DataType, set[type]] = {
    pa.bool_(): {bool, _NONE},
    pa.int32(): {int, _NONE},
    pa.int64(): {int, _NONE},
    pa.float64(): {float, int, _NONE},
    pa.string(): {str, _NONE},
    pa.date32(): {int, _NONE},
    pa.timestamp("ms"): {int, _NONE},
}


def _quick(column: Column, type_: pa.DataType, odd: npt.NDArray[np.bool_]) -> pa.Array:
    """A column whose values are of the expected kind; marks the rows where they are not, and leaves NULL there."""
    allowed = _QUICK.get(type_, {_NONE})
    if not set(map(type, column)) <= allowed:
        strange = np.array([type(value) not in allowed for value in column], np.bool_)
        odd |= strange
        column = [
            None if bad else value for value, bad in zip(column, strange.tolist(), strict=True)
        ]
    if type_ == pa.float64():
        # Java reads numbers as decimals, which know no negative zero.
        return pc.add(_doubles(column), 0.0)
    try:
        return pa.array(column, _number_type(type_)).cast(type_)
    except (OverflowError, pa.ArrowInvalid):  # integers that wrap around, days beyond the calendar
        odd |= np.array([value is not None for value in column], np.bool_)
        return pa.nulls(len(column), type_)


def _doubles(column: Column) -> pa.DoubleArray:
    """Numbers and None as doubles, whole numbers beyond 2**53 rounded, which Arrow refuses to do."""
    try:
        return pa.array(column, pa.float64())
    except pa.ArrowInvalid:
        return pa.array([None if one is None else float(one) for one in column], pa.float64())


def _number_type(type_: pa.DataType) -> pa.DataType:
    """The integer that a time is written as; any other type is itself."""
    if pa.types.is_timestamp(type_):
        return pa.int64()
    return pa.int32() if pa.types.is_date32(type_) or pa.types.is_time32(type_) else type_


def _read_exactly(
    raw: list[bytes | None],
    rows: npt.NDArray[np.int64],
    schema: pa.Schema,
    readers: list[Reader],
    wrapped: bool,
    codes: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.int64], list[pa.Array]]:
    """The good ones of the rows, and their columns; writes the codes of the others."""
    good: list[int] = []
    records: list[list[Any]] = []
    for row in rows.tolist():
        try:
            records.append(_record(raw[row], schema, readers, wrapped))
            good.append(row)
        except BadField as bad:
            codes[row] = NUMBER[bad.code]
    columns = [
        _array([record[i] for record in records], field.type) for i, field in enumerate(schema)
    ]
    return np.array(good, np.int64), columns


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    return pa.array(values, _all_numbers(type_)).cast(type_)


def _all_numbers(type_: pa.DataType) -> pa.DataType:
    """The type with all its times as integers."""
    if pa.types.is_list(type_):
        return pa.list_(_all_numbers(type_.value_type))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, _all_numbers(type_.item_type))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(field.name, _all_numbers(field.type)) for field in type_])
    return _number_type(type_)


def _record(
    value: bytes | None, schema: pa.Schema, readers: list[Reader], wrapped: bool
) -> list[Any]:
    """The exact path: the Python values of one row."""
    document = None if value is None else _parsed(value)
    if document is None:
        return [None] * len(readers)
    if not wrapped:
        return [readers[0](document, "$")]
    if not isinstance(document, dict):
        raise _mismatch(document, "STRUCT", "$")
    return _fields(document, [field.name for field in schema], readers, "$")


def _fields(
    document: dict[str, Any], names: list[str], readers: list[Reader], path: str
) -> list[Any]:
    upper: dict[str, Any] = {}
    if not all(map(document.__contains__, names)):
        upper = {name.upper(): value for name, value in document.items()}
    record = []
    for name, reader in zip(names, readers, strict=True):
        value = document[name] if name in document else upper.get(name)
        record.append(None if value is None else reader(value, f"{path}.{name}"))
    return record


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=decimal.Decimal, parse_constant=_refuse)


def _parsed(value: bytes) -> Any:
    """The first JSON value in the bytes, as Jackson's readTree; numbers with a fraction become decimals."""
    if not value.strip(b" \t\r\n"):
        raise BadField("EMPTY_VALUE", "Failed to deserialize: the value is empty")
    try:
        text = value.decode("utf-8-sig").lstrip(" \t\r\n")
        return _DECODER.raw_decode(text)[0]
    except RecursionError:
        raise BadField("TOO_DEEP", "Failed to deserialize: nested too deeply") from None
    except UnicodeDecodeError:
        raise BadField("BAD_UTF8", "Failed to deserialize: not UTF-8") from None
    except (ValueError, decimal.InvalidOperation) as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadField("BAD_TEXT", f"Failed to deserialize: not JSON{place}") from None


def _why(value: bytes | None, schema: pa.Schema, readers: list[Reader], wrapped: bool) -> str:
    try:
        _record(value, schema, readers, wrapped)
    except BadField as bad:
        return str(bad)
    return ""


def _kind(value: Any) -> str:
    """The class that Jackson has for a value."""
    match value:
        case bool():
            return "BooleanNode"
        case int():
            big = not -(2**63) <= value < 2**63
            small = -(2**31) <= value < 2**31
            return "BigIntegerNode" if big else "IntNode" if small else "LongNode"
        case decimal.Decimal():
            return "DecimalNode"
        case str():
            return "TextNode"
        case list():
            return "ArrayNode"
    return "ObjectNode"


def _mismatch(value: Any, wanted: str, path: str) -> BadField:
    return BadField(
        "WRONG_TYPE",
        f"Can't convert type. sourceType: {_kind(value)}, requiredType: {wanted}, path: {path}",
    )


def _reader(type_: pa.DataType) -> Reader:
    """From a JSON value (never None) and its path to the Python value for _array; BadField where ksqlDB fails."""
    if pa.types.is_list(type_):
        return _list_reader(_reader(type_.value_type))
    if pa.types.is_map(type_):
        return _map_reader(_reader(type_.item_type))
    if pa.types.is_struct(type_):
        return _struct_reader(type_)
    if pa.types.is_decimal(type_):
        return _decimal_reader(type_)
    return _SCALARS[type_]


def _boolean(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _mismatch(value, "BOOLEAN", path)


def _whole(bits: int, sql: str) -> Reader:
    """Numbers lose their fraction and wrap around, as Java's intValue and longValue; texts must fit."""

    def read(value: Any, path: str) -> int:
        if isinstance(value, str):
            try:
                return parse_integer(value, bits)
            except ValueError:
                raise _text_mismatch(sql, path) from None
        if isinstance(value, bool) or not isinstance(value, int | decimal.Decimal):
            raise _mismatch(value, sql, path)
        if isinstance(value, decimal.Decimal) and value.adjusted() > LARGEST_EXPONENT:
            raise BadField("OUT_OF_RANGE", f"Can't convert number to {sql}, path: {path}")
        return (int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)

    return read


def _text_mismatch(sql: str, path: str) -> BadField:
    return BadField("WRONG_TYPE", f"Can't coerce string to type. targetType: {sql}, path: {path}")


def _time(value: Any, path: str) -> int:
    number: int = _whole(64, "TIME")(value, path)
    if not 0 <= number <= DAY_MS:
        raise BadField(
            "OUT_OF_RANGE",
            "Time values must use number of milliseconds greater than 0 and less than "
            f"{DAY_MS}., path: {path}",
        )
    return number


def _date(value: Any, path: str) -> int:
    number: int = _whole(64, "DATE")(value, path)
    if not -(2**31) <= number < 2**31:
        raise BadField("OUT_OF_RANGE", f"Too many days for a DATE, path: {path}")
    return number


def _double(value: Any, path: str) -> float:
    if type(value) is decimal.Decimal:
        return float(value) + 0.0  # too large a decimal is infinite, and none is a negative zero
    if isinstance(value, str):
        try:
            return parse_double(value)
        except ValueError:
            raise _text_mismatch("DOUBLE", path) from None
    if isinstance(value, bool) or not isinstance(value, int | decimal.Decimal):
        raise _mismatch(value, "DOUBLE", path)
    try:
        return float(value) + 0.0
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _string(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates, as Java writes them
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join("null" if v is None else _string(v, path) for v in value) + "]"
    return _json_text(value) if isinstance(value, dict) else str(value)


def _json_text(value: Any) -> str:
    """A JSON value as Jackson writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted_text(value.encode("utf-8", "replace").decode())
        case dict():
            fields = (f"{_json_text(name)}:{_json_text(item)}" for name, item in value.items())
            return "{" + ",".join(fields) + "}"
        case list():
            return "[" + ",".join(map(_json_text, value)) + "]"
    return str(value)


def _bytes(value: Any, path: str) -> bytes:
    if not isinstance(value, str):
        raise _mismatch(value, "BYTES", path)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        reason = f"Value is not a valid Base64 encoded string, path: {path}"
        raise BadField("WRONG_TYPE", reason) from None


def _decimal_reader(type_: pa.DataType) -> Reader:
    sql = f"DECIMAL({type_.precision}, {type_.scale})"

    def read(value: Any, path: str) -> decimal.Decimal:
        if isinstance(value, bool) or not isinstance(value, int | decimal.Decimal | str):
            raise _mismatch(value, sql, path)
        try:
            text = parse_decimal(value) if isinstance(value, str) else value
            return fitted(decimal.Decimal(text), type_)
        except (ValueError, decimal.InvalidOperation):
            raise BadField("BAD_DECIMAL", f"Cannot fit decimal into {sql}, path: {path}") from None

    return read


def _list_reader(item: Reader) -> Reader:
    def read(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise _mismatch(value, "ARRAY", path)
        return [None if v is None else item(v, f"{path}[{i}]") for i, v in enumerate(value)]

    return read


def _map_reader(item: Reader) -> Reader:
    def read(value: Any, path: str) -> list[tuple[str, Any]]:
        if not isinstance(value, dict):
            raise _mismatch(value, "MAP", path)
        return [
            (_string(k, path), None if v is None else item(v, f"{path}.{k}.value"))
            for k, v in value.items()
        ]

    return read


def _struct_reader(type_: pa.DataType) -> Reader:
    names = [field.name for field in type_]
    readers = [_reader(field.type) for field in type_]

    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch(value, "STRUCT", path)
        return dict(zip(names, _fields(value, names, readers, path), strict=True))

    return read


_SCALARS: dict[pa.DataType, Reader] = {
    pa.bool_(): _boolean,
    pa.int32(): _whole(32, "INTEGER"),
    pa.int64(): _whole(64, "BIGINT"),
    pa.float64(): _double,
    pa.string(): _string,
    pa.binary(): _bytes,
    pa.time32("ms"): _time,
    pa.date32(): _date,
    pa.timestamp("ms"): _whole(64, "TIMESTAMP"),
}


def encode(batch: pa.RecordBatch, *, wrapped: bool = True) -> pa.BinaryArray:
    """Every row as one JSON object, or as the bare value of the only column (null where it is null)."""
    if wrapped:
        return _object(batch.schema.names, batch.columns, batch.num_rows).cast(pa.binary())
    column = batch.column(0)
    texts = _texts(column)
    if column.null_count:
        texts = pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))
    return texts.cast(pa.binary())


def _object(names: list[str], columns: list[pa.Array], n: int) -> pa.StringArray:
    if not columns:
        return pa.array(["{}"] * n, pa.string())
    pieces: list[Any] = []
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        pieces += [("," if i else "{") + _quoted_text(name) + ":", _texts(column)]
    return pc.binary_join_element_wise(*pieces, "}", "")


def _texts(column: pa.Array) -> pa.StringArray:
    """A column as JSON texts, ``null`` where it is NULL."""
    texts = _value_texts(column)
    return texts.fill_null("null") if texts.null_count else texts


def _value_texts(column: pa.Array) -> pa.StringArray:
    """A column as JSON texts; what is NULL stays NULL."""
    type_ = column.type
    if pa.types.is_string(type_):
        return _escaped(column)
    if pa.types.is_float64(type_):
        return _numbers(column)
    if pa.types.is_binary(type_):
        encoded = [None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()]
        return pc.binary_join_element_wise('"', pa.array(encoded, pa.string()), '"', "")
    if pa.types.is_map(type_):
        keys, items = _flat(column, column.keys), _flat(column, column.items)
        entries = pc.binary_join_element_wise(_texts(keys), ":", _texts(items), "")
        return _grouped(column, entries, "{", "}")
    if pa.types.is_list(type_):
        return _grouped(column, _texts(column.flatten()), "[", "]")
    if pa.types.is_struct(type_):
        texts = _object([field.name for field in type_], column.flatten(), len(column))
        return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))
    return column.cast(_number_type(type_)).cast(pa.string())


def _numbers(column: pa.DoubleArray) -> pa.StringArray:
    texts = double_texts(column)
    finite = pc.is_finite(column)
    if pc.all(finite).as_py() is False:  # Jackson quotes what JSON has no number for
        texts = pc.if_else(finite, texts, pc.binary_join_element_wise('"', texts, '"', ""))
    return texts


def _flat(column: pa.MapArray, children: pa.Array) -> pa.Array:
    """The keys or items of a map column's own entries, without those of NULL maps or outside a slice."""
    offsets = column.offsets.to_numpy()
    if column.null_count == 0:
        return children.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    index = [
        np.arange(a, b) for a, b, ok in zip(offsets[:-1], offsets[1:], valid, strict=True) if ok
    ]
    return children.take(pa.array(np.concatenate([np.zeros(0, np.int64), *index])))


def _grouped(column: pa.Array, items: pa.StringArray, start: str, end: str) -> pa.StringArray:
    """The items of each list or map, joined by commas between brackets; NULL where the list is NULL."""
    lengths = np.diff(column.offsets.to_numpy()) * column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), items), ",")
    texts = pc.binary_join_element_wise(start, joined, end, "")
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))


_SPECIAL = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def _escape(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}"


def _quoted_text(text: str) -> str:
    return '"' + _SPECIAL.sub(_escape, text) + '"'


def _escaped(column: pa.StringArray) -> pa.StringArray:
    """Texts in quotes, with the escapes that Jackson writes."""
    special = pc.match_substring_regex(column, r'["\\\x00-\x1f]')
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    if pc.any(special).as_py():
        redone = [
            _quoted_text(text) for text in column.filter(special.fill_null(False)).to_pylist()
        ]
        quoted = pc.replace_with_mask(
            quoted, special.fill_null(False), pa.array(redone, pa.string())
        )
    return quoted
