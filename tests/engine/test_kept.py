"""Queries that keep something, on a real broker: whatever dies when, each row counts once, and time does not go back."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from faults.raw import RawTopic, fate
from gradstream.config import Services
from gradstream.failpoints import PHASES
from gradstream.shell.client import RefusedStatementError
from gradstream.wire.kafka import end_offsets, list_topics, topic_config
from gradstream.wire.reader import EARLIEST, open_log_reader, open_reader
from gradstream.wire.writer import Writer
from tests.engine.test_kills import EARLIEST as FROM_THE_FIRST
from tests.engine.test_kills import OF_TRAINERS

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]
Eventually = Callable[..., bool]
# The broker removes records of long ago; a window of ten seconds begins here.
BASE = int(time.time() - 3600) // 10 * 10_000


def committed(services: Services, topic: str) -> list[tuple[bytes | None, Any]]:
    """Keys and JSON values of what a reader of committed records sees, in the order of each partition."""
    ends = end_offsets(services, topic)
    found: list[tuple[bytes | None, Any]] = []
    with open_log_reader(services, dict.fromkeys(ends, EARLIEST)) as reader:
        deadline = time.monotonic() + 60
        while any(reader.position().get(at, 0) < end for at, end in ends.items()):
            assert time.monotonic() < deadline
            records = reader.fetch(50_000, 0.1)
            values = [None if of is None else json.loads(of) for of in records.value.to_pylist()]
            found += zip(records.key.to_pylist(), values, strict=True)
    return found


def put(services: Services, topic: str, *rows: tuple[str, Any, int]) -> None:
    """(key, value, milliseconds since BASE) each."""
    with Writer(services) as writer:
        writer.send(
            topic,
            pa.array([json.dumps(value).encode() for _, value, _ in rows], pa.binary()),
            pa.array([key.encode() for key, _, _ in rows], pa.binary()),
            np.array([BASE + at for _, _, at in rows], np.int64),
        )


def made(engine: Any, statements: str) -> str:
    """Runs them; the id of the last query."""
    entities = engine.client.execute(statements, FROM_THE_FIRST)
    return str(entities[-1]["commandStatus"]["queryId"])


def counted(engine: Any, raw: RawTopic, sink: str) -> str:
    """A table that counts the rows of a topic by the rest of their numbers; the query's group."""
    query = made(
        engine,
        f"{raw.statement('').split(';')[0]};"
        f"CREATE TABLE {sink} WITH (KAFKA_TOPIC='{sink}', KEY_FORMAT='JSON', VALUE_FORMAT='JSON') AS SELECT ID % 7 AS K, "
        f"COUNT(*) AS N, SUM(ID) AS S, MIN(ID) AS E FROM {raw.name} GROUP BY ID % 7;",
    )
    return f"_confluent-ksql-{engine.service_id}query_{query}"


def assert_each_counted(services: Services, raw: RawTopic, sink: str) -> None:
    """One line of the table for each row, in steps of one, and the right result at the end."""
    numbers: dict[bytes | None, list[Any]] = defaultdict(list)
    for key, value in committed(services, sink):
        numbers[key].append(value)
    assert len(numbers) == 7
    good = [number for number in range(raw.sent) if fate(number) != "logged"]
    for key, values in numbers.items():
        mine = [number for number in good if number % 7 == json.loads(key or b"")]
        assert [value["N"] for value in values] == list(range(1, len(mine) + 1))
        assert (values[-1]["S"], values[-1]["E"]) == (sum(mine), min(mine))


def test_killed_at_every_phase_a_count_counts_each_row_once(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine()
    raw, sink = RawTopic(services, unique("RAW").upper(), 3), unique("N").upper()
    group = counted(engine, raw, sink)
    engine.kill()
    with raw.feeding(rows=50):
        for phase in PHASES:
            if phase not in OF_TRAINERS:
                engine.dies_at(f"{phase}:2")
    engine.start()
    assert raw.settled(group), engine.client.execute("SHOW QUERIES;")
    assert_each_counted(services, raw, sink)
    changelog = f"{group}-Aggregate-Aggregate-Materialize-changelog"
    assert topic_config(services, changelog)["cleanup.policy"] == "compact"
    engine.client.execute(f"DROP TABLE {sink};")
    assert not [topic for topic in list_topics(services) if topic.startswith(group)]


def test_grace_and_windows_not_shown_yet_outlive_an_engine(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    source, sink = unique("S").upper(), unique("W").upper()
    made(
        engine,
        f"CREATE STREAM {source} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{source}', FORMAT='JSON', PARTITIONS=2);"
        f"CREATE TABLE {sink} WITH (KAFKA_TOPIC='{sink}') AS SELECT K, SUM(V) AS S FROM {source} "
        "WINDOW TUMBLING (SIZE 10 SECONDS, GRACE PERIOD 5 SECONDS) GROUP BY K EMIT FINAL;",
    )
    rows = [('"a"', {"V": 1}, 1_000), ('"b"', {"V": 2}, 2_000), ('"a"', {"V": 4}, 12_000)]
    for row in rows:
        put(services, source, row)
        offset = sum(end_offsets(services, source).values())
        assert eventually(lambda offset=offset: consumed(engine, sink) == offset)
        engine.kill()
        engine.start()
    assert committed(services, sink) == []
    # "a" and "c" are in one partition, "b" and "e" in the other, and each has a time of its own.
    put(services, source, ('"b"', {"V": 8}, 3_000), ('"a"', {"V": 16}, 15_000))
    assert eventually(lambda: finals(services, sink) == [(b'"a"', 1)])
    engine.kill()
    engine.start()
    put(services, source, ('"b"', {"V": 32}, 4_000), ('"e"', {"V": 1}, 15_000))
    assert eventually(lambda: finals(services, sink) == [(b'"a"', 1), (b'"b"', 42)])
    engine.kill()
    engine.start()
    put(services, source, ('"b"', {"V": 64}, 5_000), ('"c"', {"V": 1}, 15_100))  # late; on time
    offset = sum(end_offsets(services, source).values())
    assert eventually(lambda: consumed(engine, sink) == offset)
    assert len(committed(services, sink)) == 2


def finals(services: Services, sink: str) -> list[tuple[bytes, int]]:
    """Keys without their windows, and sums."""
    return sorted((key[:3], value["S"]) for key, value in committed(services, sink) if key)


def test_all_windows_of_a_key_are_in_the_partition_of_the_key(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    source, sink, plain = (unique(name).upper() for name in "SWP")
    made(
        engine,
        f"CREATE STREAM {source} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{source}', FORMAT='JSON', PARTITIONS=5);"
        f"CREATE TABLE {sink} WITH (KAFKA_TOPIC='{sink}') AS SELECT K, SUM(V) AS S FROM {source} "
        "WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY K;"
        f"CREATE STREAM {plain} WITH (KAFKA_TOPIC='{plain}') AS SELECT * FROM {source};",
    )
    keys = [f'"k{n}"' for n in range(10)]
    put(services, source, *((key, {"V": 1}, 1000 * at) for at in range(6) for key in keys))
    assert eventually(lambda: len(committed(services, sink)) == 60)
    assert eventually(lambda: len(committed(services, plain)) == 60)
    places = {topic: set[tuple[bytes, int]]() for topic in (sink, plain)}
    with open_log_reader(services, dict.fromkeys(end_offsets(services, sink), EARLIEST) | dict.fromkeys(end_offsets(services, plain), EARLIEST)) as reader:  # fmt: skip
        deadline, seen = time.monotonic() + 30, 0
        while seen < 120:
            assert time.monotonic() < deadline
            records = reader.fetch(1000, 0.1)
            seen += len(records)
            for row, key in enumerate(records.key.to_pylist()):
                topic = records.topics[records.topic[row]]
                places[topic].add((key[:4], int(records.partition[row])))
    assert len(places[plain]) == 10
    assert places[sink] == places[plain]


def consumed(engine: Any, sink: str) -> int:
    """How many records the sink's query has committed as read, over all its topics and partitions."""
    (described,) = engine.client.execute(f"DESCRIBE {sink} EXTENDED;")
    (summary,) = described["sourceDescription"]["queryOffsetSummaries"]
    return sum(
        of["consumerOffset"] for topic in summary["topicSummaries"] for of in topic["offsets"]
    )


def test_a_backlog_is_joined_as_it_happened(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    users, views, sink = unique("U").upper(), unique("V").upper(), unique("J").upper()
    engine.client.execute(
        f"CREATE TABLE {users} (K STRING PRIMARY KEY, CITY INT) WITH (KAFKA_TOPIC='{users}', FORMAT='JSON', PARTITIONS=3);"
        f"CREATE STREAM {views} (K STRING KEY, N INT) WITH (KAFKA_TOPIC='{views}', FORMAT='JSON', PARTITIONS=3);"
    )
    count = 300
    keys = [f'"k{n % 20}"' for n in range(count)]
    put(services, views, *((keys[n], {"N": n}, 1000 * n + 500) for n in range(count)))
    put(services, users, *((keys[n], {"CITY": n}, 1000 * n) for n in range(count)))
    query = made(
        engine,
        f"CREATE STREAM {sink} WITH (KAFKA_TOPIC='{sink}') AS SELECT V.K AS K, N, CITY FROM {views} V "
        f"JOIN {users} U ON V.K = U.K;",
    )
    assert eventually(lambda: len(committed(services, sink)) == count)
    assert all(value["N"] == value["CITY"] for _, value in committed(services, sink))
    engine.kill()
    engine.start()
    put(services, views, ('"k0"', {"N": 1}, 10**6))
    assert eventually(lambda: len(committed(services, sink)) == count + 1)
    assert {"N": 1, "CITY": 280} in [value for _, value in committed(services, sink)]
    (listed,) = engine.client.execute("SHOW QUERIES;")
    assert [(of["id"], of["state"]) for of in listed["queries"]] == [(query, "RUNNING")]
    (explained,) = engine.client.execute(f"EXPLAIN {query};")
    assert "JOIN" in explained["queryDescription"]["executionPlan"]
    (described,) = engine.client.execute(f"DESCRIBE {users};")
    assert [of["id"] for of in described["sourceDescription"]["readQueries"]] == [query]
    changelog = (
        f"_confluent-ksql-{engine.service_id}query_{query}-KafkaTopic_Right-Reduce-changelog"
    )
    assert changelog in list_topics(services)
    engine.client.execute(f"TERMINATE {query};")
    assert changelog not in list_topics(services)


def test_after_others_had_its_partitions_a_query_goes_on_from_what_it_has_committed(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine()
    raw, sink = RawTopic(services, unique("RAW").upper(), 2), unique("N").upper()
    group = counted(engine, raw, sink)
    with raw.feeding(rows=50), open_reader(services, [raw.name], group) as other:
        deadline = time.monotonic() + 30
        while not other.assignment():
            other.fetch(1000, 0.1)
            assert time.monotonic() < deadline
    assert raw.settled(group)
    assert_each_counted(services, raw, sink)


def test_what_a_query_has_kept_means_nothing_to_another(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine()
    source, sink = unique("S").upper(), unique("T").upper()
    made(
        engine,
        f"CREATE STREAM {source} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{source}', FORMAT='JSON', PARTITIONS=1);"
        f"CREATE TABLE {sink} AS SELECT K, COUNT(*) AS N FROM {source} GROUP BY K;",
    )
    with pytest.raises(RefusedStatementError, match="cannot be replaced"):
        engine.client.execute(
            f"CREATE OR REPLACE TABLE {sink} AS SELECT K, COUNT(V) AS N FROM {source} GROUP BY K;"
        )
