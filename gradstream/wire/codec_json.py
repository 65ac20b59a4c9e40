"""JSON: one object (or one bare value) per record, read and written as ksqlDB does."""

from __future__ import annotations

import pyarrow as pa

from gradstream.wire.decoded import Decoded


def decode(values: pa.BinaryArray, schema: pa.Schema, *, wrapped: bool = True) -> Decoded:
    """Columns of the types of ``schema``; a null value is a row of nulls.

    Args:
        wrapped: False when the schema's only column is the value itself and not a field of an object.
    """
    raise NotImplementedError


def encode(batch: pa.RecordBatch, *, wrapped: bool = True) -> pa.BinaryArray:
    """Every row as one JSON object, or as the bare value of the only column (null where it is null)."""
    raise NotImplementedError
