"""DELIMITED: one CSV record per value, read and written as ksqlDB does, a whole chunk at a time.

Reading has two paths with one result. Plain rows (no quotes, the right number of fields, numbers that Arrow and Java
read alike) are joined into one block that Arrow's CSV reader parses to columns. All others take the exact path, field by
field in Python.
"""

from __future__ import annotations

import base64
import binascii
import decimal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gradstream.wire import csv_record
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

# Bytes joined and handed to the CSV reader at once (each call costs half a millisecond); bytes that it parses at once
# (larger than the cache is slower); bytes of a row that it may see (it refuses rows longer than two of its blocks).
BLOCK = 4 << 20
READ = 1 << 20
LONGEST = READ // 2

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


class BadRow(ValueError):  # noqa: N818  named for what it is
    """A row that ksqlDB cannot read either: the code, and why in words that hold no value."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def decode(
    values: pa.BinaryArray, schema: pa.Schema, delimiter: str = ",", *, exact: bool = False
) -> Decoded:
    """Columns of the types of ``schema``; a null value is a row of nulls.

    An empty field is NULL; a row with another number of fields, or a field that is not of its column's type, gets a
    code and leaves the others alone. Types: all but lists, maps and structs. ``exact`` sends every row down the exact
    path, which gives the same more slowly.
    """
    pieces = _Pieces(schema, delimiter, len(values))
    pieces.simple &= not exact
    for start, stop in _blocks(values):
        pieces.read(values.slice(start, stop - start), start)
    return pieces.decoded(values)


def _blocks(values: pa.BinaryArray) -> Iterator[tuple[int, int]]:
    """Ranges of rows that hold about BLOCK bytes."""
    offsets = _offsets(values)
    start = 0
    while start < len(values):
        stop = int(np.searchsorted(offsets, offsets[start] + BLOCK, "right")) - 1
        stop = min(max(stop, start + 1), len(values))
        yield start, stop
        start = stop


def _offsets(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """int32, shape (n + 1,): where each value starts and ends in the data buffer."""
    if len(values) == 0:
        return np.zeros(1, np.int32)
    whole = np.frombuffer(values.buffers()[1], np.int32)
    return whole[values.offset : values.offset + len(values) + 1]


class _Pieces:
    """What has been read so far: columns with the rows that they hold, and the rows left for the exact path."""

    def __init__(self, schema: pa.Schema, delimiter: str, n: int) -> None:
        self.schema = schema
        self.delimiter = delimiter
        self.codes = np.zeros(n, np.uint8)
        self.tables: list[pa.Table] = []
        self.rows: list[Rows] = []
        self.exact: list[Rows] = []
        self.parsers = [_parser(field.type) for field in schema]
        names = [str(i) for i in range(len(schema))]
        self.simple = len(names) > 0 and delimiter.isascii() and delimiter not in '"\r\n'
        self.read_options = pa.csv.ReadOptions(
            use_threads=False, block_size=READ, column_names=names
        )
        types = [pa.float64() if pa.types.is_float64(f.type) else pa.string() for f in schema]
        self.kinds = types
        self.typed = _convert_options(dict(zip(names, types, strict=True)))
        self.texts = _convert_options(dict.fromkeys(names, pa.string()))

    def read(self, values: pa.BinaryArray, first: int) -> None:
        """Read a block whose first value is row ``first``."""
        plain = _plain(values) if self.simple else np.zeros(len(values), np.bool_)
        if plain.all():
            self._fast(values, np.arange(first, first + len(values), dtype=np.int64))
            return
        self.exact.append(np.flatnonzero(~plain) + first)
        if plain.any():
            self._fast(values.filter(pa.array(plain)), np.flatnonzero(plain) + first)

    def _fast(self, values: pa.BinaryArray, rows: Rows) -> None:
        try:
            table, skipped = self._table(values)
        except pa.ArrowInvalid:  # nothing known makes it refuse texts, and the exact path takes all
            self.exact.append(rows)
            return
        if skipped:
            kept = np.ones(len(rows), np.bool_)
            kept[skipped] = False
            self.exact.append(rows[~kept])
            rows = rows[kept]
        self.tables.append(table)
        self.rows.append(rows)

    def _table(self, values: pa.BinaryArray) -> tuple[pa.Table, list[int]]:
        """The block with a text or double in each field, and the positions of rows that were skipped."""
        try:
            return self._parse(values, self.typed)
        except (
            pa.ArrowInvalid
        ):  # a field that is no double: read texts, and look for it column by column
            table, skipped = self._parse(values, self.texts)
        columns, odd = _columns(table, self.kinds)
        good = pa.Table.from_arrays(columns, table.column_names)
        if odd is not None and odd.any():
            kept = np.ones(len(values), np.bool_)
            kept[skipped] = False
            bad = np.flatnonzero(kept)[odd]
            return good.filter(pa.array(~odd)), sorted([*skipped, *bad.tolist()])
        return good, skipped

    def _parse(
        self, values: pa.BinaryArray, convert_options: pa.csv.ConvertOptions
    ) -> tuple[pa.Table, list[int]]:
        """The block as a table of texts and doubles, and the positions of rows with a wrong number of fields."""
        skipped: list[int] = []

        def skip(row: Any) -> str:
            skipped.append(row.number - 1)
            return "skip"

        block = pc.binary_join(
            pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values), b"\n"
        )
        options = pa.csv.ParseOptions(
            delimiter=self.delimiter,
            quote_char=False,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        )
        source = pa.BufferReader(block[0].as_buffer())
        table = pa.csv.read_csv(source, self.read_options, options, convert_options)
        if table.num_rows + len(skipped) != len(values):
            raise pa.ArrowInvalid("the reader saw other rows than there are")
        return table, skipped

    def decoded(self, values: pa.BinaryArray) -> Decoded:
        rows = np.concatenate([np.zeros(0, np.int64), *self.rows])
        columns = [pa.array([], field.type) for field in self.schema]
        if self.tables:
            columns, odd = _columns(pa.concat_tables(self.tables), list(self.schema.types))
            if odd is not None and odd.any():
                self.exact.append(rows[odd])
                columns = [column.filter(pa.array(~odd)) for column in columns]
                rows = rows[~odd]
        if self.exact:
            rows, columns = self._with_exact(values, rows, columns)
        schema, parsers, delimiter = self.schema, self.parsers, self.delimiter
        return Decoded(
            _batch(columns, schema, len(rows)),
            rows,
            self.codes,
            lambda row: _why(values[row], schema, parsers, delimiter),
        )

    def _with_exact(
        self, values: pa.BinaryArray, rows: Rows, columns: list[pa.Array]
    ) -> tuple[Rows, list[pa.Array]]:
        """The rows of both paths in the order of the values."""
        good, exact = self._read_exactly(values, np.sort(np.concatenate(self.exact)))
        rows = np.concatenate([rows, good])
        order = np.argsort(rows, kind="stable")
        columns = [
            pa.concat_arrays([column, more]).take(pa.array(order))
            for column, more in zip(columns, exact, strict=True)
        ]
        return rows[order], columns

    def _read_exactly(self, values: pa.BinaryArray, rows: Rows) -> tuple[Rows, list[pa.Array]]:
        good: list[int] = []
        records: list[list[Any]] = []
        for row, value in zip(rows.tolist(), values.take(pa.array(rows)).to_pylist(), strict=True):
            try:
                records.append(_record(value, self.schema, self.parsers, self.delimiter))
                good.append(row)
            except BadRow as bad:
                self.codes[row] = NUMBER[bad.code]
        columns = [
            _array([record[i] for record in records], field.type)
            for i, field in enumerate(self.schema)
        ]
        return np.array(good, np.int64), columns


def _columns(table: pa.Table, types: list[pa.DataType]) -> tuple[list[pa.Array], Mask | None]:
    """The table's columns as ``types``, and which rows hold something that Java may read otherwise."""
    odd: Mask | None = None
    columns = []
    for chunked, type_ in zip(table.columns, types, strict=True):
        column = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
        converted, strange = _converted(column, type_)
        columns.append(converted)
        if strange is not None:
            odd = strange if odd is None else odd | strange
    return columns, odd


def _convert_options(types: dict[str, pa.DataType]) -> pa.csv.ConvertOptions:
    return pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)


def _batch(columns: list[pa.Array], schema: pa.Schema, n: int) -> pa.RecordBatch:
    if columns:
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * n, pa.struct([])))


def _plain(values: pa.BinaryArray) -> Mask:
    """Rows that Arrow may read: not null, not empty, UTF-8, without quotes, line ends or a byte-order mark."""
    offsets = _offsets(values)
    sizes = np.diff(offsets)
    plain: Mask = (sizes > 0) & (sizes < LONGEST)
    if values.null_count:
        plain &= values.is_valid().to_numpy(zero_copy_only=False)
    data = values.buffers()[2]
    text = data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes() if data else b""
    for mark in (b'"', b"\r", b"\n"):
        if mark in text:
            marked = pc.match_substring(values, mark).fill_null(True)
            plain &= ~marked.to_numpy(zero_copy_only=False)
    if not text.isascii():
        plain &= _is_utf8(values)
    # The reader drops a byte-order mark at the start of a block, ksqlDB does not.
    for row in np.flatnonzero(plain).tolist():
        if not values[row].as_py().startswith(b"\xef\xbb\xbf"):
            break
        plain[row] = False
    return plain


def _is_utf8(values: pa.BinaryArray) -> Mask:
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return np.array([_decodes(value) for value in values.to_pylist()], np.bool_)
    return np.ones(len(values), np.bool_)


def _decodes(value: bytes | None) -> bool:
    try:
        return value is not None and value.decode() is not None
    except UnicodeDecodeError:
        return False


# What Arrow and Java read alike; anything else that Arrow refuses is left to the exact path.
_PLAIN = {
    pa.int32(): r"^-?[0-9]{1,9}$",
    pa.int64(): r"^-?[0-9]{1,18}$",
    pa.float64(): r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$",
}


def _converted(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """A column of texts (or doubles, for DOUBLE) as one of ``type_``, and its rows that need the exact path."""
    strange: Mask | None
    if pa.types.is_string(type_):
        return column, None
    if pa.types.is_boolean(type_):
        return pc.equal(pc.ascii_lower(column), "true"), None
    if pa.types.is_decimal(type_):
        return _decimals(column, type_)
    if pa.types.is_binary(type_):
        return _bytes(column)
    numbers, odd = _numbers(column, _plain_type(type_))
    if pa.types.is_float64(type_):
        # Arrow takes inf and nan for what Java writes Infinity and NaN.
        strange = _not_finite(numbers)
    else:
        strange = _contains(column, "x") | _contains(column, "X")  # Arrow takes 0x10, Java does not
        if pa.types.is_time32(type_):
            of_day = numbers.fill_null(0).to_numpy(zero_copy_only=False)
            strange |= (of_day < 0) | (of_day > DAY_MS)
    column = numbers if numbers.type == type_ else numbers.cast(type_)
    if odd is None or strange is None:
        return column, odd if strange is None else strange
    return column, odd | strange


def _not_finite(numbers: pa.DoubleArray) -> Mask | None:
    if not len(numbers) or np.isfinite(np.frombuffer(numbers.buffers()[1])).all():
        return None
    found: Mask = ~np.isfinite(numbers.fill_null(0.0).to_numpy(zero_copy_only=False))
    return found


def _numbers(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, Mask | None]:
    if column.type == type_:
        return column, None
    try:
        return column.cast(type_), None
    except pa.ArrowInvalid:
        plain = pc.match_substring_regex(column, _PLAIN[type_])
        odd = pc.invert(plain).fill_null(False).to_numpy(zero_copy_only=False)
        return pc.if_else(plain, column, pa.scalar(None, pa.string())).cast(type_), odd


def _bytes(column: pa.StringArray) -> tuple[pa.BinaryArray, Mask]:
    odd = np.zeros(len(column), np.bool_)
    values: list[bytes | None] = []
    for row, text in enumerate(column.to_pylist()):
        try:
            values.append(None if text is None else parse_base64(text))
        except ValueError:
            values.append(None)
            odd[row] = True
    return pa.array(values, pa.binary()), odd


def _contains(column: pa.StringArray, mark: str) -> Mask:
    found: Mask = pc.match_substring(column, mark).fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _decimals(column: pa.StringArray, type_: pa.DataType) -> tuple[pa.Array, Mask]:
    whole, scale = type_.precision - type_.scale, type_.scale
    fraction = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    plain = pc.match_substring_regex(column, rf"^-?0*[0-9]{{1,{max(whole, 1)}}}{fraction}$")
    usable = pc.if_else(plain, column, pa.scalar(None, pa.string()))
    if whole == 0:  # then only 0.… fits, which the pattern does not say
        usable = pc.if_else(pc.match_substring_regex(usable, r"^-?0+(\.|$)"), usable, None)
    odd = pc.and_(column.is_valid(), usable.is_null())
    return usable.cast(type_), odd.to_numpy(zero_copy_only=False)


def parse_base64(text: str) -> bytes:
    """As Java's basic decoder: no line breaks, padding may be left out as a whole; ValueError otherwise."""
    padding = "" if "=" in text else "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text + padding, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


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


def _why(value: pa.BinaryScalar, schema: pa.Schema, parsers: list[Parser], delimiter: str) -> str:
    try:
        _record(value.as_py(), schema, parsers, delimiter)
    except BadRow as bad:
        return str(bad)
    return ""


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
    if _contains(texts, "E").any():
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
