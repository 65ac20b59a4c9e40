"""Bytes to a source's columns and back, whatever its formats: the one place that knows which codec does what.

    decoder = value_decoder(source, registry)
    decoded = decoder.decode(records.value)         # batch: exactly the source's value columns, in order
    encoder = value_encoder(sink, registry)         # AVRO: registers the schema now, when the statement runs
    values = encoder.encode(batch, null_rows)

A null value decodes as a good row of nulls; ``records.value.is_null()`` tells it from a row that has nulls.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.catalog import Column, Format, Source
from gradstream.wire.decoded import Decoded
from gradstream.wire.registry import Registry


class Decoder(Protocol):
    schema: pa.Schema

    def decode(self, values: pa.BinaryArray) -> Decoded:
        """The columns of ``schema``, one row for each value that could be read."""
        ...


class Encoder(Protocol):
    schema_id: int | None

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        """One value per row, null where ``null_rows`` says so."""
        ...


def value_decoder(source: Source, registry: Registry | None) -> Decoder:
    raise NotImplementedError


def key_decoder(source: Source, registry: Registry | None) -> Decoder:
    """For a keyless source: no columns, as many rows."""
    raise NotImplementedError


def value_encoder(sink: Source, registry: Registry | None) -> Encoder:
    raise NotImplementedError


def key_encoder(sink: Source, registry: Registry | None) -> Encoder:
    """For a keyless sink: all null."""
    raise NotImplementedError


def register(source: Source, registry: Registry | None) -> None:
    """Register the schemas of a source made with columns, as CREATE STREAM does; nothing without AVRO."""
    raise NotImplementedError


def columns_from_registry(
    registry: Registry, topic: str, is_key: bool, format_: Format
) -> tuple[Column, ...]:
    """The columns of the subject's latest schema, or of ``format_.schema_id``.

    Raises:
        SqlError: no schema there, or one that has no KSQL type.
    """
    raise NotImplementedError
