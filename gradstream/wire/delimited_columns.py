"""Plain DELIMITED rows as columns: what the compiled loop reads, brought to the schema's types."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire import compiled
from gradstream.wire import delimited_numba as loop
from gradstream.wire.java_text import DAY_MS, parse_base64

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


def read(
    values: pa.BinaryArray, schema: pa.Schema, wanted: list[bool], delimiter: str
) -> tuple[list[pa.Array], Rows, Rows]:
    """Rows that are plain, with numbers that need no second look.

    Args:
        wanted: which fields of ``schema`` become columns; all are checked.

    Returns:
        the wanted columns, the rows that they hold and those that are left for the exact path, both ascending.
    """
    targets = [
        _Target(field.type, want, values) for field, want in zip(schema, wanted, strict=True)
    ]
    table = np.array([target.entry() for target in targets], np.int64).reshape(-1, 5)
    rows, left = np.empty((2, len(values)), np.int64)
    bits, ends, data = values.buffers()
    compiled.announce(loop.read, "DELIMITED codec")
    good, bad = loop.read(
        len(values),
        ends.address + 4 * values.offset if ends else 0,
        data.address if data else 0,
        bits.address if values.null_count else 0,
        values.offset,
        ord(delimiter),
        table,
        rows,
        left,
    )  # fmt: skip
    rows, left = rows[:good], left[:bad]
    odd: Mask | None = None
    columns = []
    for target, nulls in zip(targets, table[:, loop.NULLS].tolist(), strict=True):
        column, strange = _converted(target.array(good, nulls), target.type)
        columns.append(column)
        if strange is not None and strange.any():
            odd = strange if odd is None else odd | strange
    columns = [column for column, want in zip(columns, wanted, strict=True) if want]
    if odd is None:
        return columns, rows, left
    left = np.sort(np.concatenate([left, rows[odd]]))
    return [column.filter(pa.array(~odd)) for column in columns], rows[~odd], left


class _Target:
    """Where the loop puts one field."""

    def __init__(self, type_: pa.DataType, wanted: bool, values: pa.BinaryArray) -> None:
        n = len(values)
        self.type = type_
        self.kind = _kind(type_)
        if pa.types.is_string(type_) and not wanted:  # any text is good
            self.kind = loop.PASSED
            return
        self.bits = np.full((n + 7) // 8, 255, np.uint8)
        self.ends = np.zeros(n + 1 if self.kind == loop.TEXT else 0, np.int32)
        width = {loop.INT: 4 * n, loop.TEXT: _size(values)}.get(self.kind, 8 * n)
        self.values = np.empty(
            width, np.uint8
        )  # of text more than it takes, of which the rest is never touched

    def entry(self) -> tuple[int, int, int, int, int]:
        """A row of the loop's table."""
        if self.kind == loop.PASSED:
            return self.kind, 0, 0, 0, 0
        return self.kind, self.values.ctypes.data, self.ends.ctypes.data, self.bits.ctypes.data, 0

    def array(self, n: int, nulls: int) -> pa.Array:
        """The n values read, ``nulls`` of them null; text where the type is one that Arrow has to convert to."""
        if self.kind == loop.PASSED:
            return pa.nulls(n, pa.string())
        bits = pa.py_buffer(self.bits) if nulls else None
        if self.kind != loop.TEXT:
            return pa.Array.from_buffers(self.type, n, [bits, pa.py_buffer(self.values)], nulls)
        text = self.values[: self.ends[n]].copy()
        buffers = [bits, pa.py_buffer(self.ends), pa.py_buffer(text)]
        return pa.Array.from_buffers(pa.string(), n, buffers, nulls)


def _kind(type_: pa.DataType) -> int:
    if pa.types.is_float64(type_):
        return loop.DOUBLE
    if pa.types.is_int64(type_) or pa.types.is_timestamp(type_):
        return loop.LONG
    whole = pa.types.is_int32(type_) or pa.types.is_date32(type_) or pa.types.is_time32(type_)
    return loop.INT if whole else loop.TEXT


def _size(values: pa.BinaryArray) -> int:
    """Bytes of all values."""
    return int(pc.sum(pc.binary_length(values)).as_py() or 0)


def _converted(column: pa.Array, type_: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """The column in its type, and its rows that need the exact path."""
    if pa.types.is_boolean(type_):
        return pc.equal(pc.ascii_lower(column), "true"), None
    if pa.types.is_decimal(type_):
        return _decimals(column, type_)
    if pa.types.is_binary(type_):
        return _bytes(column)
    if pa.types.is_time32(type_):
        of_day = column.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        return column, (of_day < 0) | (of_day > DAY_MS)
    return column, None


def _decimals(column: pa.StringArray, type_: pa.DataType) -> tuple[pa.Array, Mask]:
    whole, scale = type_.precision - type_.scale, type_.scale
    fraction = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    plain = pc.match_substring_regex(column, rf"^-?0*[0-9]{{1,{max(whole, 1)}}}{fraction}$")
    usable = pc.if_else(plain, column, pa.scalar(None, pa.string()))
    if whole == 0:  # then only 0.… fits, which the pattern does not say
        usable = pc.if_else(pc.match_substring_regex(usable, r"^-?0+(\.|$)"), usable, None)
    odd = pc.and_(column.is_valid(), usable.is_null())
    return usable.cast(type_), odd.to_numpy(zero_copy_only=False)


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


def compile_all() -> None:
    """Compile, or load from the cache on disk, before the first record waits for it."""
    read(pa.array([b"1"]), pa.schema([("x", pa.float64())]), [True], ",")
