"""The judge can fail: trainers that break one promise each are caught, and sound ones in the same accidents are not."""

from __future__ import annotations

import pytest

from gradstream.config import Services
from tests.faults.mutants import (
    KILLED,
    Change,
    auto_commit,
    chain_check_off,
    commit_before_publish,
    cut_by_fetch,
    late_commit,
    side_by_side,
    small_client,
    swallowed_produce_error,
    trained,
)
from tests.faults.test_judge import judged
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import job_on
from trainers.job import Job

pytestmark = pytest.mark.integration
ROWS = 10_000


def topic_of(services: Services, unique: Unique) -> Topic:
    """Two partitions with a bad record every thousand rows."""
    topic = Topic(services, unique, 2, 2)
    for partition in range(2):
        X, y = data(ROWS, 2, seed=partition)
        topic.send(X, y, partition, poison=dict.fromkeys(range(500, ROWS, 1000), b"junk"))
    return topic


def job(topic: Topic, run: str) -> Job:
    return job_on(topic, run, batch_size=100, publish_steps=20)


def test_commits_of_the_consumers_own_tear_offsets_from_weights(
    services: Services, unique: Unique
) -> None:
    topic = topic_of(services, unique)
    failpoint = "after_decode:2=sleep 0.5,after_step:5"

    def scenario(run: str, changes: tuple[Change, ...]) -> None:
        # A mutant may find its offsets ahead of its weights before it has any.
        died = trained(job(topic, run), services, *changes, failpoint=failpoint)
        assert died == KILLED or (changes and died == 1)
        assert trained(job(topic, run), services, *changes) == bool(changes)

    side_by_side(scenario, auto_commit)
    assert judged(topic, "sound").faults == []
    assert "TORN" in judged(topic, "mutant").words


def test_offsets_that_are_committed_before_the_weights(services: Services, unique: Unique) -> None:
    topic = topic_of(services, unique)

    def scenario(run: str, changes: tuple[Change, ...]) -> None:
        work = job(topic, run)
        assert trained(work, services, *changes, failpoint="after_begin:4") == KILLED
        assert trained(work, services, *changes) == bool(changes)

    side_by_side(scenario, commit_before_publish)
    assert judged(topic, "sound").faults == []
    assert "TORN" in judged(topic, "mutant").words


def test_a_swallowed_produce_error_loses_a_dead_letter(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(ROWS, 2), poison={5000: bytes([9]) * 500_000})

    def scenario(run: str, changes: tuple[Change, ...]) -> None:
        work = job_on(topic, run, batch_size=100, publish_steps=20, keep_values=True)
        assert trained(work, services, small_client, *changes) == (not changes)
        assert trained(work, services) == 0

    side_by_side(scenario, swallowed_produce_error)
    assert judged(topic, "sound").faults == []
    assert judged(topic, "mutant").words == {"LOST", "MISCOUNTED"}


def test_batches_cut_by_what_a_fetch_returned(services: Services, unique: Unique) -> None:
    topic = topic_of(services, unique)

    def scenario(run: str, changes: tuple[Change, ...]) -> None:
        work = job(topic, run)
        assert trained(work, services, *changes, failpoint="after_step:5") == KILLED
        assert trained(work, services, *changes) == 0

    side_by_side(scenario, cut_by_fetch)
    assert judged(topic, "sound").faults == []
    assert "WRONG_BATCHES" in judged(topic, "mutant").words


def test_a_torn_transaction_that_nobody_checks_is_trained_on(
    services: Services, unique: Unique
) -> None:
    topic = topic_of(services, unique)

    def scenario(run: str, changes: tuple[Change, ...]) -> None:
        work = job(topic, run)
        assert trained(work, services, late_commit, failpoint="after_commit:2") == KILLED
        assert trained(work, services, *changes) == (not changes)

    side_by_side(scenario, chain_check_off)
    # A sound one has refused to go on: torn as it was, and no worse.
    refused = judged(topic, "sound").words
    assert "TORN" in refused
    assert "REPEATED" not in refused
    assert "REPEATED" in judged(topic, "mutant").words
