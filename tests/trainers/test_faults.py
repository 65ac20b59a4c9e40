"""What goes wrong around a trainer: each stops it with a line that names it, or it goes on to the same bits."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import NewPartitions

from gradstream import failpoints
from gradstream.config import Services
from gradstream.errors import DataError, GradstreamError
from gradstream.failpoints import VARIABLE
from gradstream.wire import reader_base
from gradstream.wire.kafka import (
    admin,
    committed_offsets,
    delete_topics,
    end_offsets,
    ensure_topics,
)
from gradstream.wire.reader import Reader, open_reader
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.crowd import in_time
from tests.trainers.feed import Topic, Unique, data, values_of
from tests.trainers.runs import (
    chain_of,
    everything,
    job_on,
    publish_forged,
    tensor,
    values,
)
from tests.trainers.test_training import recomputed, started
from trainers import loop, preflight
from trainers.chain import WeightsRecord
from trainers.guards import lost
from trainers.job import Job
from trainers.loop import Status, train
from trainers.preflight import prepared

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture
def topic(services: Services, unique: Unique) -> Topic:
    made = Topic(services, unique, 2)
    made.send(*data(1500, 2))
    return made


def refused(job: Job, services: Services, message: str) -> GradstreamError:
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


def test_offsets_that_a_topic_made_anew_does_not_have_are_told_as_such(
    topic: Topic, services: Services
) -> None:
    """The broker may refuse the offsets, or forget what was committed, before the reader has seen that the topic is another."""
    out_of_range = DataError("OFFSET_LOST", "offset out of range")
    forgotten = DataError("TORN_TRANSACTION", "weights stand for offsets, but {} are committed")
    with prepared(job_on(topic, "r"), services) as plan:
        assert lost(plan, out_of_range).code == "OFFSET_LOST"
        assert lost(plan, forgotten) is forgotten
        delete_topics(services, [topic.name])
        ensure_topics(services, {topic.name: 1})
        assert lost(plan, out_of_range).code == "TOPIC_RECREATED"
        assert lost(plan, forgotten).code == "TOPIC_RECREATED"


@contextmanager
def open_transaction(topic: Topic) -> Iterator[None]:
    """A record of somebody else that is neither committed nor aborted meanwhile."""
    value = values_of(*data(1, 2), topic.schema_id)
    with Writer(topic.services, transactional_id=f"idle-{topic.name}") as writer:
        writer.begin()
        writer.send(topic.name, value, partitions=np.zeros(1, np.int32))
        writer.flush()
        yield
        writer.abort()


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


# What is written


def test_a_dead_letter_topic_that_refuses_stops_a_run_and_nothing_counts(
    topic: Topic, services: Services
) -> None:
    ensure_topics(services, {topic.dead: 1}, {"max.message.bytes": "200"})
    topic.send(*data(10, 2), poison={3: b"x" * 300})
    job = job_on(topic, "r", keep_values=True)
    error = refused(job, services, f"^SEND_FAILED: topic '{topic.dead}' takes no more records ")
    assert error.exit_code == 69
    assert committed_offsets(services, job.group, topic.name) == {}
    assert chain_of(topic, "r") == []


def test_a_dead_letter_topic_that_is_gone_stops_a_run_where_it_stands(
    topic: Topic, services: Services
) -> None:
    topic.send(*data(1000, 2), poison={700: b"junk"})
    job = job_on(topic, "r", publish_steps=2)
    gone: list[None] = []

    def delete(record: WeightsRecord) -> None:
        if not gone:
            gone.append(delete_topics(services, [topic.dead]))  # type: ignore[func-returns-value]

    with pytest.raises(GradstreamError, match=f"^UNKNOWN_TOPIC: there is no topic '{topic.dead}'"):
        train(job, services, on_publish=delete)
    stands = chain_of(topic, "r")[-1].commits
    assert stands == committed_offsets(services, job.group, topic.name)
    assert stands[topic.name, 0] <= 2200


# The group


def test_a_group_with_other_members_is_refused_with_their_names(
    topic: Topic, services: Services
) -> None:
    job = job_on(topic, "r")
    began = time.monotonic()
    with open_reader(services, [topic.name], job.group) as other:
        while not other.rebalances:
            other.fetch(1, 0.1)
        refused(
            job,
            services,
            r"^GROUP_SHARED: 1 other member\(s\) are in group .* such as gradstream at ",
        )
    assert in_time(time.monotonic() - began, 10)


def test_a_rebalance_in_the_middle_of_a_transaction_aborts_it_and_its_steps_are_taken_again(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(512, 2)
    topic.send(X[:256], y[:256])
    job = job_on(topic, "r", batch_size=64)
    monkeypatch.setenv(VARIABLE, "after_produce:2=sleep 4")  # two steps are in it
    flags = ("--mode", "live", "--max-wait", "1m", "--batch-size", "64", "--publish-every", "2")
    trainer = started(topic, "r", *flags, "--max-records", "512")
    with open_reader(services, [topic.name], job.group) as other:
        while not other.rebalances:
            other.fetch(1, 0.1)
    topic.send(X[256:], y[256:])
    out, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 0, err
    chain = chain_of(topic, "r")
    assert [record.step for record in chain] == [2, 4, 6, 8, 8]  # the last says why it is the last
    assert chain[-1].tensors["w"].tobytes() == recomputed(X, y, size=64).tobytes()
    assert len(values(services, topic.weights, isolation="read_uncommitted")) > len(chain)
    assert out


def test_a_trainer_that_was_frozen_is_fenced_by_its_successor_and_adds_nothing(
    topic: Topic, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "after_produce:2=stop")
    frozen = started(topic, "r", "--publish-every", "2", "--batch-size", "64")
    os.waitid(os.P_PID, frozen.pid, os.WSTOPPED)
    result = train(job_on(topic, "r", publish_steps=2, batch_size=64), services)
    chain = chain_of(topic, "r")
    frozen.send_signal(signal.SIGCONT)
    out, err = frozen.communicate(timeout=30)
    assert frozen.returncode == 75, err
    assert f"FENCED: another trainer of run '{topic.run}r' has taken over" in err
    assert not out
    assert [r.sha256 for r in chain_of(topic, "r")] == [r.sha256 for r in chain]
    assert tensor(result) == recomputed(*data(1500, 2), size=64).tobytes()


def test_a_batch_slower_than_the_group_allows_is_retrained_and_the_setting_is_named(
    topic: Topic,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def quick(*given: Any, **tuning: Any) -> Reader:
        return open_reader(*given, **{**tuning, **dict.fromkeys(LIMITS, 6000)})

    whole = train(job_on(topic, "whole", publish_steps=2), services)
    monkeypatch.setattr(loop, "open_reader", quick)
    failpoints.arm({VARIABLE: "after_step:2=sleep 8"})
    try:
        slow = train(job_on(topic, "slow", publish_steps=2), services)
    finally:
        failpoints.arm({})
    assert everything(slow) == everything(whole)
    assert [r.step for r in chain_of(topic, "slow")] == [r.step for r in chain_of(topic, "whole")]
    assert "raise max.poll.interval.ms" in caplog.text


def end_transactions_of(job: Job, services: Services) -> None:
    """What the broker does, too, to a writer that it has not heard for the time of a transaction."""
    Writer(services, transactional_id=job.transactional_id).close()


def test_whom_the_broker_fenced_and_the_group_gave_up_goes_on_where_nobody_has_taken_over(
    topic: Topic, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(*given: Any, **tuning: Any) -> Reader:
        return open_reader(*given, **{**tuning, **dict.fromkeys(LIMITS, 6000)})

    def fence(record: WeightsRecord) -> None:
        if record.step == 2:
            end_transactions_of(job, services)

    whole = train(job_on(topic, "whole", publish_steps=2), services)
    job = job_on(topic, "r", publish_steps=2, batch_size=whole.record.batch_size)  # type: ignore[union-attr]
    monkeypatch.setattr(loop, "open_reader", quick)
    monkeypatch.setattr(loop, "SUCCESSOR_SECONDS", 3.0)
    failpoints.arm({VARIABLE: "after_step:3=sleep 7"})
    try:
        result = train(job, services, on_publish=fence)
    finally:
        failpoints.arm({})
    assert everything(result) == everything(whole)
    assert [r.step for r in chain_of(topic, "r")] == [r.step for r in chain_of(topic, "whole")]


def test_a_reader_that_finds_its_group_no_more_is_replaced(
    topic: Topic, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Reader] = []

    def counted(*given: Any, **tuning: Any) -> Reader:
        readers.append(open_reader(*given, **tuning))
        return readers[-1]

    def no_coordinator(*_: object) -> tuple[dict[tuple[str, int], int], int, str]:
        return {}, KafkaError._WAIT_COORD, "waiting for coordinator"

    def fence(record: WeightsRecord) -> None:
        if len(readers) == 1:
            monkeypatch.setattr(readers[0], "_try_committed", no_coordinator)
            end_transactions_of(job, services)

    whole = train(job_on(topic, "whole", publish_steps=2), services)
    job = job_on(topic, "r", publish_steps=2)
    monkeypatch.setattr(loop, "open_reader", counted)
    monkeypatch.setattr(loop, "SUCCESSOR_SECONDS", 0.5)
    monkeypatch.setattr(reader_base, "ANSWER_DEADLINE", 0.5)
    assert everything(train(job, services, on_publish=fence)) == everything(whole)
    assert [r.step for r in chain_of(topic, "r")] == [r.step for r in chain_of(topic, "whole")]
    assert len(readers) == 2


def test_a_rewind_needs_no_registry(
    topic: Topic, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries: list[Registry] = []

    def known(url: str) -> Registry:
        registries.append(Registry(url))
        return registries[-1]

    def without(record: WeightsRecord) -> None:
        if not gone:
            gone.append(True)
            registries[0].close()
            registries[0].url = "http://127.0.0.1:9"  # where nobody answers
            end_transactions_of(job, services)

    gone: list[bool] = []
    whole = train(job_on(topic, "whole", publish_steps=2), services)
    job = job_on(topic, "r", publish_steps=2)
    monkeypatch.setattr(preflight, "Registry", known)
    monkeypatch.setattr(loop, "SUCCESSOR_SECONDS", 0.5)
    assert everything(train(job, services, on_publish=without)) == everything(whole)
    assert gone


def test_weights_of_somebody_else_in_the_run_stop_it(
    topic: Topic, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_over(record: WeightsRecord) -> None:
        publish_forged(topic, replace(record, parent=record.sha256, step=record.step + 1))
        end_transactions_of(job, services)

    job = job_on(topic, "r", publish_steps=2)
    monkeypatch.setattr(loop, "SUCCESSOR_SECONDS", 0.5)
    with pytest.raises(GradstreamError, match=f"^FENCED: another trainer of run '{job.run_id}'"):
        train(job, services, on_publish=taken_over)
    assert [r.step for r in chain_of(topic, "r")] == [2, 3]


LIMITS = ("max_poll_interval_ms", "session_timeout_ms")
