"""How fast are payments of 31 nullable columns trained on, from their topic?"""

from __future__ import annotations

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure, in_turns
from benchmarks.readers import CONSUME, consumed
from gradstream.config import Services

QUESTION = "fraud topic → trained, exactly once"
ROWS = 800_000
LEAST = 800_000  # records a second
OURS = "gradstream, Numba"


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.fraud(services, rows)
    # Features as they are, Time in seconds among them, so the steps must be small.
    job = trained.job(topic, target="CLASS", model="logistic", learning_rate=1e-10)
    trained.warm(services, job)
    rates = in_turns(
        rows,
        {
            OURS: lambda: trained.seconds(services, job, rows),
            CONSUME: lambda: consumed(services, topic, rows),
        },
    )
    name = "fraud Avro, 30 features, logistic, batches of 256, a transaction every 100 ms, Numba"
    return [Figure(name, rates[OURS], CONSUME, rates[CONSUME], limit=LEAST)]
