"""How fast does a topic become columns, next to clients that only read?"""

from __future__ import annotations

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from benchmarks.readers import CONSUME, KCAT, KCAT_THERE, consumed, fetched, kcat
from gradstream.config import Services

QUESTION = "topic → columns of bytes, beside clients that do nothing with the records"
ROWS = 2_000_000  # as many as train.py has, which shares the topic
OURS, CONFLUENT = "librdkafka's C API", "the same reader, GRADSTREAM_CLIENT=confluent"


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.regression(services, rows)
    works = {
        OURS: lambda: fetched(services, topic, rows, "librdkafka"),
        CONFLUENT: lambda: 5 * fetched(services, topic, rows // 5, "confluent"),  # it is slow
        CONSUME: lambda: consumed(services, topic, rows),
    }
    if KCAT_THERE:
        works[KCAT] = lambda: kcat(services, topic, rows)
    rates = in_turns(rows, works)
    name = "values of 93 bytes, 8,192 records a call"
    return [Figure(name, rates[OURS], other, rates[other]) for other in list(works)[1:]]
