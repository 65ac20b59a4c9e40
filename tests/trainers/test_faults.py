"""What goes wrong around a trainer: each stops it with a line that names it, or it goes on to the same bits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import TopicPartition as Place

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.wire.kafka import admin, end_offsets, ensure_topics
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import chain_of, job_on, publish_forged
from trainers.loop import Status, train

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture
def topic(services: Services, unique: Unique) -> Topic:
    made = Topic(services, unique, 2)
    made.send(*data(1500, 2))
    return made


def refused(job: Any, services: Services, message: str) -> GradstreamError:
    with pytest.raises(GradstreamError, match=message) as error:
        train(job, services)
    assert "\n" not in str(error.value)
    return error.value


# The chain


def test_two_records_that_go_on_from_the_same_one_stop_the_run(
    topic: Topic, services: Services
) -> None:
    job = job_on(topic, "r", publish_steps=2)
    train(job, services)
    first, *_, last = chain_of(topic, "r")
    publish_forged(topic, replace(last, parent=last.parent, step=last.step + 1))
    refused(
        job, services, f"^CHAIN_FORKED: run '{topic.run}r': the record of step {last.step + 1} "
    )
    assert first.parent == ""


def test_a_record_whose_parent_is_missing_stops_the_run(topic: Topic, services: Services) -> None:
    job = job_on(topic, "r", max_steps=2)
    train(job, services)
    (only,) = chain_of(topic, "r")
    publish_forged(topic, replace(only, parent="ab" * 32, step=9))
    refused(job, services, "^CHAIN_BROKEN: .* of step 9 in .* goes on from abababababab…")


def test_a_run_of_another_cluster_is_refused(topic: Topic, services: Services) -> None:
    job = job_on(topic, "r", max_steps=2)
    train(job, services)
    (only,) = chain_of(topic, "r")
    publish_forged(topic, replace(only, parent=only.sha256, step=9, cluster_id="elsewhere"))
    refused(job, services, "^CLUSTER_CHANGED: .* was trained on Kafka cluster elsewhere, and ")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cleanup.policy": "compact"}, "^WEIGHTS_COMPACTED: "),
        ({"retention.ms": "86400000"}, r"^WEIGHTS_EXPIRE: .*retention\.ms=86400000"),
        ({"retention.ms": "-1", "retention.bytes": "1000000"}, r"^WEIGHTS_EXPIRE: .*retention\.bytes="),
    ],
)  # fmt: skip
def test_a_weights_topic_that_forgets_is_refused(
    topic: Topic, services: Services, config: dict[str, str], message: str
) -> None:
    ensure_topics(services, {topic.weights: 1}, config)
    refused(job_on(topic, "r"), services, message)


# The log


def test_partitions_that_are_new_stop_a_run_until_they_are_accepted(
    topic: Topic, services: Services
) -> None:
    from confluent_kafka.admin import NewPartitions

    job = job_on(topic, "r", publish_steps=2)
    train(job, services)
    client = admin(services)  # its futures live only as long as it does
    for future in client.create_partitions([NewPartitions(topic.name, 2)]).values():
        future.result(10)
    deadline = time.monotonic() + 10
    while len(end_offsets(services, topic.name)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    topic.send(*data(700, 2, seed=7), 1)
    refused(job, services, "^PARTITIONS_ADDED: .* new partition 1, .* --accept-partitions")
    result = train(replace(job, accept_partitions=True), services)
    assert result.trained == 700
    assert chain_of(topic, "r")[-1].commits == end_offsets(services, topic.name)
    topic.send(*data(100, 2, seed=8), 0)
    assert train(job, services).trained == 100  # from then on they are its own


def test_records_that_were_removed_before_they_were_trained_on_stop_a_run(
    topic: Topic, services: Services
) -> None:
    job = job_on(topic, "r", max_steps=2)
    train(job, services)
    client = admin(services)  # its futures live only as long as it does
    for future in client.delete_records([Place(topic.name, 0, 600)]).values():
        future.result(10)
    message = r"^OFFSET_LOST: records were removed .* before .* was trained on them .*; train with a new --run$"
    refused(replace(job, max_steps=None), services, message)


@contextmanager
def open_transaction(topic: Topic) -> Iterator[None]:
    """A record of somebody else that is neither committed nor aborted meanwhile."""
    value = topic_value(topic)
    with Writer(topic.services, transactional_id=f"idle-{topic.name}") as writer:
        writer.begin()
        writer.send(topic.name, value, partitions=np.zeros(1, np.int32))
        writer.flush()
        yield
        writer.abort()


def topic_value(topic: Topic) -> Any:
    from tests.trainers.feed import values_of

    return values_of(*data(1, 2), topic.schema_id)


def test_an_open_transaction_that_hides_records_is_told_within_ten_seconds(
    topic: Topic, services: Services
) -> None:
    told: list[str] = []
    began = time.monotonic()
    with open_transaction(topic):
        topic.send(*data(300, 2))

        def watch(status: Status) -> None:
            if status.trouble and not told:
                told.append(status.trouble)

        result = train(job_on(topic, "r", max_seconds=7.0), services, watch=watch)
    assert re.match(
        rf"waiting behind an open transaction at offset 1500 of {topic.name} partition 0", told[0]
    )
    assert time.monotonic() - began < 30
    assert result.reason == "limit: 7 seconds"
    assert train(job_on(topic, "r"), services).record.records_trained == 1800  # type: ignore[union-attr]
