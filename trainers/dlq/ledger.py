"""What has been sent again: one record for each, written in the very transaction that sent it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.kafka import end_offsets, ensure_topics, list_topics
from gradstream.wire.reader import EARLIEST, Reader, open_log_reader
from gradstream.wire.registry import Registry
from trainers.checkpoint import between
from trainers.dlq.letters import Place
from trainers.preflight import SCHEMAS

COLUMNS = pa.schema(
    {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "sha256": pa.string(),
        "sent_to": pa.string(),
        "dead_letter": pa.string(),
        "sent_at": pa.timestamp("ms", tz="UTC"),
    }.items()
)


class Sent(NamedTuple):
    """That this record went to this topic, which it does once.

    The hash is in it since a topic that was made anew has other records at the same offsets.
    """

    origin: Place
    sha256: str | None
    to: str


def topic_of(dead_letters_topic: str) -> str:
    """The topic of the ledger."""
    return f"{dead_letters_topic}_replayed"


class Ledger:
    """The committed entries, as far as they have been read; each with the time at which it was sent, in milliseconds."""

    def __init__(self, services: Services, registry: Registry, dead_letters_topic: str) -> None:
        self._services, self._registry = services, registry
        self.topic = topic_of(dead_letters_topic)
        self._text = (SCHEMAS / "replay.avsc").read_text()
        self._decoder = AvroDecoder(registry, reader_schema=self._text)
        self._reader: Reader | None = None
        self._schema_id: int | None = None
        self.entries: dict[Sent, int] = {}

    def create(self) -> None:
        """Makes the topic, to be kept for ever."""
        ensure_topics(self._services, {self.topic: 1}, {"retention.ms": "-1"})
        self._schema_id = self._registry.register(f"{self.topic}-value", self._text)

    def refresh(self) -> None:
        """Reads what has been committed since; nothing where nobody has made the topic.

        Returns only after every transaction that had written an entry by now has ended, one way or the other.
        """
        if self._reader is None:
            if self.topic not in list_topics(self._services):
                return
            self._reader = open_log_reader(self._services, {(self.topic, 0): EARLIEST})
        at = (self.topic, 0)
        end = end_offsets(self._services, self.topic)[at]
        if end == 0 or self._reader.position().get(at, 0) >= end:
            return
        for records in between(self._reader, at, end):
            if len(records):
                self._take(records.value)

    def _take(self, values: pa.BinaryArray) -> None:
        decoded = self._decoder.columns(values)
        for row in decoded.faults.tolist():
            raise DataError(
                "BAD_LEDGER",
                f"topic {self.topic!r} holds what is no entry of a replay: {decoded.code(row)} "
                f"({decoded.reason(row)}); what has been sent again is unknown, so nothing more is sent",
            )
        times = decoded.batch["sent_at"].cast(pa.int64()).to_pylist()
        for entry, time in zip(decoded.batch.to_pylist(), times, strict=True):
            origin = Place(entry["topic"], entry["partition"], entry["offset"])
            self.entries[Sent(origin, entry["sha256"], entry["sent_to"])] = time

    def values(self, sent: Sequence[Sent], letters: Sequence[Place], now: int) -> pa.BinaryArray:
        """The entries' Avro values, to be sent with the records.

        Args:
            letters: each one's dead letter.
            now: milliseconds since 1970.
        """
        assert self._schema_id is not None
        columns = [
            [one.origin.topic for one in sent],
            [one.origin.partition for one in sent],
            [one.origin.offset for one in sent],
            [one.sha256 for one in sent],
            [one.to for one in sent],
            list(map(str, letters)),
            [now] * len(sent),
        ]
        arrays = [pa.array(c, field.type) for c, field in zip(columns, COLUMNS, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)
        return encode(batch, self._text, self._schema_id)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
