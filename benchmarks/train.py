"""How fast is topic → trained, weights and offsets in transactions, next to clients that only read?"""

from __future__ import annotations

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure, in_turns
from benchmarks.readers import CONSUME, KCAT, KCAT_THERE, consumed, kcat
from gradstream.config import Services

QUESTION = "topic → trained, exactly once, beside clients that do nothing with the records"
ROWS = 2_000_000
FEATURES = 10
NUMBA, NUMPY = "gradstream, Numba", "gradstream, NumPy"
CONFLUENT = "the same loop, GRADSTREAM_CLIENT=confluent"
GOALS = {CONSUME: 0.0, KCAT: 0.65, CONFLUENT: 3.0}


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.regression(services, rows, FEATURES)
    jobs = {NUMBA: trained.job(topic), NUMPY: trained.job(topic, backend="numpy")}
    for job in jobs.values():
        trained.warm(services, job)
    works = {
        NUMBA: lambda: trained.seconds(services, jobs[NUMBA], rows),
        NUMPY: lambda: trained.seconds(services, jobs[NUMPY], rows),
        CONFLUENT: lambda: trained.seconds(services, jobs[NUMBA], rows, "confluent"),
        CONSUME: lambda: consumed(services, topic, rows),
    }
    if KCAT_THERE:
        works[KCAT] = lambda: kcat(services, topic, rows)
    rates = in_turns(rows, works)
    told = f"{FEATURES} features in Avro, batches of 256, a transaction every 100 ms"
    figures = [
        Figure(f"{told}, Numba", rates[NUMBA], other, rates[other], goal)
        for other, goal in GOALS.items()
        if other in rates
    ]
    return [*figures, Figure(f"{told}, NumPy", rates[NUMPY], CONSUME, rates[CONSUME])]
