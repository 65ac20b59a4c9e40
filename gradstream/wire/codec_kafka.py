"""KAFKA: one column in the form of Kafka's own serializers: big-endian numbers, UTF-8 text, bytes; no coercion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import NUMBER

# Java's IntegerDeserializer and its sisters name the expected size.
_NUMBERS: dict[pa.DataType, str] = {pa.int32(): ">i4", pa.int64(): ">i8", pa.float64(): ">f8"}


def has_form(type_: pa.DataType) -> bool:
    """Whether the format can write a column of this type."""
    return type_ in _NUMBERS or type_ in (pa.string(), pa.binary())


def decode(values: pa.BinaryArray, schema: pa.Schema) -> Decoded:
    """The schema's only column; a null value is a null.

    A number of another size than the type's is WRONG_TYPE. Bytes that are not UTF-8 become U+FFFD, as in Java.
    """
    type_ = schema.field(0).type
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if type_ not in _NUMBERS:
        column = values if type_ == pa.binary() else _text(values)
        return Decoded.whole(pa.RecordBatch.from_arrays([column], schema=schema))
    kind = np.dtype(_NUMBERS[type_])
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    good = ~valid | (_sizes(values) == kind.itemsize)
    codes = np.where(good, 0, NUMBER["WRONG_TYPE"]).astype(np.uint8)
    rows = np.flatnonzero(good).astype(np.int64, copy=False)
    column = _numbers(values if good.all() else values.take(pa.array(rows)), kind, type_)
    batch = pa.RecordBatch.from_arrays([column], schema=schema)
    reason = f"Size of data received by deserializer is not {kind.itemsize}"
    return Decoded(batch, rows, codes, lambda row: reason if codes[row] else "")


def _sizes(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    if not len(values):
        return np.zeros(0, np.int32)
    offsets = np.frombuffer(values.buffers()[1], np.int32)
    sizes: npt.NDArray[np.int32] = np.diff(offsets[values.offset : values.offset + len(values) + 1])
    return sizes


def _numbers(values: pa.BinaryArray, kind: np.dtype[np.generic], type_: pa.DataType) -> pa.Array:
    """Values all of the kind's size, or null, as numbers of this machine's byte order."""
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    numbers = np.zeros(len(values), kind.newbyteorder("="))
    present = values.drop_null()
    if len(present):
        start = int(np.frombuffer(present.buffers()[1], np.int32)[present.offset])
        numbers[valid] = np.frombuffer(present.buffers()[2], kind, len(present), start)
    return pa.array(numbers, type_, mask=~valid)


def _text(values: pa.BinaryArray) -> pa.StringArray:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        texts = [None if v is None else v.decode(errors="replace") for v in values.to_pylist()]
        return pa.array(texts, pa.string())


def encode(batch: pa.RecordBatch) -> pa.BinaryArray:
    """The batch's only column as bytes; null where it is null."""
    column = batch.column(0)
    if column.type not in _NUMBERS:
        return column.cast(pa.binary())
    kind = np.dtype(_NUMBERS[column.type])
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False).astype(kind)
    offsets = np.arange(len(column) + 1, dtype=np.int32) * kind.itemsize
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(numbers.tobytes())]
    values = pa.Array.from_buffers(pa.binary(), len(column), buffers)
    if not column.null_count:
        return values
    return pc.if_else(column.is_valid(), values, pa.scalar(None, pa.binary()))
