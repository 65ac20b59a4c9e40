"""The dead letters of a run, as any reader of committed records finds them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from faults.topic import Topic
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets, list_topics
from gradstream.wire.reader import EARLIEST, open_log_reader
from gradstream.wire.registry import Registry


def letters_of(topic: Topic, run: str) -> list[dict[str, Any]]:
    """Their fields, in the order of the log that they came from."""
    services, at = topic.services, (topic.dead, 0)
    if topic.dead not in list_topics(services):
        return []
    end = end_offsets(services, topic.dead)[at]
    rows: list[dict[str, Any]] = []
    with (
        closing(Registry(services.schema_registry_url)) as registry,
        open_log_reader(services, {at: EARLIEST}) as reader,
    ):
        decoder = AvroDecoder(registry)
        while end and reader.position().get(at, 0) < end:
            if len(records := reader.fetch(10_000, 0.2)):
                rows += decoder.columns(records.value).batch.to_pylist()
    mine = [row for row in rows if row["found_by"] == f"trainer:{run}"]
    return sorted(mine, key=lambda row: (row["partition"], row["offset"]))
