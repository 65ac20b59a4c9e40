"""Looks at a topic of weights from outside, as any reader of committed records would: when a commit can be seen."""

from __future__ import annotations

import time
from collections import defaultdict

import pyarrow as pa

from faults.topic import Topic
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import list_topics
from gradstream.wire.reader import EARLIEST, Reader, open_log_reader
from gradstream.wire.registry import Registry
from trainers.chain import WeightsRecord
from trainers.checkpoint import read_weights

GLANCE = 0.01  # seconds


class Watch:
    """The committed weights of all runs on one topic, as they appear. Values are decoded when they are asked for, so that
    looking needs no registry.
    """

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._reader: Reader | None = None
        self._registry = Registry(topic.services.schema_registry_url)
        self._decoder = AvroDecoder(self._registry)  # knows a schema once it has seen it
        self._values: dict[str, list[bytes]] = defaultdict(list)

    def look(self) -> None:
        """Takes in what has come; a glance long."""
        if self._reader is None and not self._open():
            time.sleep(GLANCE)
            return
        assert self._reader is not None
        records = self._reader.fetch(10_000, GLANCE)
        for key, value in zip(records.key.to_pylist(), records.value.to_pylist(), strict=True):
            if key is not None and value is not None:
                self._values[key.decode()].append(value)

    def seen(self, run: str) -> int:
        """How many weights records of a run have come."""
        return len(self._values[run])

    def newest(self, run: str) -> WeightsRecord | None:
        """The last that has come."""
        values = self._values[run]
        if not values:
            return None
        return read_weights(self._decoder, pa.array(values[-1:], pa.binary()))[0]

    def records(self, run: str) -> list[WeightsRecord]:
        """All that have come."""
        return read_weights(self._decoder, pa.array(self._values[run], pa.binary()))

    def close(self) -> None:
        self._registry.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _open(self) -> bool:
        """Trainers make the topic, with settings of their own."""
        services, name = self._topic.services, self._topic.weights
        if name not in list_topics(services):
            return False
        self._reader = open_log_reader(services, {(name, 0): EARLIEST})
        return True
