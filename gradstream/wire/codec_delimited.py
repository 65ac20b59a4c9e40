"""DELIMITED: one CSV record per value, read and written as ksqlDB does, a whole chunk at a time.

Reading has two paths with one result. A compiled loop (delimited_numba) reads plain rows: no quotes, the right number of
fields, numbers in usual shapes. All others take the exact path, field by field in Python.
"""

from __future__ import annotations

import base64
import decimal
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire import csv_record
from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import NUMBER
from gradstream.wire.java_text import (
    DAY_MS,
    double_texts,
    fitted,
    parse_base64,
    parse_decimal,
    parse_double,
    parse_integer,
)

# Delimiters that the compiled loop cannot tell from parts of a field.
_UNUSABLE = frozenset('"\r\n0123456789+-.eE')

Rows = npt.NDArray[np.int64]


class BadRow(ValueError):  # noqa: N818  named for what it is
    """A row that ksqlDB cannot read either: the code, and why in words that hold no value."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def decode(
    values: pa.BinaryArray,
    schema: pa.Schema,
    delimiter: str = ",",
    *,
    only: Collection[str] | None = None,
    exact: bool = False,
) -> Decoded:
    """Columns of the types of ``schema``; a null value is a row of nulls.

    An empty field is NULL; a row with another number of fields, or a field that is not of its column's type, gets a
    code and leaves the others alone. Types: all but lists, maps and structs.

    Args:
        only: names of the columns wanted, all by default; the others are checked and left out.
        exact: send every row down the exact path, which gives the same more slowly.
    """
    wanted = [only is None or name in only for name in schema.names]
    made = pa.schema([field for field, want in zip(schema, wanted, strict=True) if want])
    exactly = _Exactly(values, schema, wanted, delimiter)
    if exact or not len(schema) or len(delimiter.encode()) > 1 or delimiter in _UNUSABLE:
        rows, columns = exactly.read(np.arange(len(values), dtype=np.int64))
    else:
        from gradstream.wire import delimited_columns  # who only writes need not load the compiler

        columns, rows, left = delimited_columns.read(values, schema, wanted, delimiter)
        if len(left):
            rows, columns = _merged(rows, columns, *exactly.read(left))
    return Decoded(_batch(columns, made, len(rows)), rows, exactly.codes, exactly.why)


def _merged(
    rows: Rows, columns: list[pa.Array], more: Rows, others: list[pa.Array]
) -> tuple[Rows, list[pa.Array]]:
    """The rows of both paths in the order of the values."""
    rows = np.concatenate([rows, more])
    order = np.argsort(rows, kind="stable")
    taken = [
        pa.concat_arrays(pair).take(pa.array(order)) for pair in zip(columns, others, strict=True)
    ]
    return rows[order], taken


class _Exactly:
    """The exact path: field by field in Python.

    Attributes:
        codes: uint8, one for each value; those of rows that were read and were wrong.
    """

    def __init__(
        self, values: pa.BinaryArray, schema: pa.Schema, wanted: list[bool], delimiter: str
    ) -> None:
        self.values, self.schema, self.wanted, self.delimiter = values, schema, wanted, delimiter
        self.codes = np.zeros(len(values), np.uint8)
        self.parsers = [_parser(field.type) for field in schema]

    def read(self, rows: Rows) -> tuple[Rows, list[pa.Array]]:
        """The good ones of some rows, and the wanted columns of those."""
        good: list[int] = []
        records: list[list[Any]] = []
        for row, value in zip(
            rows.tolist(), self.values.take(pa.array(rows)).to_pylist(), strict=True
        ):
            try:
                records.append(_record(value, self.schema, self.parsers, self.delimiter))
                good.append(row)
            except BadRow as bad:
                self.codes[row] = NUMBER[bad.code]
        columns = [
            _array([record[i] for record in records], field.type)
            for i, field in enumerate(self.schema)
            if self.wanted[i]
        ]
        return np.array(good, np.int64), columns

    def why(self, row: int) -> str:
        """Why a row could not be read; empty for a good one."""
        try:
            _record(self.values[row].as_py(), self.schema, self.parsers, self.delimiter)
        except BadRow as bad:
            return str(bad)
        return ""


def _batch(columns: list[pa.Array], schema: pa.Schema, n: int) -> pa.RecordBatch:
    if columns:
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * n, pa.struct([])))


def _plain_type(type_: pa.DataType) -> pa.DataType:
    """The integers that a time is written as; any other type is itself."""
    if pa.types.is_timestamp(type_):
        return pa.int64()
    return pa.int32() if pa.types.is_date32(type_) or pa.types.is_time32(type_) else type_


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    return pa.array(values, _plain_type(type_)).cast(type_)


Parser = Callable[[str], Any]


def _parser(type_: pa.DataType) -> Parser:
    """From a field's text to the Python value for _array; ValueError where ksqlDB fails."""
    if pa.types.is_boolean(type_):
        return lambda text: text.lower() == "true"
    if pa.types.is_int32(type_) or pa.types.is_date32(type_):
        return lambda text: parse_integer(text, 32)
    if pa.types.is_int64(type_) or pa.types.is_timestamp(type_):
        return lambda text: parse_integer(text, 64)
    if pa.types.is_float64(type_):
        return parse_double
    if pa.types.is_string(type_):
        return str
    if pa.types.is_time32(type_):
        return _time
    if pa.types.is_binary(type_):
        return parse_base64
    if pa.types.is_decimal(type_):
        return lambda text: fitted(decimal.Decimal(parse_decimal(text)), type_)
    raise TypeError(f"the DELIMITED format does not support type {type_}")


def _time(text: str) -> int:
    value = parse_integer(text, 64)
    if not 0 <= value <= DAY_MS:
        raise ValueError("not a number of milliseconds of a day")
    return value


def _record(
    value: bytes | None, schema: pa.Schema, parsers: list[Parser], delimiter: str
) -> list[Any]:
    """The exact path: the Python values of one row."""
    if value is None:
        return [None] * len(parsers)
    try:
        texts = csv_record.fields(value.decode(errors="replace"), delimiter)
    except ValueError as error:
        raise BadRow("BAD_TEXT", f"Error deserializing delimited: {error}") from None
    if not texts:
        raise BadRow("EMPTY_VALUE", "Error deserializing delimited: No fields in record")
    if len(texts) != len(parsers):
        raise BadRow(
            "WRONG_DIMENSION",
            "Error deserializing delimited: Column count mismatch on deserialization. "
            f"expected: {len(parsers)}, got: {len(texts)}",
        )
    record = []
    for i, (text, parse) in enumerate(zip(texts, parsers, strict=True)):
        try:
            record.append(parse(text) if text else None)
        except (ValueError, decimal.InvalidOperation):
            field = schema.field(i)
            code = "BAD_DECIMAL" if pa.types.is_decimal(field.type) else "WRONG_TYPE"
            reason = f"Error deserializing delimited: field {i + 1} is no {field.type} for column {field.name}"
            raise BadRow(code, reason) from None
    return record


def encode(batch: pa.RecordBatch, delimiter: str = ",") -> pa.BinaryArray:
    """Every row as one CSV record without a line end; NULL is an empty field.

    Quotes as Commons CSV: a field with delimiter, quote or line end, one that starts at or below ``#`` or ends at or
    below a space, and the record's first field unless it is NULL or starts with an ASCII letter or digit.
    """
    if batch.num_columns == 0:
        return pa.array([b""] * batch.num_rows, pa.binary())
    texts = [
        _quoted(_texts(column), column.type, delimiter, first=i == 0)
        for i, column in enumerate(batch.columns)
    ]
    joined = pc.binary_join_element_wise(
        *texts, delimiter, null_handling="replace", null_replacement=""
    )
    return joined.cast(pa.binary())


def _texts(column: pa.Array) -> pa.StringArray:
    type_ = column.type
    if pa.types.is_string(type_):
        return column
    if pa.types.is_float64(type_):
        return double_texts(column)
    if pa.types.is_binary(type_):
        encoded = [None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()]
        return pa.array(encoded, pa.string())
    if pa.types.is_decimal(type_):
        return decimal_texts(column)
    return column.cast(_plain_type(type_)).cast(pa.string())


def decimal_texts(column: pa.Decimal128Array) -> pa.StringArray:
    """Plain digits with the type's scale, never an exponent."""
    texts = column.cast(pa.string())
    if pc.any(pc.match_substring(texts, "E")).as_py():
        values = column.to_pylist()
        return pa.array([None if v is None else f"{v:f}" for v in values], pa.string())
    return texts


def _quoted(
    texts: pa.StringArray, type_: pa.DataType, delimiter: str, *, first: bool
) -> pa.StringArray:
    """The texts with quotes around those that need them."""
    free = pa.types.is_string(type_) or pa.types.is_binary(type_)
    if not (free or first or delimiter in "0123456789+-.eEINafilnrstuy"):
        return texts  # numbers away from the start never need any
    marks = rf'[\r\n"\x{{{ord(delimiter):x}}}]|[\x00- ]\z|\A[\x00-#]'
    if first:
        marks += r"|\A[^0-9A-Za-z]|\A\z"
    needed = pc.match_substring_regex(texts, marks)
    if not pc.any(needed).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', doubled, '"', ""), texts)
