"""From a statement's source to the training topic: rows that went astray are found, and values that were not masked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

from faults.judge.path import Sql, check_path
from faults.judge.registry import Registry
from faults.judge.topics import Broker
from gradstream.config import Services
from gradstream.testing import Pipeline
from gradstream.wire import registry
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.writer import Writer
from tests.faults.test_judge import encoded
from tests.trainers.feed import Unique

pytestmark = pytest.mark.integration
COLUMNS = "ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE"
SOURCE = ["1,Hans-7,0.5,1.5", "2,Eva-12,0.25,", "3,Ute-3,junk,2", "4,Ida-4,1e-3,-7", "5,,2,3"]
STATEMENTS = """
CREATE STREAM raw (ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE)
  WITH (KAFKA_TOPIC='raw', VALUE_FORMAT='DELIMITED');
CREATE STREAM training WITH (KAFKA_TOPIC='training', VALUE_FORMAT='AVRO') AS
  SELECT {columns} FROM raw WHERE Y IS NOT NULL EMIT CHANGES;
"""


def judged(services: Services, sql: Sql, training: str) -> tuple[list[str], dict[str, int]]:
    faults: list[str] = []
    counted: dict[str, int] = {}
    check_path(
        sql,
        Broker(services.bootstrap_servers),
        Registry(services.schema_registry_url),
        training,
        faults,
        counted,
    )
    return faults, counted


@pytest.mark.parametrize(
    "columns", ["ID, MASK_LEFT(SENSOR, 2) AS SENSOR, X1, Y", "MASK(SENSOR) AS SENSOR, X1, Y"]
)
def test_what_the_engine_makes_is_accounted_for(services: Services, columns: str) -> None:
    with Pipeline(services) as pipeline:
        pipeline.produce("raw", SOURCE)
        pipeline.sql(STATEMENTS.format(columns=columns))
        sql = Sql(pipeline.topic("raw"), COLUMNS, filtered_by="Y", sensitive=("SENSOR",))
        faults, counted = judged(services, sql, pipeline.topic("training"))
    assert faults == []
    assert counted == {
        "rows of the source": 5,
        "rows without a target": 1,
        "unreadable rows": 1,
        "rows of the training topic": 3,
    }


def test_a_column_that_was_passed_on_as_it_is(services: Services) -> None:
    with Pipeline(services) as pipeline:
        pipeline.produce("raw", SOURCE)
        pipeline.sql(STATEMENTS.format(columns="SENSOR, X1, Y"))
        sql = Sql(pipeline.topic("raw"), COLUMNS, filtered_by="Y", sensitive=("SENSOR",))
        faults, _ = judged(services, sql, pipeline.topic("training"))
    assert {fault.partition(":")[0] for fault in faults} == {"UNMASKED"}
    assert not any(name in fault for fault in faults for name in ("Hans", "Ida"))


SCHEMA = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "ID", "type": "long"},
        {"name": "SENSOR", "type": ["null", "string"]},
        {"name": "Y", "type": "double"},
    ],
}
Arrived = list[dict[str, Any]]


def lost(rows: Arrived, log: list[int]) -> None:
    del rows[1]


def repeated(rows: Arrived, log: list[int]) -> None:
    rows.append(rows[1])


def not_filtered(rows: Arrived, log: list[int]) -> None:
    rows.append({"ID": 2, "SENSOR": "Xxx-nn", "Y": 0.0})


def not_logged(rows: Arrived, log: list[int]) -> None:
    log.clear()


def logged_twice(rows: Arrived, log: list[int]) -> None:
    log.append(2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lost, ["LOST"]),
        (repeated, ["REPEATED"]),
        (not_filtered, ["INVENTED"]),
        (not_logged, ["LOST"]),
        (logged_twice, ["REPEATED"]),
    ],
)
def test_a_row_that_went_astray(
    services: Services,
    unique: Unique,
    change: Callable[[Arrived, list[int]], None],
    words: list[str],
) -> None:
    rows = [{"ID": key, "SENSOR": "Xxxx-n", "Y": 1.5} for key in (1, 4, 5)]
    log = [2]
    change(rows, log)
    source, training, logged = unique("raw"), unique("training"), unique("log")
    with closing(registry.Registry(services.schema_registry_url)) as schemas:
        number = schemas.register(f"{training}-value", json.dumps(SCHEMA))
    entries = [{"message": {"e": {"topic": source, "partition": 0, "offset": at}}} for at in log]
    send(services, source, [row.encode() for row in SOURCE])
    send(services, training, [b"\0" + number.to_bytes(4, "big") + encoded(SCHEMA, r) for r in rows])
    send(services, logged, [json.dumps(entry).encode() for entry in entries])
    sql = Sql(source, COLUMNS, filtered_by="Y", sensitive=("SENSOR",), log=logged)
    faults, _ = judged(services, sql, training)
    assert [fault.partition(":")[0] for fault in faults] == words


def send(services: Services, topic: str, values: Sequence[bytes]) -> None:
    ensure_topics(services, {topic: 1})
    with Writer(services) as writer:
        writer.send(topic, pa.array(values, pa.binary()))
