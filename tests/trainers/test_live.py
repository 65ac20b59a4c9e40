"""Live mode: what was learned is published without waiting for further records, and the ranges leave nothing out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradstream.config import Services
from gradstream.wire.kafka import end_offsets
from tests.trainers.feed import Topic, data
from tests.trainers.runs import chain_of, job_on
from trainers.chain import WeightsRecord
from trainers.loop import train

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]
PORTIONS = (300, 10, 64, 1)


@pytest.mark.parametrize(
    "publishing",
    [{}, {"publish_seconds": 0.4}, {"publish_steps": 1}],
    ids=["default", "time", "steps"],
)
def test_each_portion_is_published_before_the_next_one_comes(
    services: Services, unique: Unique, publishing: dict[str, Any]
) -> None:
    topic = Topic(services, unique, 2, partitions=2)
    X, y = data(sum(PORTIONS), 2)
    left = iter(enumerate(PORTIONS))
    sent = 0

    def send() -> None:
        nonlocal sent
        number, count = next(left)
        rows = slice(sent, sent := sent + count)
        topic.send(X[rows], y[rows], partition=number % 2)

    def published(record: WeightsRecord) -> None:
        if record.records_trained == sent < len(y):
            send()

    send()
    job = job_on(topic, "r", mode="live", batch_size=64, max_wait=0.05, **publishing)
    job = replace(job, max_records=len(y), max_seconds=60.0)
    result = train(job, services, on_publish=published)
    assert result.reason == f"limit: {len(y)} records"
    reached = dict.fromkeys([(topic.name, 0), (topic.name, 1)], 0)
    for record in chain_of(topic, "r"):
        for part in record.inputs:
            assert part.start == reached[topic.name, part.partition]
            reached[topic.name, part.partition] = part.end
        assert dict(record.commits) == reached
    assert reached == end_offsets(services, topic.name)
