"""Producing to a real broker: what was generated is what lies in the topic, and nothing is lost without a word."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError, UsageError
from gradstream.wire import kafka
from gradstream.wire.kafka import end_offsets, ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from producers.__main__ import main
from producers.fraud import FRAUD_SCHEMA, Fraud
from producers.pace import Pace, at_rate
from producers.regression import Regression
from producers.send import LARGEST, Interrupted, check_sizes, encoder, produce
from tests.crowd import in_time

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]


def landed(services: Services, topic: str) -> list[list[bytes]]:
    """All values of a topic, by partition, read with a client that is not ours."""
    ends = end_offsets(services, topic)
    values: list[list[bytes]] = [[] for _ in ends]
    consumer = Consumer(
        {
            "bootstrap.servers": services.bootstrap_servers,
            "group.id": f"{topic}-reader",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(len(ends))])
    deadline = time.monotonic() + 30
    while sum(map(len, values)) < sum(ends.values()) and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.5):
            assert message.error() is None
            values[message.partition()].append(message.value())
    consumer.close()
    return values


def in_order(values: list[list[bytes]]) -> list[bytes]:
    """Row i lies in partition i modulo their number."""
    rows = sum(map(len, values))
    return [values[row % len(values)][row // len(values)] for row in range(rows)]


def expected(batches: Iterator[pa.RecordBatch]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pa.Table.from_batches(list(batches)).to_pylist()
    return found


def test_delimited_rows_lie_in_the_topic_as_generated(services: Services, unique: Unique) -> None:
    topic = unique("produced")
    data = Regression("gaussian", rows=5000, features=3, empty_share=0.1)
    progress: list[int] = []
    sent = produce(services, topic, data.batches(), on_progress=progress.append)
    values = landed(services, topic)
    assert [len(part) for part in values] == [2500, 2500]
    assert sent.records == 5000
    assert sent.failed == sent.unconfirmed == 0
    assert sent.bytes == sum(len(value) for part in values for value in part)
    assert progress == sorted(progress)
    assert progress[-1] == 5000
    rows = csv.reader(io.StringIO("\n".join(value.decode() for value in in_order(values))))
    for row, wanted in zip(rows, expected(data.batches()), strict=True):
        assert [int(row[0]), row[1]] == [wanted["ID"], wanted["SENSOR"]]
        numbers = [float(text) if text else None for text in row[2:]]
        assert numbers == [wanted[name] for name in ("X1", "X2", "X3", "Y")]


def test_json_rows_lie_in_the_topic_as_generated(services: Services, unique: Unique) -> None:
    topic = unique("produced")
    produce(services, topic, Fraud(rows=500, empty_share=0.3).batches(), "JSON", partitions=3)
    values = landed(services, topic)
    assert len(values) == 3
    found = [json.loads(value) for value in in_order(values)]
    assert found == expected(Fraud(rows=500, empty_share=0.3).batches())


def test_avro_rows_lie_in_the_topic_as_generated(services: Services, unique: Unique) -> None:
    topic = unique("produced")
    data = Fraud(rows=700, empty_share=0.3)
    produce(services, topic, data.batches(), "AVRO")
    with contextlib.closing(Registry(services.schema_registry_url)) as registry:
        schema_id, _, text = registry.latest(f"{topic}-value")
    schema = fastavro.parse_schema(json.loads(text))
    found = []
    for value in in_order(landed(services, topic)):
        assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")
        stream = io.BytesIO(value[5:])
        found.append(fastavro.schemaless_reader(stream, schema, None))
        assert not stream.read()
    assert found == expected(data.batches())


def test_the_log_is_a_function_of_the_data(services: Services, unique: Unique) -> None:
    topics = [unique("produced"), unique("produced")]
    data = Regression(rows=3000)
    produce(services, topics[0], data.batches(), partitions=3)
    produce(
        services,
        topics[1],
        data.batches(chunk_rows=271),
        partitions=3,
        schedule=at_rate(1e5),
        pace=Pace(sleep=lambda seconds: None),
    )
    assert landed(services, topics[0]) == landed(services, topics[1])


def test_golden_data_comes_back_to_the_bit(services: Services, unique: Unique) -> None:
    topic = unique("golden")
    assert produce(services, topic, Regression().batches()).records == 10_000
    rows = [value.split(b",") for value in in_order(landed(services, topic))]
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    assert np.array_equal([float(row[2]) for row in rows], x)
    assert np.array_equal([float(row[3]) for row in rows], 3 + 2 * x + noise)


def test_a_topic_with_other_partitions_is_refused(services: Services, unique: Unique) -> None:
    topic = unique("produced")
    ensure_topics(services, {topic: 3})
    with pytest.raises(ConfigError, match=rf"PARTITIONS_DIFFER.*{topic} has 3 partitions, not 2"):
        produce(services, topic, Regression(rows=10).batches(), partitions=2)
    assert produce(services, topic, Regression(rows=10).batches()).records == 10
    with pytest.raises(UsageError, match="BAD_PARTITIONS"):
        produce(services, topic, Regression(rows=10).batches(), partitions=0)


@pytest.mark.parametrize("topic", ["a b", "", "ä", "x" * 250, "..", "a/b"])
def test_an_illegal_topic_is_refused(services: Services, topic: str) -> None:
    with pytest.raises(UsageError, match="BAD_TOPIC_NAME"):
        produce(services, topic, Regression(rows=10).batches())


def test_a_record_over_the_limit_shows_both_sizes() -> None:
    values = pa.array([b"x", b"y" * (LARGEST + 1)], pa.binary())
    with pytest.raises(DataError) as raised:
        check_sizes(values, 40)
    assert "record 41 " in raised.value.message
    assert f"{LARGEST + 1:,} bytes" in raised.value.message
    assert f"{LARGEST:,};" in raised.value.message


def test_the_largest_record_that_is_let_through_arrives(services: Services, unique: Unique) -> None:
    topic = unique("large")
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * LARGEST])], ["A"])
    sent = produce(services, topic, [batch], partitions=1)
    assert (sent.records, sent.bytes) == (1, LARGEST)


def test_records_that_the_broker_refuses_are_counted_and_shown(
    services: Services, unique: Unique, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = unique("small")
    ensure_topics(services, {topic: 1}, configs={"max.message.bytes": "100"})
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * 500])], ["A"])
    sent = produce(services, topic, [batch])
    assert (sent.records, sent.failed) == (0, 1)
    assert sent.first_failure
    assert "1 FAILED" in str(sent)
    flags = ["--topic", topic, "--rows", "1", "--data", "gaussian", "--features", "9"]
    assert main(["regression", *flags]) == 69
    assert "1 FAILED" in capsys.readouterr().err


def test_a_registry_that_is_down_stops_before_anything_is_sent(
    services: Services, unique: Unique
) -> None:
    topic = unique("produced")
    down = replace(services, schema_registry_url="http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="REGISTRY_UNREACHABLE"):
        produce(down, topic, Regression(rows=10).batches(), "AVRO")
    assert sum(end_offsets(services, topic).values()) == 0


def test_waiting_for_a_broker_asks_again_until_it_is_there(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    real = kafka.check_broker

    def late(found: Services, timeout: float = 8.0) -> None:
        asked.append(timeout)
        if len(asked) < 3:
            raise UnavailableError("BROKER_UNREACHABLE", "not yet")
        real(found, timeout)

    monkeypatch.setattr(kafka, "check_broker", late)
    with pytest.raises(UnavailableError, match="not yet"):
        produce(services, unique("late"), Regression(rows=10).batches())
    assert len(asked) == 1
    sent = produce(services, unique("late"), Regression(rows=10).batches(), wait=30)
    assert sent.records == 10


def test_an_interrupt_keeps_and_tells_what_was_sent(services: Services, unique: Unique) -> None:
    topic = unique("produced")

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield from Regression(rows=1000).batches()
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as raised:
        produce(services, topic, interrupted())
    assert raised.value.sent.records == 1000
    assert sum(end_offsets(services, topic).values()) == 1000


def test_an_interrupt_does_not_wait_for_a_broker_that_hangs(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def hangs(self: Writer, timeout: float = 30.0) -> None:
        waited.append(timeout)
        raise UnavailableError("FLUSH_TIMEOUT", "still on their way")

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield from Regression(rows=1000).batches()
        monkeypatch.setattr(Writer, "flush", hangs)
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as raised:
        produce(services, unique("produced"), interrupted())
    sent = raised.value.sent
    assert sent.records + sent.unconfirmed == 1000
    assert waited
    assert sum(waited) <= 1.5
    assert "unconfirmed" in str(replace(sent, unconfirmed=3))


def test_unknown_formats_are_refused(services: Services) -> None:
    with pytest.raises(UsageError, match="BAD_FORMAT"):
        encoder(services, "t", FRAUD_SCHEMA, "XML")  # type: ignore[arg-type]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
@pytest.mark.parametrize("pace", [[], ["--rate", "300"]], ids=["full speed", "paced"])
def test_ctrl_c_flushes_and_says_what_was_sent(
    services: Services, unique: Unique, signal_: int, pace: list[str]
) -> None:
    topic = unique("interrupted")
    ensure_topics(services, {topic: 2})
    flags = ["--data", "gaussian", "--rows", "endless", "--topic", topic, *pace]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradstream.cli", "produce", "regression", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
            "COLUMNS": "300",
        },
    )
    try:
        deadline = time.monotonic() + 60
        while sum(end_offsets(services, topic).values()) < 100 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal_)
        asked = time.monotonic()
        _, shown = process.communicate(timeout=10)
        took = time.monotonic() - asked
    finally:
        process.kill()
    assert process.returncode == 130, shown
    assert in_time(took, 2)
    told = re.search(r"stopped: sent ([\d,]+) records", shown)
    assert told, shown
    arrived = sum(end_offsets(services, topic).values())
    # The one record in whose call the signal came may be counted or not.
    counted = int(told[1].replace(",", ""))
    assert counted <= arrived
    assert arrived - counted <= 1 or "unconfirmed" in shown


def test_a_csv_file_reaches_the_topic(
    services: Services,
    unique: Unique,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    topic = unique("csv")
    path = tmp_path / "people.csv"
    path.write_text('name,age,ok\n"Meier, Anna",41,true\n,7,\n')
    assert main(["csv", str(path), "--topic", topic, "--partitions", "1"]) == 0
    shown = capsys.readouterr()
    assert "NAME VARCHAR, AGE INT, OK BOOLEAN" in shown.out
    assert f"sent 2 records (0.0 MB) to {topic}" in shown.err
    assert landed(services, topic) == [[b'"Meier, Anna",41,true', b",7,"]]
