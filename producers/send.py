"""Columns to values to a topic: encoded in bulk, paced, counted."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError, UsageError
from gradstream.wire import kafka
from gradstream.wire.writer import Writer
from producers.pace import Pace, Schedule
from producers.schemas import avro_schema
from producers.statements import PARTITIONS

Format: TypeAlias = Literal["DELIMITED", "JSON", "AVRO"]
Encoder: TypeAlias = Callable[[pa.RecordBatch], pa.BinaryArray]

LARGEST = 999_900
"""Bytes of a value that librdkafka's default limit of 1,000,000 for a whole message lets through."""
LINGER, PACED_LINGER = 5, 1  # milliseconds in which records gather for one request
LAST_FLUSH = 1.2  # seconds; an interrupted producer must be gone within two


@dataclass(frozen=True, slots=True)
class Sent:
    """What reached the topic.

    Attributes:
        records: acknowledged by the broker.
        bytes: of the values handed over.
        seconds: from the first batch to the last acknowledgement.
        failed: refused or given up; never silently.
        first_failure: why the first of them failed.
        unconfirmed: handed over, but not acknowledged when an interrupt ended the wait.
    """

    topic: str
    records: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failed: int = 0
    first_failure: str = ""
    unconfirmed: int = 0

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        line = (
            f"sent {self.records:,} records ({self.bytes / 1e6:,.1f} MB) to {self.topic} "
            f"in {self.seconds:.2f} s: {self.rate:,.0f} records/s"
        )
        if self.failed:
            line += f"; {self.failed:,} FAILED, the first with: {self.first_failure}"
        if self.unconfirmed:
            line += f"; {self.unconfirmed:,} more were under way, unconfirmed"
        return line


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while producing, after what was under way has been flushed."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent


def produce(
    services: Services,
    topic: str,
    batches: Iterable[pa.RecordBatch],
    format: Format = "DELIMITED",
    on_progress: Callable[[int], None] | None = None,
    *,
    partitions: int | None = None,
    schedule: Schedule | None = None,
    pace: Pace | None = None,
    wait: float = 0.0,
) -> Sent:
    """Send all rows in order; row i goes to partition i modulo their number, so the log is a function of the data.

    Args:
        batches: all of one schema; made while sending, so they may be without end.
        on_progress: called with the number of records handed over so far.
        partitions: of a topic that does not exist yet; None for two, or for what the topic has.
        schedule: when each record is due; None for as fast as possible.
        wait: seconds for which to ask again where no broker answers yet.

    Raises:
        UnavailableError: broker or registry is not there.
        UsageError: BAD_TOPIC_NAME, BAD_PARTITIONS.
        ConfigError: PARTITIONS_DIFFER, the topic exists with another number.
        DataError: RECORD_TOO_LARGE.
        Interrupted: Ctrl-C; what was under way has been flushed.
    """
    _wait_for_broker(services, wait)
    count = _partitions(services, topic, partitions)
    started = time.monotonic()
    handed = size = 0
    # A paced record goes out at once; one of many waits a little for others, which makes them all faster.
    with Writer(services, linger_ms=PACED_LINGER if schedule else LINGER) as writer:
        try:
            for values in _due(services, topic, batches, format, schedule, pace or Pace()):
                rows = np.arange(handed, handed + len(values))
                writer.send(topic, values, partitions=(rows % count).astype(np.int32))
                handed += len(values)
                size += int(pc.sum(pc.binary_length(values)).as_py() or 0)
                if on_progress:
                    on_progress(handed)
            writer.flush()
        except KeyboardInterrupt:
            raise Interrupted(_after_last_flush(topic, writer, size, started)) from None
        return _counted(topic, writer, size, started)


def _wait_for_broker(services: Services, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            return kafka.check_broker(services)
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.2)


def _partitions(services: Services, topic: str, wanted: int | None) -> int:
    """The topic's number of partitions, after it has been made where it was missing."""
    if wanted is not None and wanted < 1:
        raise UsageError("BAD_PARTITIONS", f"{wanted} partitions asked for; give 1 or more")
    kafka.ensure_topics(services, {topic: wanted or PARTITIONS})
    found = kafka.partitions(services, topic)
    if wanted is not None and found != wanted:
        raise ConfigError(
            "PARTITIONS_DIFFER",
            f"topic {topic} has {found} partitions, not {wanted}; leave --partitions out or take another topic",
        )
    return found


def _due(
    services: Services,
    topic: str,
    batches: Iterable[pa.RecordBatch],
    format: Format,
    schedule: Schedule | None,
    pace: Pace,
) -> Iterator[pa.BinaryArray]:
    """The values of all rows in order, each piece when it is due."""
    encode: Encoder | None = None
    first = 0
    for batch in batches:
        encode = encode or encoder(services, topic, batch.schema, format)
        values = encode(batch)
        check_sizes(values, first)
        if schedule is None:
            yield values
        else:
            for start, end in pace.slices(schedule(batch, first)):
                yield values.slice(start, end - start)
        first += len(batch)


def _after_last_flush(topic: str, writer: Writer, size: int, started: float) -> Sent:
    """Flush for a moment, count, give the rest up."""
    with contextlib.suppress(UnavailableError):
        writer.flush(LAST_FLUSH)
    counted = _counted(topic, writer, size, started)
    with contextlib.suppress(UnavailableError):
        writer.close(0.1)
    return counted


def _counted(topic: str, writer: Writer, size: int, started: float) -> Sent:
    return Sent(
        topic,
        records=writer.delivered,
        bytes=size,
        seconds=time.monotonic() - started,
        failed=writer.failed,
        first_failure=writer.first_failure or "",
        unconfirmed=writer.sent - writer.delivered - writer.failed,
    )


def encoder(services: Services, topic: str, schema: pa.Schema, format: Format) -> Encoder:
    """The function from columns to values; for AVRO the schema is registered first, as ksqlDB would.

    Codecs are imported here, since compiling one that is not used would be half of a short command's time.
    """
    match format:
        case "DELIMITED":
            from gradstream.wire import codec_delimited

            return codec_delimited.encode
        case "JSON":
            from gradstream.wire import codec_json

            return codec_json.encode
        case "AVRO":
            from gradstream.wire import codec_avro
            from gradstream.wire.registry import Registry

            record = avro_schema(schema)
            with contextlib.closing(Registry(services.schema_registry_url)) as registry:
                schema_id = registry.register(f"{topic}-value", json.dumps(record))
            return lambda batch: codec_avro.encode(batch, record, schema_id)
    raise UsageError("BAD_FORMAT", f"unknown format {format!r}; one of DELIMITED, JSON, AVRO")


def check_sizes(values: pa.BinaryArray, first: int) -> None:
    """Raises DataError RECORD_TOO_LARGE where one value is more than a message may hold."""
    sizes = pc.binary_length(values)
    largest = pc.max(sizes).as_py()
    if largest is not None and largest > LARGEST:
        row = first + int(pc.index(sizes, largest).as_py())
        raise DataError(
            "RECORD_TOO_LARGE",
            f"record {row:,} (from 0) has {largest:,} bytes, a message may have {LARGEST:,}; "
            "shorten its longest column",
        )
