"""How fast is topic → trained, weights and offsets in transactions, next to a client that only reads?"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer

from benchmarks.figure import Figure, alternate
from gradstream.config import Services
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import ensure_topics, settings
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from trainers.job import Job
from trainers.loop import train

QUESTION = "topic → trained, exactly once, next to consume(256) that does nothing with the records"
ROWS = 1_000_000
FEATURES = 10
# The best settings that we know for a client in a loop. Without the first, fetching stops for a second whenever
# the client's queue is full.
RAW = {"fetch.queue.backoff.ms": 5, "queued.min.messages": 100_000}


def measure(services: Services) -> list[Figure]:
    topic = filled(services)
    job = Job(
        topic,
        "Y",
        run=topic,
        publish_seconds=0.1,
        weights_topic=f"{topic}_weights",
        dead_letters_topic=f"{topic}_dead",
    )
    train(
        replace(job, run=f"{topic}-warm", max_records=10_000), services
    )  # compiled code is not the question
    rates, raw = alternate(
        ROWS, lambda: ours(services, job), lambda: consumed(services, topic), repeats=3
    )
    name = f"train, {FEATURES} features in Avro, batches of 256, a transaction every 100 ms"
    return [Figure(name, rates, "bare consume(256)", raw, 0.6)]


def ours(services: Services, job: Job) -> float:
    """Seconds from the first record's fetch to the last committed weights."""
    seconds = 0.0

    def published(record: object) -> None:
        nonlocal seconds
        seconds += record.elapsed_us / 1e6  # type: ignore[attr-defined]

    result = train(
        replace(job, run=f"{job.run}-{uuid.uuid4().hex[:6]}"), services, on_publish=published
    )
    assert result.record is not None
    assert result.record.records_trained == ROWS, result
    return seconds


def consumed(services: Services, topic: str) -> float:
    """Seconds for a loop of consume() over the same records, from the first that arrives."""
    consumer = Consumer(
        {
            **settings(services),
            **RAW,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    seen, start = 0, 0.0
    try:
        while seen < ROWS:
            found = len(consumer.consume(256, 0.5))
            start = start or (time.perf_counter() if found else 0.0)
            seen += found
        return time.perf_counter() - start
    finally:
        consumer.close()


def filled(services: Services) -> str:
    """A topic of one partition with the training records, 11 doubles each."""
    topic = f"bench_{uuid.uuid4().hex[:8]}"
    ensure_topics(services, {topic: 1})
    names = [*(f"X{i}" for i in range(1, FEATURES + 1)), "Y"]
    fields = [{"name": name, "type": "double"} for name in names]
    schema = json.dumps({"type": "record", "name": "Row", "namespace": "bench", "fields": fields})
    registry = Registry(services.schema_registry_url)
    schema_id = registry.register(f"{topic}-value", schema)
    registry.close()
    random = np.random.default_rng(0)
    with Writer(services) as writer:
        for _ in range(0, ROWS, 50_000):
            X = random.normal(size=(50_000, FEATURES))
            columns = [*X.T, X @ np.arange(1.0, FEATURES + 1)]
            batch = pa.RecordBatch.from_arrays([pa.array(c) for c in columns], names=names)
            values = encode(batch, schema, schema_id)
            writer.send(topic, values, partitions=np.zeros(len(values), np.int32))
        writer.flush()
    return topic
