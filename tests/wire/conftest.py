"""Topics, readers of both clients, and small helpers for the tests of the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gradstream.config import Services
from gradstream.wire import kafka
from gradstream.wire.reader import Reader
from gradstream.wire.records import Records


@pytest.fixture(params=["librdkafka", "confluent"])
def client(request: pytest.FixtureRequest) -> str:
    """Both Kafka clients that a Reader can stand on."""
    return str(request.param)


@pytest.fixture
def topic(services: Services, unique: Callable[[str], str]) -> Iterator[str]:
    """A topic of one partition."""
    yield from _topic(services, unique("wire"), 1)


@pytest.fixture
def wide_topic(services: Services, unique: Callable[[str], str]) -> Iterator[str]:
    """A topic of three partitions."""
    yield from _topic(services, unique("wire"), 3)


def _topic(services: Services, name: str, partitions: int) -> Iterator[str]:
    kafka.ensure_topics(services, {name: partitions})
    yield name
    kafka.delete_topics(services, [name])


class Drain:
    """Fetches until a number of records came or a deadline passed."""

    def __call__(
        self, reader: Reader, count: int, *, chunk: int = 1000, within: float = 20.0
    ) -> list[Records]:
        chunks: list[Records] = []
        deadline = time.monotonic() + within
        while sum(map(len, chunks)) < count and time.monotonic() < deadline:
            found = reader.fetch(chunk, 0.5)
            assert len(found) <= chunk
            if len(found):
                chunks.append(found)
        return chunks

    @staticmethod
    def rows(chunks: list[Records]) -> list[tuple[Any, ...]]:
        """(topic, partition, offset, timestamp, key, value, headers) of each record, in order of the log."""
        rows = [
            (
                chunk.topics[chunk.topic[row]],
                int(chunk.partition[row]),
                int(chunk.offset[row]),
                int(chunk.timestamp[row]),
                chunk.key[row].as_py(),
                chunk.value[row].as_py(),
                tuple(chunk.headers(row)),
            )
            for chunk in chunks
            for row in range(len(chunk))
        ]
        return sorted(rows, key=lambda row: row[:3])

    @staticmethod
    def offsets(chunks: list[Records]) -> list[int]:
        return np.concatenate([chunk.offset for chunk in chunks]).tolist() if chunks else []


@pytest.fixture
def drain() -> Drain:
    return Drain()
