"""DELIMITED: one CSV record per value, read and written as ksqlDB does, a whole chunk at a time."""

from __future__ import annotations

import pyarrow as pa

from gradstream.wire.decoded import Decoded


def decode(values: pa.BinaryArray, schema: pa.Schema, delimiter: str = ",") -> Decoded:
    """Columns of the types of ``schema``; a null value is a row of nulls."""
    raise NotImplementedError


def encode(batch: pa.RecordBatch, delimiter: str = ",") -> pa.BinaryArray:
    """Every row as one CSV record without a line end."""
    raise NotImplementedError
