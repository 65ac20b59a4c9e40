"""What is in a topic now, as bytes and as rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from gradstream.config import Services
from gradstream.errors import DataError, UnavailableError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.faults import CODES
from gradstream.wire.kafka import begin_offsets, end_offsets
from gradstream.wire.reader import open_log_reader
from gradstream.wire.registry import Registry

PATIENCE = 30.0  # seconds for an open transaction to end

Row = dict[str, Any]


def values(services: Services, topic: str) -> pa.BinaryArray:
    """All committed values of a topic; those of one partition in order.

    Raises:
        DataError: ``UNKNOWN_TOPIC``.
        UnavailableError: ``WAITING_ON_TRANSACTION``, or the broker is not there.
    """
    begins, ends = begin_offsets(services, topic), end_offsets(services, topic)
    left = {at: end for at, end in ends.items() if end > begins.get(at, 0)}
    found: list[pa.BinaryArray] = []
    deadline = time.monotonic() + PATIENCE
    if left:
        with open_log_reader(services, {at: begins[at] for at in left}) as reader:
            while any(reader.position().get(at, 0) < end for at, end in left.items()):
                found.append(reader.fetch(8192, 0.2).value)
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        "WAITING_ON_TRANSACTION",
                        f"the end of topic {topic} stayed hidden for {PATIENCE:.0f} s behind an open transaction",
                    )
    return pa.chunked_array(found, pa.binary()).combine_chunks()


def rows(services: Services, topic: str) -> list[Row]:
    """The rows of a topic of Avro records or JSON objects.

    Raises:
        DataError: ``NO_COLUMNS`` for text, ``BAD_ROW``.
    """
    found = values(services, topic)
    first = found[0].as_py() if len(found) else None
    if first is not None and first[:1] == b"\x00":
        return avro(services, found)
    return [_object(topic, value) for value in found.to_pylist()]


def avro(services: Services, found: pa.BinaryArray) -> list[Row]:
    with avro_decoder(services) as decoder:
        decoded = decoder.columns(found)
        for row in decoded.faults.tolist():
            why = f"{CODES[decoded.codes[row]]} ({decoded.reason(row)})"
            raise DataError("BAD_ROW", f"record {row} (from 0) is no Avro row: {why}")
        made: list[Row] = decoded.batch.to_pylist()
        return made


@contextmanager
def avro_decoder(services: Services) -> Iterator[AvroDecoder]:
    with closing(Registry(services.schema_registry_url)) as registry:
        yield AvroDecoder(registry)


def _object(topic: str, value: bytes | None) -> Row:
    try:
        found = json.loads(value or b"null")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(
            "NO_COLUMNS",
            f"the value {value!r} in topic {topic} has no names of columns; declare a stream over the topic with "
            "sql(), or read values()",
        )
    return found
