"""Transactions that fail under a trainer on a real broker: it goes back to the last commit and ends at the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire.kafka import delete_topics, ensure_topics
from gradstream.wire.records import TopicPartition
from gradstream.wire.writer import OutcomeUnknown, TransactionAborted, Writer
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.test_training import chain_of, dead, job_on, recomputed, tensor
from trainers import loop
from trainers.job import FULL
from trainers.loop import train

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


class Aborting(Writer):
    """Aborts its second transaction, and says of its fourth, which is committed, that nobody knows."""

    commits = 0

    def commit(
        self, offsets: Mapping[TopicPartition, int] | None, group_metadata: object | None
    ) -> None:
        self.commits += 1
        if self.commits == 2:
            self.abort()
            raise TransactionAborted("TRANSACTION_ABORTED", "on purpose")
        super().commit(offsets, group_metadata)
        if self.commits == 4:
            raise OutcomeUnknown("OUTCOME_UNKNOWN", "on purpose")


@pytest.mark.parametrize(
    ("partitions", "more"),
    [
        (1, {}),
        (2, {}),
        (2, {"epochs": 4}),
        (1, {"epochs": 200, "batch_size": FULL}),
    ],
    ids=["online", "online-2-partitions", "epochs", "full-batch"],
)
def test_an_aborted_transaction_is_trained_again_to_the_same_bits(
    services: Services,
    unique: Unique,
    monkeypatch: pytest.MonkeyPatch,
    partitions: int,
    more: dict[str, Any],
) -> None:
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):  # the first is read to its end long before the second
        X, y = data(1000 + 3000 * partition, 3, seed=partition)
        topic.send(X, y, partition, poison={77: b"junk"})
    settings = {"publish_steps": 6, "batch_size": 64, **more}
    whole = train(job_on(topic, "whole", **settings), services)
    monkeypatch.setattr(loop, "Writer", Aborting)
    broken = train(job_on(topic, "broken", **settings), services)
    assert whole.record is not None
    assert broken.record is not None
    assert broken.reason == whole.reason
    assert tensor(broken) == tensor(whole)
    assert broken.record.commits == whole.record.commits
    assert len(dead(topic)) == 2 * partitions  # each run its own, each once
    steps = [record.step for record in chain_of(topic, "broken")]
    assert steps == sorted(set(steps))


def test_dead_letters_that_wait_for_a_batch_publish_nothing_by_themselves(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good record whose batch is not full holds the offsets, and so the dead letters after it."""
    monkeypatch.setattr(loop, "CHUNK", 256)
    monkeypatch.setattr(loop, "LETTERS", 100)
    topic = Topic(services, unique, 2)
    X, y = data(300, 2)
    topic.send(X[:10], y[:10])
    topic.send(np.full((3000, 2), np.nan), np.ones(3000))
    topic.send(X[10:], y[10:])
    result = train(job_on(topic, "r", batch_size=64, publish_steps=100), services)
    assert len(dead(topic)) == 3000
    steps = [record.step for record in chain_of(topic, "r")]
    assert steps == sorted(set(steps))
    assert tensor(result) == recomputed(X, y, size=64).tobytes()


def test_a_topic_made_anew_is_told_as_such(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(500, 2))
    job = job_on(topic, "r", batch_size=100, publish_steps=1)
    train(job, services)
    delete_topics(services, [topic.name])
    ensure_topics(services, {topic.name: 1})
    topic.send(*data(800, 2))
    with pytest.raises(DataError, match=r"^TOPIC_RECREATED: run "):
        train(job, services)
