"""Queries without an engine around them: what becomes of a transaction that fails while the next chunk is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from faults.raw import RawTopic
from gradstream.config import Services
from gradstream.engine.server import queries
from gradstream.engine.server.queries import CHUNK, PersistentQuery, Surroundings
from gradstream.wire import kafka
from gradstream.wire.reader import open_log_reader, open_reader
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.engine.planned import started

pytestmark = pytest.mark.integration
ROWS = 6 * CHUNK


@pytest.fixture
def registry(services: Services) -> Iterator[Registry]:
    with closing(Registry(services.schema_registry_url)) as made:
        yield made


def allow(services: Services, topic: str, size: int) -> None:
    """Let the broker take batches of so many bytes."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = kafka.admin(services)  # its answers end with it
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result(20)


def committed(services: Services, topic: str) -> list[int]:
    """The numbers in the first fields of all committed records."""
    found: list[int] = []
    ends = kafka.end_offsets(services, topic)
    with open_log_reader(services, dict.fromkeys(ends, 0)) as reader:
        while any(reader.position().get(at, 0) < end for at, end in ends.items()):
            values = reader.fetch(50_000, 0.1).value.to_pylist()
            found += [int((value or b"").split(b",")[0]) for value in values]
    return found


def test_a_sink_that_refuses_and_is_mended_has_each_row_once(
    services: Services,
    registry: Registry,
    unique: Callable[[str], str],
    eventually: Callable[..., bool],
) -> None:
    raw, made = unique("raw"), unique("made")
    kafka.ensure_topics(services, {raw: 2, made: 2, f"{made}_log": 1})
    allow(services, made, 2000)  # less than what gathers in a batch under load
    text = (
        f"CREATE STREAM R (ID BIGINT, NAME VARCHAR) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='DELIMITED');"
        f"CREATE STREAM M WITH (KAFKA_TOPIC='{made}') AS SELECT ID, NAME FROM R;"
    )
    with Writer(services) as writer:
        rows = np.arange(ROWS)
        values = pa.array([b"%d,name" % row for row in rows.tolist()], pa.binary())
        writer.send(raw, values, partitions=(rows % 2).astype(np.int32))
    around = Surroundings(services, registry, f"{made}_", f"{made}_log")
    query = PersistentQuery(
        started(text), around, start={}, reset="earliest", properties={}, fatal=lambda why: None
    )
    query.start()
    try:
        assert eventually(lambda: query.trouble is not None), query.failure
        assert committed(services, made) == []
        allow(services, made, 1_000_000)
        group = around.group(query.id)
        assert eventually(
            lambda: sum(kafka.committed_offsets(services, group, raw).values()) == ROWS, 90
        ), (query.state, query.failure, query.trouble)
    finally:
        query.stop()
        assert query.join(30)
    assert sorted(committed(services, made)) == list(range(ROWS))


def test_members_that_come_and_go_while_commits_are_under_way_repeat_nothing(
    services: Services,
    registry: Registry,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "COMMIT_SECONDS", 0.0)  # each chunk's commit is beside the next
    monkeypatch.setattr(queries, "CHUNK", 512)  # so that there are many, however late we are
    raw = RawTopic(services, unique("RAW").upper())
    made = unique("MADE").upper()
    kafka.ensure_topics(
        services, {raw.name: raw.partitions, made: raw.partitions, f"{made}_log": 1}
    )
    around = Surroundings(services, registry, f"{made}_", f"{made}_log")
    action = started(raw.statement(made))
    query = PersistentQuery(
        action, around, start={}, reset="earliest", properties={}, fatal=lambda why: None
    )
    group = around.group(query.id)
    query.start()
    try:
        with raw.feeding(rows=20_000):
            for _ in range(2):
                with open_reader(
                    services, [raw.name], group
                ) as other:  # takes some, commits nothing
                    deadline = time.monotonic() + 30
                    while not other.assignment():
                        other.fetch(1000, 0.1)
                        assert time.monotonic() < deadline
        assert raw.settled(group), (query.state, query.failure, query.trouble)
        assert query.counts.commits > 8
    finally:
        query.stop()
        assert query.join(30)
    assert raw.account(made, f"{made}_log").faults == []
