"""Tables that are looked up in: what is kept of them between two questions, on a real broker."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.engine.catalog import Catalog, Source
from gradstream.engine.language import plan
from gradstream.engine.language.actions import CreateSource
from gradstream.engine.server import tables
from gradstream.engine.server.tables import Key, Tables
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import delete_topics, ensure_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.writer import Writer
from tests.engine.test_kept import BASE, put
from tests.engine.test_kills import EARLIEST as FROM_THE_FIRST

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]
Eventually = Callable[..., bool]
PLENTY = 1 << 30


def source_of(topic: str, more: str = "") -> Source:
    (statement,) = plan.parse(
        f"CREATE SOURCE TABLE T (K STRING PRIMARY KEY, V INT) WITH (KAFKA_TOPIC='{topic}', KEY_FORMAT='KAFKA', "
        f"VALUE_FORMAT='JSON', PARTITIONS=3{more});"
    )
    action = plan.plan_statement(statement, Catalog(), {})
    assert isinstance(action, CreateSource)
    return action.source


def written(services: Services, topic: str, *rows: tuple[bytes, int | None]) -> None:
    """(key, V) each, None for a tombstone."""
    values = [None if value is None else b'{"V":%d}' % value for _, value in rows]
    keys = pa.array([key for key, _ in rows], pa.binary())
    with Writer(services) as writer:
        writer.send(topic, pa.array(values, pa.binary()), keys)


def asked(
    kept: Tables, source: Source, keys: list[Key] | None = None, writer: Any = None
) -> dict[bytes, int]:
    """V by the bytes of the key."""
    found = kept.records(source, writer, keys, lambda: False)
    pairs = [
        pair
        for records in found
        for pair in zip(records.key.to_pylist(), records.value.to_pylist(), strict=True)
    ]
    assert len(dict(pairs)) == len(pairs)
    return {key: json.loads(value)["V"] for key, value in pairs}


@pytest.fixture
def topic(services: Services, unique: Unique) -> Iterator[str]:
    name = unique("looked_up")
    ensure_topics(services, {name: 3})
    yield name
    delete_topics(services, [name])


@pytest.fixture
def kept(services: Services) -> Iterator[Tables]:
    made = Tables(services, None, PLENTY)
    yield made
    made.close()


def test_what_comes_is_read_and_what_was_read_is_kept(
    services: Services, topic: str, kept: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    own = open_log_reader

    def noted(*of: Any, **named: Any) -> Any:
        opened.append(of)
        return own(*of, **named)

    monkeypatch.setattr(tables, "open_log_reader", noted)
    source = source_of(topic)
    assert asked(kept, source) == {}
    written(services, topic, *((b"k%d" % n, n) for n in range(50)))
    assert asked(kept, source) == {b"k%d" % n: n for n in range(50)}
    written(services, topic, (b"k1", 100), (b"k2", None), (b"k3", None), (b"k3", 300), (b"new", 1))
    assert asked(kept, source, [("k1",), ("k2",), ("k3",), ("new",), ("nobody",)]) == {
        b"k1": 100,
        b"k3": 300,
        b"new": 1,
    }
    assert len(asked(kept, source)) == 50
    assert len(opened) == 1


def test_rows_come_by_partition_and_key(services: Services, topic: str, kept: Tables) -> None:
    written(services, topic, *((b"k%03d" % (n * 7 % 100), n) for n in range(100)))
    (records,) = kept.records(source_of(topic), None, None, lambda: False)
    order = list(zip(records.partition.tolist(), records.key.to_pylist(), strict=True))
    assert order == sorted(order)
    assert len({partition for partition, _ in order}) == 3


def test_a_key_is_found_in_all_its_windows(services: Services, topic: str, kept: Tables) -> None:
    source = source_of(topic, ", WINDOW_TYPE='TUMBLING', WINDOW_SIZE='10 SECONDS'")
    of = [(key + struct.pack(">q", start), start) for key in (b"a", b"b") for start in (0, 10_000)]
    written(services, topic, *of)
    assert asked(kept, source, [("a",)]) == dict(of[:2])
    assert asked(kept, source) == dict(of)


def test_tables_that_are_too_large_are_answered_and_forgotten(
    services: Services, topic: str
) -> None:
    kept, source = Tables(services, None, 1000), source_of(topic)
    written(services, topic, (b"a", 1))
    assert asked(kept, source) == {b"a": 1}
    (table,) = kept._tables.values()
    assert 600 < table.size < 1000
    written(services, topic, (b"b", 2), (b"c", 3))
    for _ in range(2):
        assert asked(kept, source, [("b",)]) == {b"b": 2}
        assert not kept._tables
    assert table.size == 0
    kept.close()


def test_a_topic_that_is_made_again_is_another_table(
    services: Services, topic: str, kept: Tables
) -> None:
    source = source_of(topic)
    written(services, topic, (b"a", 1), (b"b", 2))
    assert len(asked(kept, source)) == 2
    delete_topics(services, [topic])
    ensure_topics(services, {topic: 3})
    written(services, topic, (b"c", 3))
    kept.forget(topic)
    assert asked(kept, source) == {b"c": 3}


def test_the_broker_is_asked_only_where_something_may_have_come(
    services: Services, topic: str, kept: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, writer = source_of(topic), cast(Any, SimpleNamespace(phase="idle", settled=1))
    written(services, topic, (b"a", 1))
    assert asked(kept, source, writer=writer) == {b"a": 1}
    with monkeypatch.context() as patch:
        patch.delattr(tables, "end_offsets")
        assert asked(kept, source, writer=writer) == {b"a": 1}
    written(services, topic, (b"a", 2))
    writer.settled += 1
    assert asked(kept, source, writer=writer) == {b"a": 2}
    written(services, topic, (b"a", 3))
    writer.phase = "computing"
    assert asked(kept, source, writer=writer) == {b"a": 3}
    written(services, topic, (b"a", 4))
    writer.phase = "idle"
    kept.distrust(topic)
    assert asked(kept, source, writer=writer) == {b"a": 4}


def test_a_transaction_that_stays_open_is_no_part_of_the_answer(
    services: Services, topic: str, kept: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PATIENCE", 0.3)
    source = source_of(topic)
    written(services, topic, (b"a", 1))
    with Writer(services, transactional_id=topic) as writer:
        writer.begin()
        writer.send(topic, pa.array([b'{"V":2}'], pa.binary()), pa.array([b"a"], pa.binary()))
        writer.flush()
        assert asked(kept, source) == {b"a": 1}
        writer.commit({}, None)
    assert asked(kept, source) == {b"a": 2}


def rows(client: KsqlClient, text: str) -> list[list[Any]]:
    with client.query(text, FROM_THE_FIRST, idle_timeout=30) as found:
        return list(found)


def test_what_is_looked_up_is_what_was_committed_also_by_a_dead_engine(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    source, table, windows = (unique(kind).upper() for kind in ("S", "T", "W"))
    engine.client.execute(
        f"CREATE STREAM {source} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{source}', FORMAT='JSON', PARTITIONS=3);"
        f"CREATE TABLE {table} AS SELECT K, COUNT(*) AS N FROM {source} GROUP BY K;"
        f"CREATE TABLE {windows} AS SELECT K, COUNT(*) AS N FROM {source} WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY K;",
        FROM_THE_FIRST,
    )
    find, many = f"SELECT N FROM {table} WHERE K = 'k1';", 5
    seen = 0
    for turn in range(1, many + 1):
        put(services, source, *((f'"k{n}"', {"V": n}, 1000 * turn) for n in range(20)))
        while seen < turn:
            counts = [count for (count,) in rows(engine.client, find)]
            assert len(counts) <= 1
            assert seen <= max(counts, default=0) <= turn, "what has been seen is never taken back"
            seen = max(counts, default=0)
    everything = f"SELECT * FROM {table};"
    assert eventually(lambda: rows(engine.client, everything).count(["k7", many]) == 1)
    put(services, source, ('"k1"', {"V": 0}, 25_000))
    of_windows = f"SELECT WINDOWSTART, N FROM {windows} WHERE K = 'k1'"
    both = [[BASE, many], [BASE + 20_000, 1]]
    assert eventually(lambda: sorted(rows(engine.client, f"{of_windows};")) == both)
    engine.kill()
    engine.start()
    assert sorted(rows(engine.client, f"{of_windows};")) == both
    assert rows(engine.client, f"{of_windows} AND WINDOWSTART > {BASE};") == both[1:]
    assert rows(engine.client, f"{of_windows} AND WINDOWEND <= {BASE + 10_000};") == both[:1]
    several = f"SELECT N FROM {table} WHERE K IN ('k1', 'k2', 'x');"
    assert eventually(lambda: sorted(rows(engine.client, several)) == [[many], [many + 1]])
    engine.client.execute(f"DROP TABLE {table} DELETE TOPIC;")
    engine.client.execute(
        f"CREATE TABLE {table} AS SELECT K, COUNT(*) AS N FROM {source} WHERE V > 100 GROUP BY K;"
    )
    assert rows(engine.client, everything) == []


def test_a_push_query_that_keeps_too_much_says_what_to_do(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine("--limit", "kept=50000")
    source = unique("S").upper()
    engine.client.execute(
        f"CREATE STREAM {source} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{source}', FORMAT='JSON', PARTITIONS=1);"
    )
    put(services, source, *((f'"k{n}"', {"V": n}, 0) for n in range(1000)))
    text = f"SELECT V, COUNT(*) AS N FROM {source} GROUP BY V EMIT CHANGES LIMIT 1000;"
    with pytest.raises(Exception, match=r"STATE_TOO_LARGE.*--limit kept=BYTES"):
        rows(engine.client, text)
    few = f"SELECT V % 7 AS K, COUNT(*) AS N FROM {source} GROUP BY V % 7 EMIT CHANGES LIMIT 1000;"
    assert len(rows(engine.client, few)) == 1000
