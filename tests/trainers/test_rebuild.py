"""Weights rebuilt from the log: the same bits at each record, whatever happened to the processes that trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.wire.kafka import delete_topics, end_offsets, ensure_topics
from tests.trainers.feed import Topic, data
from tests.trainers.runs import chain_of, crash, everything, job_on, publish_forged
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.job import FULL
from trainers.loop import train
from trainers.machine import made_by
from trainers.rebuild import main
from trainers.rebuilding import Rebuilt, asked, missing, rebuild

Unique = Callable[[str], str]
POISON: dict[int, bytes | None] = {5: b"", 700: b"{}", 701: None}


def filled(services: Services, unique: Unique, partitions: int = 3) -> Topic:
    """A topic with poison, gaps in its offsets and partitions of different lengths."""
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):
        X, y = data(2000 + 700 * partition, 3, seed=partition)
        X[10 * partition + 3, 1] = np.nan
        topic.send(X, y, partition, POISON, transactional=True)
    return topic


def rebuilt(topic: Topic, run: str = "r", step: str = "", **more: Any) -> Rebuilt:
    more = {"weights_topic": topic.weights, "dead_letters_topic": topic.dead, **more}
    return rebuild(topic.services, topic.run + run, step, **more)


def bits(found: Rebuilt) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in found.tensors.items()}


def refused(topic: Topic, code: str, step: str = "", **more: Any) -> str:
    with pytest.raises(GradstreamError) as error:
        rebuilt(topic, step=step, **more)
    assert error.value.code == code
    return error.value.message


WAYS: dict[str, dict[str, Any]] = {
    "online": {},
    "adam": {"optimizer": "adam", "standardise": True},
    "momentum": {"optimizer": "momentum", "schedule": "inverse", "clip": 1.0},
    "numba": {"backend": "numba", "dtype": "float32"},
    "exact": {"exact": True},
    "exact-epochs": {"exact": True, "batch_size": FULL, "epochs": 9, "publish_steps": 1},
    "epochs": {"epochs": 3, "standardise": True},
    "full": {"batch_size": FULL, "epochs": 40, "standardise": True, "publish_steps": 7},
    "loss": {"epochs": 40, "tolerance": 1e-3, "patience": 2},
    "weights": {"epochs": 9, "tolerance": 1e-3, "tolerance_on": "weights"},
    "autoencoder": {"target": "", "model": "autoencoder", "layers": (2, 1, 2), "standardise": True},
}


@pytest.mark.integration
@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_training_is_rebuilt_to_the_bit(
    services: Services, unique: Unique, way: str
) -> None:
    topic = filled(services, unique)
    result = train(job_on(topic, "r", **{"publish_steps": 5, **WAYS[way]}), services)
    assert result.record is not None
    chain = chain_of(topic, "r")
    found = rebuilt(topic)
    assert bits(found) == everything(result)
    assert found.exact
    assert (found.link.sha256, found.compared) == (chain[-1].sha256, len(chain))
    assert found.records == result.record.records_trained
    assert found.letters == 12
    # From any record on, in the middle of an epoch as well, to the same bits.
    middle = chain[len(chain) // 2]
    later = rebuilt(topic, start=middle.sha256)
    assert bits(later) == everything(result)
    assert later.compared == len(chain) - len(chain) // 2 - 1
    assert later.records == result.record.records_trained - middle.records_trained


@pytest.mark.integration
@pytest.mark.parametrize("way", ["online", "epochs"])
def test_a_killed_and_resumed_run(services: Services, unique: Unique, way: str) -> None:
    topic = filled(services, unique)
    job = job_on(topic, "r", publish_steps=4, optimizer="adam", **WAYS[way])
    crash(job, services, "after_step:6")
    crash(job, services, "after_send_offsets:2")
    crash(job, services, "after_commit:1")
    result = train(job, services)
    found = rebuilt(topic)
    assert bits(found) == everything(result)
    assert found.letters == 12
    assert sum(record.machine is not None for record in chain_of(topic, "r")) > 1


@pytest.mark.integration
def test_a_live_run_with_short_batches_and_a_partition_passed_over(
    services: Services, unique: Unique
) -> None:
    topic = Topic(services, unique, 2, partitions=3)
    portions = [(0, 300), (1, 10), (0, 64), (1, 1), (0, 40), (1, 200)]  # and never one in the last
    X, y = data(sum(count for _, count in portions), 2)
    sent = 0

    def send() -> None:
        nonlocal sent
        partition, count = portions.pop(0)
        rows = slice(sent, sent := sent + count)
        topic.send(X[rows], y[rows], partition, {0: b"x"})

    def published(record: WeightsRecord) -> None:
        if record.records_trained == sent and portions:
            send()

    send()
    job = job_on(topic, "r", mode="live", batch_size=64, max_wait=0.05, standardise=True)
    result = train(replace(job, max_records=len(y), max_seconds=60.0), services, published)
    assert result.trained == len(y)
    ranges = [r for record in chain_of(topic, "r") for r in record.inputs]
    assert any(r.records % 64 for r in ranges)
    found = rebuilt(topic)
    assert bits(found) == everything(result)
    assert found.letters == 6


@pytest.mark.integration
def test_settings_backend_and_way_changed_between_the_records(
    services: Services, unique: Unique
) -> None:
    topic = filled(services, unique)
    parts: list[dict[str, Any]] = [
        {"publish_steps": 3, "max_steps": 7},
        {"learning_rate": 0.001, "batch_size": 100, "max_steps": 20},
        {"backend": "numba", "resume_with": "numba", "tolerance": 1e-9, "batch_size": 64},
    ]
    for part in parts:
        train(job_on(topic, "r", **part), services)
    X, y = data(3000, 3, seed=9)
    topic.send(X, y, 1)  # and then in epochs, with a limit in the middle
    epochs = job_on(topic, "r", backend="numba", epochs=3, publish_steps=4)
    train(replace(epochs, max_steps=chain_of(topic, "r")[-1].step + 14), services)
    train(epochs, services)
    topic.send(X, y, 2)
    result = train(job_on(topic, "r", backend="numba"), services)
    found = rebuilt(topic)
    assert bits(found) == everything(result)
    assert {record.backend for record in chain_of(topic, "r")} == {"numpy", "numba"}


@pytest.mark.integration
def test_nothing_is_written(services: Services, unique: Unique) -> None:
    topic = filled(services, unique, partitions=1)
    train(job_on(topic, "r"), services)
    topics = (topic.name, topic.weights, topic.dead)
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})

    def groups() -> set[str]:
        listed = admin.list_consumer_groups().result().valid
        return {group.group_id for group in listed if topic.name in group.group_id}

    before = [end_offsets(services, name) for name in topics], groups()
    rebuilt(topic)
    assert ([end_offsets(services, name) for name in topics], groups()) == before


@pytest.mark.integration
def test_a_forged_record_is_found(services: Services, unique: Unique) -> None:
    topic = filled(services, unique, partitions=1)
    train(job_on(topic, "r", publish_steps=3, max_steps=6), services)
    first, last, *_ = chain_of(topic, "r")
    w = last.tensors["w"].copy()
    w[2] = np.nextafter(w[2], 9.0)  # one bit, with a hash that fits: a chain like any other
    forged = replace(last, run=topic.run + "forged", tensors={**last.tensors, "w": w}, parent="")
    (end,) = last.commits.values()
    inputs = (Range(topic.name, 0, 0, end, 6 * 256, 0),)
    publish_forged(topic, replace(forged, inputs=inputs))
    with pytest.raises(GradstreamError) as error:
        rebuilt(topic, "forged")
    assert error.value.code == "REBUILD_DIFFERS"
    assert "step 6" in error.value.message
    assert "tensor 'w' by up to" in error.value.message
    assert "at [2]" in error.value.message
    # And one that says it learned from the second half only.
    lying = replace(forged, run=topic.run + "lying", tensors=last.tensors, inputs=last.inputs)
    publish_forged(topic, lying)
    with pytest.raises(GradstreamError) as error:
        rebuilt(topic, "lying")
    assert error.value.code == "REBUILD_DIFFERS"
    assert "it says step 6, and its ranges give 3" in error.value.message
    publish_forged(topic, replace(last, run=topic.run + "orphan"))
    with pytest.raises(GradstreamError) as error:
        rebuilt(topic, "orphan")
    assert error.value.code == "CHAIN_BROKEN"
    assert first.sha256[:12] in error.value.message


@pytest.mark.integration
def test_a_log_that_is_not_what_it_was(services: Services, unique: Unique) -> None:
    topic = filled(services, unique, partitions=1)
    result = train(job_on(topic, "r", publish_steps=3), services)
    first, second, *_ = chain_of(topic, "r")
    (end,) = first.commits.values()
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    for removed in admin.delete_records([TopicPartition(topic.name, 0, end)]).values():
        removed.result()
    message = refused(topic, "LOG_INCOMPLETE")
    assert f"partition 0 offsets 0 to {end}" in message
    assert bits(rebuilt(topic, start=str(first.step))) == everything(result)
    assert "offset" in refused(topic, "LOG_INCOMPLETE", str(first.sha256[:8]))
    refused(topic, "BAD_VALUE", first.sha256, start=str(second.step))
    delete_topics(services, [topic.name])
    ensure_topics(services, {topic.name: 1})
    refused(topic, "TOPIC_RECREATED", start=str(first.step))


@pytest.mark.integration
def test_dead_letters_must_be_the_same(services: Services, unique: Unique) -> None:
    topic = filled(services, unique, partitions=1)
    train(job_on(topic, "r"), services)
    elsewhere = unique("dead")
    message = refused(topic, "DEAD_LETTERS_DIFFER", dead_letters_topic=elsewhere)
    assert "4 do not" in message
    assert f"is not in topic '{elsewhere}'" in message
    assert f"{topic.name} partition 0 offset 3 (NON_FINITE)" in message


@pytest.mark.integration
def test_another_backend_agrees_within_rounding(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 3)
    topic.send(*data(5000, 3))
    result = train(job_on(topic, "r", optimizer="adam", publish_steps=10), services)
    found = rebuilt(topic, backend="python")
    assert not found.exact
    assert 0 < found.largest < 1e-9
    assert bits(found) != everything(result)
    refused(topic, "UNKNOWN_BACKEND", backend="numpi")
    chain = chain_of(topic, "r")
    publish_forged(topic, replace(chain[0], run=topic.run + "gpu", backend="numba", device="gpu:7"))
    with pytest.raises(GradstreamError) as error:
        rebuilt(topic, "gpu")
    assert error.value.code == "NO_DEVICE"
    assert "--backend numpy" in error.value.message
    assert not rebuilt(topic, "gpu", backend="numpy").exact
    # Other versions and processors are named, whether or not they changed anything.
    told = json.dumps({**made_by("numpy"), "numpy": "0.1"})
    publish_forged(topic, replace(chain[0], run=topic.run + "old", machine=told))
    (remark,) = rebuilt(topic, "old").remarks
    assert remark.startswith("numpy was 0.1, and is ")


@pytest.mark.integration
def test_the_command(
    services: Services, unique: Unique, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = filled(services, unique)
    result = train(job_on(topic, "r", publish_steps=5), services)
    assert result.record is not None
    flags = ["--weights-topic", topic.weights, "--dead-letters-topic", topic.dead]
    flags += ["--bootstrap-servers", services.bootstrap_servers]
    flags += ["--schema-registry-url", services.schema_registry_url]
    out = tmp_path / "weights.npz"
    assert main([topic.run + "r", "--out", str(out), *flags]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == result.record.sha256
    assert "equal to the bit" in shown.err
    assert "12 dead letters met again" in shown.err
    with np.load(out) as written:
        assert {name: written[name].tobytes() for name in written} == everything(result)
    with pytest.raises(GradstreamError, match="FILE_EXISTS"):
        main([topic.run + "r", "--out", str(out), *flags])
    assert main([topic.run + "r", "10", "--from", "5", "--json", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["compared"], told["bits"]) == (10, 1, True)


def test_features_are_asked_for_as_they_were() -> None:
    assert asked(["A", "X[0]", "X[1]", "OUTER.B"]) == ("A", "X[0:2]", "OUTER.B")


def test_what_a_log_no_longer_has_is_told_by_partition() -> None:
    ranges = [Range("t", 0, 0, 10, 10, 0), Range("t", 1, 5, 9, 4, 0), Range("t", 0, 10, 30, 20, 0)]
    lows, ends = {("t", 0): 12, ("t", 1): 9}, {("t", 0): 25, ("t", 1): 9}
    assert missing(ranges, lows, ends) == [(0, 0, 12), (0, 25, 30), (1, 5, 9)]
    assert missing(ranges, {("t", 0): 0, ("t", 1): 5}, {("t", 0): 30, ("t", 1): 9}) == []
