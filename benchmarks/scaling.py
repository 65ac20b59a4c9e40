"""How does the rate of topic → trained follow the number of features, the batch size and the number of partitions?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure, in_turns
from benchmarks.readers import CONSUME, consumed
from gradstream.config import Services
from trainers.job import Job

QUESTION = "topic → trained over features, batch sizes and partitions"
FEATURES = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
BATCH_SIZES = (1, 4, 16, 64, 256, 1024, 8192)
PARTITIONS = (1, 2, 4, 8, 16)
ROWS = 1_000_000
NUMBERS = 40_000_000  # of a topic, at most: 320 MB
OURS = "gradstream, Numba"


def measure(services: Services) -> list[Figure]:
    return [*_features(services), *_batch_sizes(services), *_partitions(services)]


def _features(services: Services) -> Iterator[Figure]:
    for features in FEATURES:
        rows = effort.rows(min(ROWS, NUMBERS // (features + 1)))
        topic = topics.regression(services, rows, features)
        yield _point(services, "features", features, trained.job(topic, learning_rate=1e-4), rows)


def _batch_sizes(services: Services) -> Iterator[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.regression(services, rows)
    for size in BATCH_SIZES:
        yield _point(services, "batch size", size, trained.job(topic, batch_size=size), rows)


def _partitions(services: Services) -> Iterator[Figure]:
    rows = effort.rows(ROWS)
    for partitions in PARTITIONS:
        topic = topics.regression(services, rows, 10, partitions)
        yield _point(services, "partitions", partitions, trained.job(topic), rows)


def _point(services: Services, series: str, at: int, job: Job, rows: int) -> Figure:
    """Ours beside a bare consume(256) of the same topic."""
    trained.warm(services, job)
    rates = in_turns(
        rows,
        {
            f"{at:,} {series}": lambda: trained.seconds(services, job, rows),
            CONSUME: lambda: consumed(services, job.source, rows),
        },
        repeats=2,
    )
    ours = next(iter(rates.values()))
    return Figure(f"{at:,} {series}", ours, CONSUME, rates[CONSUME], series=series, at=at)
