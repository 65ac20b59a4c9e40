"""Rows to a topic: as the stream over it says, or as the producers send them, or byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeGuard

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.engine.catalog import Source
from gradstream.engine.rows import serdes
from gradstream.engine.types import arrow_type
from gradstream.errors import UnavailableError
from gradstream.testing.data import Rows, batches
from gradstream.wire import kafka
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from producers.send import Format, produce

Values = Iterable[
    tuple[pa.BinaryArray, pa.BinaryArray | None]
]  # values and, where there are any, keys


def is_text(rows: Rows) -> TypeGuard[Sequence[str | bytes | None]]:
    """Whether the rows are values as on the wire."""
    return (
        isinstance(rows, list | tuple)
        and bool(rows)
        and all(isinstance(row, str | bytes) for row in rows if row is not None)
    )


def send_text(services: Services, topic: str, rows: Sequence[str | bytes | None]) -> int:
    """Values byte for byte; None is Kafka's null."""
    raw = [row.encode() if isinstance(row, str) else row for row in rows]
    return _sent(services, topic, [(pa.array(raw, pa.binary()), None)])


def send_plain(services: Services, topic: str, rows: Rows, format: Format) -> int:
    """Rows in a format, with the columns that they have."""
    sent = produce(services, topic, batches(rows), format)
    if sent.failed:
        raise _failed(topic, sent.failed, sent.first_failure)
    return sent.records


def send_declared(services: Services, source: Source, rows: Rows) -> int:
    """Rows in the formats and types that a stream or table declares, keys included."""
    with closing(Registry(services.schema_registry_url)) as registry:
        return _sent(services, source.topic, _encoded(source, rows, registry))


def _encoded(source: Source, rows: Rows, registry: Registry) -> Values:
    columns = [*source.key_columns, *source.value_columns]
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
    keys = len(source.key_columns)
    encode_key = serdes.key_encoder(source, registry)
    encode_value = serdes.value_encoder(source, registry)
    for batch in batches(rows, schema):
        key = encode_key.encode(batch.select(range(keys))) if keys else None
        yield encode_value.encode(batch.select(range(keys, len(columns)))), key


def _sent(services: Services, topic: str, values: Values) -> int:
    """Row i without a key goes to partition i modulo their number, as all producers do it."""
    count = kafka.partitions(services, topic)
    with Writer(services) as writer:
        for first, (value, key) in _numbered(values):
            spread = (np.arange(first, first + len(value)) % count).astype(np.int32)
            writer.send(topic, value, key, partitions=spread if key is None else None)
        writer.flush()
        if writer.failed:
            raise _failed(topic, writer.failed, writer.first_failure)
        return writer.delivered


def _numbered(values: Values) -> Iterator[tuple[int, tuple[pa.BinaryArray, pa.BinaryArray | None]]]:
    first = 0
    for value, key in values:
        yield first, (value, key)
        first += len(value)


def _failed(topic: str, count: int, why: str | None) -> UnavailableError:
    return UnavailableError("SEND_FAILED", f"{count} records for {topic} were refused: {why}")
