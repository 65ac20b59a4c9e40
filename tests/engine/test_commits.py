"""When a query commits: its latency is decided here, and how often it costs the broker a transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.engine.server import queries
from gradstream.engine.server.runtime import Engine
from gradstream.engine.server.session import Session
from gradstream.wire.kafka import end_offsets
from gradstream.wire.writer import Writer

pytestmark = pytest.mark.integration
Eventually = Callable[..., bool]
Unique = Callable[[str], str]


@contextlib.contextmanager
def engine_of(services: Services, service_id: str) -> Iterator[Engine]:
    engine = Engine(services, service_id)
    engine.start("127.0.0.1:1")
    try:
        yield engine
    finally:
        engine.terminate([])
        engine.stop()
        engine.registry.close()


def put(services: Services, topic: str, count: int) -> None:
    with Writer(services) as writer:
        writer.send(topic, pa.array([b'{"A": %d}' % at for at in range(count)], pa.binary()))


def test_a_query_commits_when_its_source_has_no_more_at_hand(
    services: Services, unique: Unique, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "COMMIT_SECONDS", 3600.0)
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    with engine_of(services, f"{unique('commits')}_") as engine:
        Session(engine, {"auto.offset.reset": "earliest"}).execute(
            f"CREATE STREAM {raw} (A INT) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=1);"
            f"CREATE STREAM {made} AS SELECT A FROM {raw};"
        )
        (query,) = engine.queries.values()
        for more, sent in ((1, 1), (2, 3)):
            put(services, raw, more)
            wanted = [((raw, 0), 0, sent, sent)]
            assert eventually(lambda wanted=wanted: query.offsets() == wanted), query.trouble
        assert end_offsets(services, made, isolation="read_committed")[made, 0] >= 3
        assert query.counts.commits == 2
