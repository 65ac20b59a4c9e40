"""A topic trained on from its beginning to its end, timed: what several files measure in their own way."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks import topics
from gradstream.config import Services
from trainers.chain import WeightsRecord
from trainers.job import Job
from trainers.loop import train

PUBLISH_SECONDS = 0.1


def job(source: str, **options: object) -> Job:
    """As measured everywhere: batches of 256, weights and offsets in a transaction every 100 ms.

    Args:
        options: other fields of trainers.job.Job.
    """
    made = Job(
        source,
        "Y",
        backend="numba",
        publish_seconds=PUBLISH_SECONDS,
        weights_topic=topics.name("weights"),
        dead_letters_topic=topics.name("dead"),
    )
    return replace(made, **options)  # type: ignore[arg-type]


def warm(services: Services, of: Job) -> None:
    """A part of the job, so that compiled code is loaded: it is not the question."""
    train(replace(of, run=_name(), max_records=2 * of.batch_size), services)


def seconds(services: Services, of: Job, rows: int, client: str = "librdkafka") -> float:
    """Seconds from the first fetch to the commit of the last weights.

    Args:
        rows: that the topic holds; anything else trained is an error.
        client: that it reads through, ``librdkafka`` or ``confluent``.
    """
    spent = last = 0.0

    def published(record: WeightsRecord) -> None:
        nonlocal spent, last
        spent += record.elapsed_us / 1e6
        last = max(0.0, time.time() - record.created.timestamp())

    with _client(client):
        result = train(replace(of, run=_name()), services, on_publish=published)
    assert result.record is not None
    assert result.record.records_trained == rows, result
    return spent + last


def _name() -> str:
    return f"bench-{uuid.uuid4().hex[:10]}"


@contextmanager
def _client(name: str) -> Iterator[None]:
    before = os.environ.get("GRADSTREAM_CLIENT")
    os.environ["GRADSTREAM_CLIENT"] = name
    try:
        yield
    finally:
        del os.environ["GRADSTREAM_CLIENT"]
        if before is not None:
            os.environ["GRADSTREAM_CLIENT"] = before
