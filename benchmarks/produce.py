"""How much of the rate of bare ``produce()`` calls is left when the data are also made and encoded?"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Producer

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.wire import codec_delimited
from gradstream.wire.kafka import ensure_topics, settings
from producers.regression import Regression
from producers.send import produce
from producers.statements import PARTITIONS

QUESTION = "gradstream produce regression, beside produce() of the same bytes"
ROWS = 400_000
OURS, BARE = "gradstream", "bare produce() of the same bytes"
# The best settings that we know for a client in a loop; idempotent, as ours is.
TUNED = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1 << 20,
}


def measure(services: Services) -> list[Figure]:
    return [_figure(services, features) for features in (1, 10)]


def _figure(services: Services, features: int) -> Figure:
    rows = effort.rows(ROWS)
    data = Regression("gaussian", rows=rows, features=features)
    values = [
        value for batch in data.batches() for value in codec_delimited.encode(batch).to_pylist()
    ]
    topic = topics.name("produced")
    ensure_topics(services, {topic: PARTITIONS})

    def ours() -> float:
        sent = produce(services, topic, data.batches())
        assert sent.records == rows, sent
        return sent.seconds

    rates = in_turns(rows, {OURS: ours, BARE: _bare(services, topic, values)})
    name = f"regression, {features} feature{'s' * (features > 1)}, DELIMITED"
    return Figure(name, rates[OURS], BARE, rates[BARE], 0.6)


def _bare(services: Services, topic: str, values: list[bytes]) -> Callable[[], float]:
    """Seconds for a loop of ``produce()`` over values that are ready, every one acknowledged."""

    def work() -> float:
        producer = Producer(settings(services, TUNED))
        start = time.perf_counter()
        for row, value in enumerate(values):
            producer.produce(topic, value, partition=row % PARTITIONS)
            if row % 10_000 == 0:
                producer.poll(0)
        left = producer.flush(60)
        assert left == 0, f"{left} records were not acknowledged"
        return time.perf_counter() - start

    return work
