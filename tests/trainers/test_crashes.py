"""Accidents, written down: a trainer dies at a phase of its loop, its successor goes on, and the end is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradstream.config import Services
from gradstream.failpoints import PHASES
from gradstream.wire.kafka import end_offsets
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import chain_of, crash, dead, everything, job_on
from trainers.chain import WeightsRecord
from trainers.loop import train

pytestmark = pytest.mark.integration

# At these a chunk is in memory, and the first is all that there is; the others come with each transaction.
FIRST = ("after_fetch", "after_decode")
OF_QUERIES = ("after_run",)
POISON: dict[int, bytes | None] = {0: b"", 77: b"junk", 3000: None, 5999: b"\0\0"}
ADAM = {"model": "logistic", "optimizer": "adam", "standardise": True, "class_weights": "balanced"}


@pytest.mark.parametrize(
    ("partitions", "more"), [(1, {}), (2, ADAM)], ids=["sgd", "adam-standardised-2-partitions"]
)
def test_killed_at_every_phase_in_turn_a_run_ends_as_one_that_nobody_killed(
    services: Services, unique: Unique, partitions: int, more: dict[str, Any]
) -> None:
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):
        X, y = data(6000 + 511 * partition, 3, seed=partition)
        if more:
            y = (y > 1).astype(np.float64)
        topic.send(X, y, partition, POISON, transactional=partition == 0)  # markers leave gaps
    settings = {"publish_steps": 4, "batch_size": 64, **more}
    whole = train(job_on(topic, "whole", **settings), services)

    killed = job_on(topic, "killed", **settings)
    for phase in PHASES:
        if phase not in OF_QUERIES:
            crash(killed, services, phase if phase in FIRST else f"{phase}:2")
    resumed = train(killed, services)

    assert everything(resumed) == everything(whole)
    assert resumed.weights == whole.weights
    chain = chain_of(topic, "killed")
    assert_agree(chain[-1], chain_of(topic, "whole")[-1])
    assert_each_once(topic, chain)


def assert_agree(resumed: WeightsRecord, whole: WeightsRecord) -> None:
    for name in (
        *("step", "epoch", "position", "turn", "records_trained", "records_rejected"),
        *("reason", "commits", "metrics", "configuration"),
    ):
        assert getattr(resumed, name) == getattr(whole, name), name


def assert_each_once(topic: Topic, chain: list[WeightsRecord]) -> None:
    """The records' ranges lie end to end over the whole log, and each bad record in them is one dead letter."""
    ends = end_offsets(topic.services, topic.name)
    reached = dict.fromkeys(ends, 0)
    for record in chain:
        for part in record.inputs:
            at = (part.topic, part.partition)
            assert part.start == reached[at]
            reached[at] = part.end
        assert record.commits == reached
    assert reached == ends
    letters = {run: letters_of(topic, run) for run in ("whole", "killed")}
    assert letters["killed"] == letters["whole"]
    assert len(letters["killed"]) == len(POISON) * len(ends) == chain[-1].records_rejected


def letters_of(topic: Topic, run: str) -> list[dict[str, Any]]:
    """The run's dead letters without its name, in the order of the log."""
    mine = [row for row in dead(topic) if row.pop("found_by") == f"trainer:{topic.run}{run}"]
    return sorted(mine, key=lambda row: (row["partition"], row["offset"]))
