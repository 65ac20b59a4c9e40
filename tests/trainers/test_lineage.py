"""Where weights come from: what a record says of its SQL and machine, and what the page makes of it."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from rich.console import Console

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import delete_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic, data
from tests.trainers.runs import chain_of, job_on, publish_forged
from trainers import origin
from trainers.chain import WeightsRecord
from trainers.job import Job
from trainers.lineage import Lineage, lineage, main, page
from trainers.loop import train
from trainers.machine import made_by

Unique = Callable[[str], str]
AWAY = Services("127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1")


def found(topic: Topic, run: str = "r", step: str = "") -> Lineage:
    return lineage(
        topic.services,
        topic.run + run,
        step,
        weights_topic=topic.weights,
        dead_letters_topic=topic.dead,
    )


def shown(what: Lineage, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(page(what))
    return console.export_text().splitlines()


def test_a_server_that_is_away_or_silent_is_waited_for_shortly() -> None:
    assert origin.Origin(AWAY, "t").sql() is None
    assert origin.statements(AWAY, "t") is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked = origin.Origin(replace(AWAY, ksql_url=url), "t")
        assert asked.sql() is None  # and not after the client's own five seconds
        assert asked._asking.took <= origin.SECONDS + 1


def test_a_machine_is_told_with_what_the_bits_depend_on() -> None:
    told = made_by("numpy")
    assert {"gradstream", "numpy", "numba", "python", "processor"} == told.keys()
    assert all(told.values())
    assert "torch" in made_by("torch")
    assert "exact" not in made_by("exact")


def test_records_of_older_versions_tell_neither_sql_nor_machine(record: WeightsRecord) -> None:
    row = {**record.to_row(), "created": datetime(2026, 1, 1)}
    for name in ("sql", "machine"):
        del row[name]
    assert WeightsRecord.from_row(row).machine is None


@pytest.fixture
def record() -> WeightsRecord:
    job = Job("t", "Y")
    return WeightsRecord(
        run="r", step=0, epoch=0, position=0, epochs=0, mode="bounded", model="linear",
        backend="numpy", device="cpu", dtype="float64", bias=True, target="Y", features=("A",),
        batch_size=1, learning_rate=0.1, seed=0, tensors={}, loss=None, records_trained=0,
        records_rejected=0, elapsed_us=0, records_since=0, timings_us={}, inputs=(), topic_id="",
        turn=0, commits={}, goal={}, configuration=job.configuration(("A",)), parent="",
        created=datetime(2026, 1, 1),
    )  # fmt: skip


@pytest.mark.integration
def test_the_sql_that_made_the_source(services: Services, unique: Unique) -> None:
    source, training = unique("source"), unique("training")
    statement = (
        f"CREATE STREAM {training} WITH (KAFKA_TOPIC='{training}', VALUE_FORMAT='AVRO') AS "
        f"SELECT X, Y FROM {source} WHERE Y IS NOT NULL EMIT CHANGES;"
    )
    with KsqlClient(services.ksql_url) as ksql:
        ksql.execute(
            f"CREATE STREAM {source} (X DOUBLE, Y DOUBLE) WITH (KAFKA_TOPIC='{source}', "
            "VALUE_FORMAT='DELIMITED', PARTITIONS=1);"
            "SET 'auto.offset.reset'='earliest';" + statement
        )
        (made,) = writers(ksql, training)
        send(services, source, 600)
        topic = Topic(services, unique, 1)
        job = job_on(topic, "r", mode="live", publish_steps=1, max_steps=2, batch_size=100)
        job = replace(job, source=training, max_seconds=60.0, max_wait=60.0)
        train(job, services)
        one = found(topic)
        assert one.sql == made["queryString"]
        assert one.sql_now == one.sql
        assert [r.sql is not None for r in chain_of(topic, "r")][:2] == [True, False]
        lines = shown(one, 80)
        sha256 = origin.sha256(one.sql) or "none"
        assert one.link.record.sql_sha256 == sha256
        assert any(line.startswith("sql ") and sha256 in line for line in lines)
        assert any("it is still what runs" in line for line in lines)
        ksql.execute(f"TERMINATE {made['id']};")
        gone = found(topic)
        assert (gone.sql, gone.sql_now) == (one.sql, None)
        assert any("no query that writes the topic runs now" in line for line in shown(gone, 80))
        # Another query writes the topic, and a second process notices.
        ksql.execute(f"INSERT INTO {training} SELECT X, Y * 2 AS Y FROM {source} EMIT CHANGES;")
        assert any("another runs now" in line for line in shown(found(topic), 80))
        train(replace(job, max_steps=3), services)
        assert "Y * 2" in (found(topic).sql or "")
        assert found(topic, step="1").sql == one.sql
        (inserts,) = writers(ksql, training)
        ksql.execute(f"TERMINATE {inserts['id']}; DROP STREAM {training}; DROP STREAM {source};")


def writers(ksql: KsqlClient, topic: str) -> list[dict[str, str]]:
    """The queries that write a topic."""
    (listed,) = ksql.execute("SHOW QUERIES;")
    return [query for query in listed["queries"] if topic in query["sinkKafkaTopics"]]


def send(services: Services, source: str, rows: int) -> None:
    with Writer(services) as writer:
        writer.send(source, pa.array([f"{i / rows},{i / 7}".encode() for i in range(rows)]))
        writer.flush()


@pytest.mark.integration
def test_records_partitions_settings_and_what_is_left_of_them(
    services: Services, unique: Unique
) -> None:
    topic = Topic(services, unique, 2, partitions=2)
    X, y = data(1000, 2)
    topic.send(X, y, 0, {300: b"", 301: None})
    topic.send(X, y, 1)
    train(job_on(topic, "r", publish_steps=2, max_steps=4), services)
    train(job_on(topic, "r", publish_steps=2, learning_rate=0.5, standardise=False), services)
    first, second, limit, changed, *_ = chain_of(topic, "r")
    assert found(topic, step="4").link.sha256 == limit.sha256  # the last of that step
    one = found(topic, step=second.sha256[:12])
    assert one.link.sha256 == second.sha256
    assert one.parent is not None
    assert one.parent.sha256 == first.sha256
    assert [(c.partition, c.start, c.end, c.records, c.letters, c.held) for c in one.covered] == [
        (0, 256, 514, 256, 2, "all"),
        (1, 256, 512, 256, 0, "all"),
    ]
    assert (one.changed, one.missing_parent, one.beside) == ({}, "", 0)
    assert one.fields is not None
    assert one.fields["X1"] == "double"
    assert one.link.record.machine is None
    assert one.machine == made_by("numpy")
    by_hash = found(topic, step=changed.sha256[:9])
    assert by_hash.changed == {"learning_rate": (0.01, 0.5)}
    assert any("unlike the parent: learning_rate was 0.01" in line for line in shown(by_hash, 80))
    for width in (80, 160):
        for what in (one, by_hash):
            lines = shown(what, width)
            assert max(map(len, lines)) <= width
            assert lines[0].startswith(f"run {topic.run}r, step ")
            assert any(line.startswith("hash ") and what.link.sha256 in line for line in lines)
    admin = AdminClient({"bootstrap.servers": services.bootstrap_servers})
    cut = [TopicPartition(topic.name, 0, 400), TopicPartition(topic.name, 1, 900)]
    for removed in admin.delete_records(cut).values():
        removed.result()
    assert [c.held for c in found(topic, step=second.sha256[:12]).covered] == ["from 400", "gone"]
    delete_topics(services, [topic.name])
    lost = found(topic, step=second.sha256[:12])
    assert lost.topic_id_now is None
    assert any("which is gone" in line for line in shown(lost, 80))


@pytest.mark.integration
def test_how_a_record_is_named(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(2000, 2))
    train(job_on(topic, "r", publish_steps=2), services)
    chain = chain_of(topic, "r")
    assert found(topic).link.sha256 == chain[-1].sha256
    for wrong, near in (("5", "2, 4, 6, 8"), ("beef", "2 to 8"), ("zz", "2 to 8")):
        with pytest.raises(GradstreamError, match="UNKNOWN_STEP") as error:
            found(topic, step=wrong)
        assert near in error.value.message
    with pytest.raises(GradstreamError, match=f"UNKNOWN_RUN.*did you mean '{topic.run}r'"):
        found(topic, "s")
    # A fork is told, and a chain whose beginning is gone.
    publish_forged(topic, replace(chain[1], records_trained=1, step=5))
    assert found(topic).beside == 1
    assert found(topic).records == len(chain) + 1
    publish_forged(topic, replace(chain[2], run=topic.run + "orphan"))
    orphan = found(topic, "orphan")
    assert orphan.missing_parent == chain[1].sha256
    assert any("broken: 1 record back to step 6" in line for line in shown(orphan, 80))


@pytest.mark.integration
def test_scripts_get_everything(
    services: Services, unique: Unique, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(2000, 2), poison={3: b""})
    train(job_on(topic, "r", epochs=2, publish_steps=5), services)
    chain = chain_of(topic, "r")
    flags = ["--weights-topic", topic.weights, "--dead-letters-topic", topic.dead]
    flags += ["--bootstrap-servers", services.bootstrap_servers]
    flags += ["--schema-registry-url", services.schema_registry_url]
    assert main([topic.run + "r", "--json", *flags, "--ksql-url", AWAY.ksql_url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sha256"] == chain[-1].sha256
    assert told["parent_step"] == chain[-2].step
    assert told["chain"]["length"] == len(chain)
    assert told["chain"]["unbroken"]
    assert told["partitions"][0]["dead_letters"] == 1
    assert told["configuration"]["epochs"] == 2
    assert told["machine"] == made_by("numpy")
    assert told["sql"] is None
    with closing(Registry(services.schema_registry_url)) as registry:
        assert told["schema_id"] == registry.latest(f"{topic.name}-value")[0]
    assert main([topic.run + "r", *flags]) == 0
    page_ = capsys.readouterr().out
    assert "epoch 2 of 2: 2 epochs" in page_
    assert "not known" in page_
