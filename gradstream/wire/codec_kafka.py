"""KAFKA: one column in the form of Kafka's own serializers: big-endian numbers, UTF-8 text, bytes."""

from __future__ import annotations

import pyarrow as pa

from gradstream.wire.decoded import Decoded


def decode(values: pa.BinaryArray, schema: pa.Schema) -> Decoded:
    """The schema's only column; a null value is a null."""
    raise NotImplementedError


def encode(batch: pa.RecordBatch) -> pa.BinaryArray:
    """The batch's only column as bytes; null where it is null."""
    raise NotImplementedError
