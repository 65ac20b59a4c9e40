"""The judge on runs that are sound, and on what somebody has changed in their topics."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from contextlib import closing
from copy import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import numpy as np
import pyarrow as pa
import pytest

import faults.judge
from faults.judge import Verdict, registry, topics, verdict
from faults.judge.__main__ import main
from faults.judge.avro import Reader
from faults.judge.links import Link
from faults.judge.topics import Broker
from gradstream.config import Services
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import crash, job_on
from trainers.job import FULL
from trainers.loop import train

ROOM = Path(faults.judge.__file__).parent
OUTSIDE = {"confluent_kafka", "fastavro", "numpy", "faults", *sys.stdlib_module_names}
POISON: dict[int, bytes | None] = {0: b"", 77: b"junk", 300: None, 301: b"\0\0\0\0\1"}


def test_it_imports_nothing_of_what_it_judges() -> None:
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                assert name.split(".")[0] in OUTSIDE, f"{path.name}: {name}"
                assert not name.startswith("faults") or name.startswith("faults.judge"), path.name


def judged(topic: Topic, run: str = "r", **more: Any) -> Verdict:
    where = topic.services
    return verdict(
        where.bootstrap_servers,
        where.schema_registry_url,
        topic.run + run,
        topic.weights,
        topic.dead,
        **more,
    )


def filled(
    services: Services, unique: Unique, partitions: int = 1, rows: int = 3000, classes: bool = False
) -> Topic:
    """Partitions of unlike lengths, with poison in each."""
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):
        X, y = data(rows + 511 * partition, 3, seed=partition)
        if classes:
            y = (y > 1).astype(np.float64)
        topic.send(X, y, partition, poison=POISON)
    return topic


EVERYTHING: dict[str, Any] = {
    "model": "logistic",
    "standardise": True,
    "class_weights": "balanced",
    "optimizer": "adam",
    "l2": 0.01,
    "clip": 1.0,
    "schedule": "cosine",
    "schedule_steps": 500,
}
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "online": (1, {}),
    "partitions": (3, {"schedule": "inverse"}),
    "no-bias": (2, {"bias": False, "optimizer": "momentum", "standardise": True}),
    "epochs": (2, {"epochs": 3, "l2": 0.1}),
    "full": (2, {"epochs": 30, "batch_size": FULL, "standardise": True}),
    "ordered": (1, {"epochs": 2, "shuffle": False, "optimizer": "adam"}),
    "logistic": (2, EVERYTHING),
    "logistic-epochs": (2, {**EVERYTHING, "epochs": 3}),
}


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_left_and_went_on_is_accounted_for(
    services: Services, unique: Unique, kind: str
) -> None:
    partitions, more = KINDS[kind]
    topic = filled(services, unique, partitions, classes=more.get("model") == "logistic")
    job = job_on(topic, "r", **{"publish_steps": 6, "batch_size": 64, **more})
    if kind == "online":
        crash(job, services, "after_flush:3")
    else:
        train(replace(job, max_steps=27), services)
        assert judged(topic).faults == []
    train(job, services)
    found = judged(topic)
    assert found.faults == []
    assert found.counted["dead letters"] == len(POISON) * partitions
    good, trained = found.counted["good"], found.counted["trained, once for each epoch"]
    assert good * more.get("epochs", 1) == trained
    assert found.counted["steps recomputed"] == found.counted["steps"] > 27
    assert found.counted["after the last commit"] == 0
    assert not any("weights" in what for what in found.unjudged)


@pytest.mark.integration
def test_live_batches_are_cut_by_what_the_records_say(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2, partitions=2)
    X, y = data(400, 2)
    topic.send(X[:300], y[:300], partition=1)
    sent = iter([(X[300:310], y[300:310], 0), (X[310:], y[310:], 1)])

    def published(record: Any) -> None:
        if record.records_trained in (300, 310) and (more := next(sent, None)):
            topic.send(*more)

    job = job_on(topic, "r", mode="live", batch_size=64, max_wait=0.05, max_records=400)
    train(replace(job, max_seconds=60.0), services, on_publish=published)
    found = judged(topic)
    assert found.faults == []
    assert found.counted["trained, once for each epoch"] == 400
    assert found.counted["steps recomputed"] == found.counted["steps"] > 400 // 64 + 1


Rows = list[dict[str, Any]]


def chained(rows: Rows) -> None:
    """Hashes and parents as a liar would write them who knows how."""
    parent = ""
    for row in rows:
        row["parent"], row["sha256"] = parent, ""
        parent = row["sha256"] = Link(row).digest()


def changed_value(rows: Rows) -> None:
    rows[2]["tensors"][-1]["values"][0] += 1e-6


def lied_about(rows: Rows) -> None:
    (w,) = [tensor for tensor in rows[2]["tensors"] if tensor["name"] == "w"]
    w["values"][1] *= 1 + 1e-7
    chained(rows)


def missing(rows: Rows) -> None:
    del rows[2]


def left_out(rows: Rows) -> None:
    del rows[2]
    chained(rows)


def shifted(rows: Rows) -> None:
    rows[2]["inputs"][0]["start_offset"] -= 10
    chained(rows)


def skipped(rows: Rows) -> None:
    rows[2]["inputs"][0]["start_offset"] += 10
    rows[2]["inputs"][0]["records"] -= 10
    chained(rows)


def another_way_to_cut(rows: Rows) -> None:
    inputs = rows[1]["inputs"]
    inputs[0]["batch_group"], inputs[1]["batch_group"] = 0, 1
    chained(rows)


def forked(rows: Rows) -> None:
    rows[3]["parent"] = rows[1]["sha256"]
    rows[3]["sha256"] = Link(rows[3]).digest()


def one_more(rows: Rows) -> None:
    rows[-1]["records_trained"] += 1


def other_rate(rows: Rows) -> None:
    for row in rows[2:]:
        row["configuration"] = row["configuration"].replace(
            '"learning_rate":0.01', '"learning_rate":0.02'
        )


def unended(rows: Rows) -> None:
    rows.pop()


def letter_twice(rows: Rows) -> None:
    rows.append(rows[1])


def letter_gone(rows: Rows) -> None:
    del rows[0]


def letter_of_a_good_record(rows: Rows) -> None:
    rows[0]["offset"] += 10


FORGERIES: list[tuple[str, Callable[[Rows], None], str]] = [
    ("weights", changed_value, "CHANGED"),
    ("weights", lied_about, "WRONG_WEIGHTS"),
    ("weights", missing, "BROKEN_CHAIN"),
    ("weights", left_out, "LOST"),
    ("weights", shifted, "REPEATED"),
    ("weights", skipped, "LOST"),
    ("weights", another_way_to_cut, "WRONG_BATCHES"),
    ("weights", forked, "BROKEN_CHAIN"),
    ("weights", one_more, "MISCOUNTED"),
    ("weights", other_rate, "CHANGED"),
    ("weights", unended, "TORN"),
    ("weights", list.clear, "NO_RECORDS"),
    ("dead", letter_twice, "REPEATED"),
    ("dead", letter_gone, "LOST"),
    ("dead", letter_of_a_good_record, "WRONG_LETTER"),
]


@pytest.fixture(scope="module")
def trained(services: Services) -> Topic:
    topic = filled(services, lambda prefix: f"{prefix}_{uuid4().hex[:10]}", 2, rows=1000)
    train(job_on(topic, "r", publish_steps=6, batch_size=64), services)
    assert judged(topic).faults == []
    return topic


@pytest.mark.integration
@pytest.mark.parametrize(("where", "forge", "word"), FORGERIES)
def test_a_forgery_is_found(
    trained: Topic, unique: Unique, where: str, forge: Callable[[Rows], None], word: str
) -> None:
    topic = copy(trained)
    setattr(topic, where, forged(getattr(trained, where), forge, topic, unique))
    found = judged(topic)
    assert word in found.words, found


def forged(name: str, forge: Callable[[Rows], None], topic: Topic, unique: Unique) -> str:
    """The name of a copy of an Avro topic with other records."""
    servers, url = topic.services.bootstrap_servers, topic.services.schema_registry_url
    ((number, schema),) = registry.Registry(url).schemas(f"{name}-value").items()
    reader = Reader({number: schema})
    messages = Broker(servers).read(name)
    rows = [reader.read(message.value)[1] for message in messages]
    forge(rows)
    made = unique("forged")
    with closing(Registry(url)) as other:
        number = other.register(f"{made}-value", json.dumps(schema))
    ensure_topics(topic.services, {made: 1})
    with Writer(topic.services) as writer:
        frame = b"\0" + number.to_bytes(4, "big")
        values = [frame + encoded(schema, row) for row in rows]
        keys = [messages[0].key] * len(rows)
        writer.send(made, pa.array(values, pa.binary()), pa.array(keys, pa.binary()))
    return made


def encoded(schema: Any, row: dict[str, Any]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return out.getvalue()


@pytest.mark.integration
def test_what_it_cannot_recompute_it_says(trained: Topic) -> None:
    job = job_on(trained, "a", target="", model="autoencoder", layers=(2,), tolerance=1e-9)
    train(job, trained.services)
    found = judged(trained, "a")
    assert found.faults == []
    assert found.unjudged == ["weights: model autoencoder"]
    assert found.counted["steps"] > found.counted["steps recomputed"] == 0


@pytest.mark.integration
def test_what_an_open_transaction_hides_is_not_passed_over(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(100, 2))
    monkeypatch.setattr(topics, "PATIENCE", 1.0)
    with Writer(services, transactional_id=unique("open")) as writer:
        writer.begin()
        writer.send(topic.name, pa.array([b"unseen"]))
        writer.flush()
        broker = Broker(services.bootstrap_servers)
        with pytest.raises(topics.Hidden, match="a transaction may be open"):
            broker.read(topic.name)
        writer.abort()
        assert len(broker.read(topic.name)) == 100


@pytest.mark.integration
def test_the_command_says_it_in_words_and_exit_code(
    trained: Topic, unique: Unique, capsys: pytest.CaptureFixture[str]
) -> None:
    services = trained.services
    where = ["--bootstrap-servers", services.bootstrap_servers]
    where += ["--registry", services.schema_registry_url, "--run", trained.run + "r"]
    assert (
        main([*where, "--weights-topic", trained.weights, "--dead-letters-topic", trained.dead])
        == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == "all is accounted for"
    nothing = unique("dead")
    assert main([*where, "--weights-topic", trained.weights, "--dead-letters-topic", nothing]) == 1
    lost = [line for line in capsys.readouterr().out.splitlines() if line.startswith("LOST: ")]
    assert len(lost) == 2 * len(POISON)
