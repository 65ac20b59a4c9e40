"""What does it cost that weights and offsets are one transaction?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.wire.records import TopicPartition
from gradstream.wire.writer import Writer
from trainers import loop
from trainers.job import Job

QUESTION = "topic → trained, exactly once, beside the same loop that repeats records after a crash"
ROWS = 2_000_000
FEATURES = 10
OURS, WITHOUT = "exactly once", "at least once"


class AtLeastOnce(Writer):
    """Weights leave when they are due, outside of any transaction, and offsets are not committed at all: who commits
    them as well can only be slower.
    """

    def __init__(
        self, services: Services, *, transactional_id: str | None = None, **tuning: Any
    ) -> None:
        tuning.pop("transaction_timeout_ms", None)
        super().__init__(services, transactional_id=None, commit_timeout=30.0, **tuning)

    def begin(self) -> None: ...

    def commit(
        self, offsets: Mapping[TopicPartition, int] | None, group_metadata: object | None
    ) -> None:
        self.flush()

    def abort(self) -> None: ...


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.regression(services, rows, FEATURES)
    found = []
    # The second as often as the other benchmarks publish, ten times as often as by default.
    for told, seconds in (("every second, the default", 1.0), ("every 100 ms", 0.1)):
        job = trained.job(topic, publish_seconds=seconds)
        trained.warm(services, job)
        rates = in_turns(rows, _works(services, job, rows), repeats=5)
        goal = 0.95 if seconds == 1.0 else 0.0
        name = f"{FEATURES} features in Avro, batches of 256, published {told}"
        found.append(Figure(name, rates[OURS], WITHOUT, rates[WITHOUT], goal))
    return found


def _works(services: Services, job: Job, rows: int) -> dict[str, Callable[[], float]]:
    return {
        OURS: lambda: trained.seconds(services, job, rows),
        WITHOUT: lambda: without(services, job, rows),
    }


def without(services: Services, job: Job, rows: int) -> float:
    with patch.object(loop, "Writer", AtLeastOnce):
        return trained.seconds(services, job, rows)
