"""How much of the rate of bare ``produce()`` calls is left when the data are also made and encoded?"""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Producer

from benchmarks.figure import Figure, alternate
from gradstream.config import Services
from gradstream.wire import codec_delimited
from gradstream.wire.kafka import ensure_topics, settings
from producers.regression import Regression
from producers.send import produce
from producers.statements import PARTITIONS

QUESTION = "gradstream produce regression next to produce() of the same bytes"
ROWS = 200_000
# The best settings that we know for a client in a loop; idempotent, as ours is.
RAW = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1 << 20,
}


def measure(services: Services) -> list[Figure]:
    return [_figure(services, features) for features in (1, 10)]


def _figure(services: Services, features: int) -> Figure:
    data = Regression("gaussian", rows=ROWS, features=features)
    values = [
        value for batch in data.batches() for value in codec_delimited.encode(batch).to_pylist()
    ]
    topic = f"bench_{uuid.uuid4().hex[:8]}"
    ensure_topics(services, {topic: PARTITIONS})

    def ours() -> float:
        sent = produce(services, topic, data.batches())
        assert sent.records == ROWS, sent
        return sent.seconds

    rates, raw = alternate(ROWS, ours, lambda: _raw(services, topic, values))
    name = f"produce regression, {features} feature{'s' * (features > 1)}, DELIMITED"
    return Figure(name, rates, "bare produce() of the same bytes", raw, 0.6)


def _raw(services: Services, topic: str, values: list[bytes]) -> float:
    """Seconds for a loop of ``produce()`` over values that are ready, every one acknowledged."""
    producer = Producer(settings(services, RAW))
    start = time.perf_counter()
    for row, value in enumerate(values):
        producer.produce(topic, value, partition=row % PARTITIONS)
        if row % 10_000 == 0:
            producer.poll(0)
    left = producer.flush(60)
    assert left == 0, f"{left} records were not acknowledged"
    return time.perf_counter() - start
