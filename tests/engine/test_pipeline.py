"""Decode, evaluate, encode without Kafka: what becomes of rows that fail at each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from gradstream.engine.qtt import Record, as_records
from gradstream.engine.rows.pipeline import Output, Pipeline
from gradstream.engine.rows.processing_log import Logger
from tests.engine.planned import started


def pipeline(source: str, query: str, include_rows: bool = False) -> Pipeline:
    action = started(source + query)
    assert action.sink is not None
    return Pipeline(action.query, action.sink, None, Logger("Q_1", include_rows))


def run(made: Pipeline, *values: str | None) -> Output:
    records = [Record(None, value and value.encode(), 7, []) for value in values]
    return made.run(as_records("s", records))


def messages(output: Output) -> list[dict[str, Any]]:
    return [orjson.loads(entry)["message"] for entry in output.log]


SOURCE = "CREATE STREAM S (A INT, B STRING) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='DELIMITED', PARTITIONS=1);"


def test_each_output_knows_its_record() -> None:
    output = run(
        pipeline(SOURCE, "CREATE STREAM C AS SELECT * FROM S WHERE A > 1;"), "1,a", "2,b", "3,c"
    )
    assert output.values.to_pylist() == [b"2,b", b"3,c"]
    assert output.rows.tolist() == [1, 2]
    assert output.timestamps.tolist() == [7, 7]
    assert output.keys.null_count == 2
    assert output.log == []


def test_rows_that_cannot_be_read_or_evaluated_are_logged_and_the_rest_goes_on() -> None:
    made = pipeline(SOURCE, "CREATE STREAM C AS SELECT 6 / A AS Q, B FROM S;")
    output = run(made, "2,a", "secret,b", "0,c", "1", "3,d")
    assert output.values.to_pylist() == [b"3,a", b",c", b"2,d"]
    unreadable = [of["deserializationError"] for of in messages(output) if of["type"] == 0]
    assert [(of["topic"], of["partition"], of["offset"]) for of in unreadable] == [
        ("s", 0, 1),
        ("s", 0, 3),
    ]
    (failed,) = [of["recordProcessingError"] for of in messages(output) if of["type"] == 1]
    assert failed["offset"] == 2
    assert b"secret" not in b"".join(output.log)


def test_messages_of_failed_expressions_hold_no_value() -> None:
    query = "CREATE STREAM C AS SELECT A, CAST(B AS INT) AS N, PARSE_DATE(B, 'yyyy') AS D FROM S;"
    output = run(pipeline(SOURCE, query), "1,secret", "2,it's secret")
    assert len(output.log) >= 2
    assert b"secret" not in b"".join(output.log)
    assert b"secret" in b"".join(run(pipeline(SOURCE, query, include_rows=True), "1,secret").log)


def test_payloads_are_logged_only_where_asked_for() -> None:
    output = run(
        pipeline(SOURCE, "CREATE STREAM C AS SELECT A FROM S;", include_rows=True), "secret,b"
    )
    assert messages(output)[0]["deserializationError"]["recordB64"] == "c2VjcmV0LGI="


def test_a_row_that_cannot_be_written_is_logged_and_the_rest_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = pipeline(SOURCE, "CREATE STREAM C AS SELECT A, B FROM S;")
    encode = made.values.encode

    def refuses_two(
        batch: pa.RecordBatch, null_rows: np.ndarray[Any, Any] | None = None
    ) -> pa.BinaryArray:
        if 2 in batch.column(0).to_pylist():
            raise OverflowError("no room")
        return encode(batch, null_rows)

    monkeypatch.setattr(made.values, "encode", refuses_two)
    output = run(made, "1,a", "2,b", "3,c")
    assert output.values.to_pylist() == [b"1,a", b"3,c"]
    assert output.rows.tolist() == [0, 2]
    assert messages(output)[0]["serializationError"]["offset"] == 1


def test_event_time_is_the_columns_and_rows_without_one_are_dropped() -> None:
    source = (
        "CREATE STREAM S (A INT, T STRING) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='DELIMITED', PARTITIONS=1, "
        "TIMESTAMP='T', TIMESTAMP_FORMAT='yyyy-MM-dd');"
    )
    output = run(
        pipeline(source, "CREATE STREAM C AS SELECT A FROM S;"), "1,1970-01-02", "2,never", "3,"
    )
    assert output.values.to_pylist() == [b"1"]
    assert output.timestamps.tolist() == [86_400_000]
    assert [of["recordProcessingError"]["offset"] for of in messages(output)] == [1, 2]


def test_null_values_pass_through_a_projection_and_stop_at_a_filter() -> None:
    kept = run(pipeline(SOURCE, "CREATE STREAM C AS SELECT A FROM S;"), "1,a", None)
    assert kept.values.to_pylist() == [b"1", None]
    dropped = run(pipeline(SOURCE, "CREATE STREAM C AS SELECT A FROM S WHERE A > 0;"), "1,a", None)
    assert dropped.values.to_pylist() == [b"1"]
