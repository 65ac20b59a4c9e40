"""VALUE_SCHEMA_ID and KEY_SCHEMA_ID: sources and sinks that are written with a schema somebody else registered."""

from __future__ import annotations

from typing import Any

import pytest

from gradstream.engine import qtt

SOURCE = "CREATE STREAM orders (`id` INT KEY, `n` INT, `who` STRUCT<`name` STRING, `age` INT>) WITH (KAFKA_TOPIC='orders', VALUE_FORMAT='JSON');"
COPY = (
    "CREATE STREAM copies WITH (VALUE_FORMAT='AVRO', VALUE_SCHEMA_ID=77) AS SELECT * FROM orders;"
)


def record(*fields: dict[str, Any], name: str = "Order") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


WHO = record(
    {"name": "name", "type": ["null", "string"]},
    {"name": "age", "type": ["null", "int"]},
    name="Who",
)
N = {"name": "n", "type": ["null", "int"]}
OPTIONAL_WHO = {"name": "who", "type": ["null", WHO], "default": None}


def case(schema: Any, value: Any, expected: Any = None, **more: Any) -> dict[str, Any]:
    made = {
        "id": "own",
        "statements": [SOURCE, COPY],
        "topics": [
            {"name": "COPIES", "valueFormat": "AVRO", "valueSchema": schema, "valueSchemaId": 77}
        ],
        "inputs": [{"topic": "orders", "key": 5, "value": value}],
        "outputs": [{"topic": "COPIES", "key": 5, "value": expected}],
    }
    return {**made, **more}


ROW = {"n": 3, "who": {"name": "Ada", "age": 7}}


@pytest.mark.parametrize(
    ("fields", "value", "expected"),
    [
        ([N, OPTIONAL_WHO], ROW, ROW),
        ([N, {"name": "more", "type": ["null", "string"], "default": None}, OPTIONAL_WHO], ROW, {**ROW, "more": None}),
        ([N, OPTIONAL_WHO, {"name": "more", "type": "string", "default": "x"}], ROW, {**ROW, "more": "x"}),
        ([{"name": "n", "type": "int", "default": 9}, OPTIONAL_WHO], {"n": None, "who": None}, {"n": 9, "who": None}),
        ([N, OPTIONAL_WHO, {"name": "raw", "type": "bytes", "default": "a"}], ROW, {**ROW, "raw": "YQ=="}),
        ([N, OPTIONAL_WHO, {"name": "l", "type": {"type": "array", "items": "int"}, "default": [1, 2]}], ROW, {**ROW, "l": [1, 2]}),
        ([N, OPTIONAL_WHO, {"name": "m", "type": {"type": "map", "values": "int"}, "default": {"a": 1}}], ROW, {**ROW, "m": {"a": 1}}),
    ],
)  # fmt: skip
def test_a_sink_is_written_as_the_registered_schema_has_it(
    fields: Any, value: Any, expected: Any
) -> None:
    assert qtt.judge(case(record(*fields), value, expected)) is None


def test_defaults_stand_in_records_within_the_record() -> None:
    who = record({"name": "name", "type": "string", "default": "nobody"}, {"name": "age", "type": "int", "default": -1}, name="Who")  # fmt: skip
    schema = record(N, {"name": "who", "type": who})
    assert (
        qtt.judge(
            case(schema, {"n": 1, "who": {"name": "A"}}, {"n": 1, "who": {"name": "A", "age": -1}})
        )
        is None
    )


def test_the_columns_of_the_sink_stay_those_of_the_query() -> None:
    schema = record(N, OPTIONAL_WHO, {"name": "more", "type": ["null", "int"], "default": None})
    columns = "`id` INT KEY, `n` INT, `who` STRUCT<`name` STRING, `age` INT>"
    post = {"sources": [{"name": "COPIES", "type": "stream", "schema": columns}]}
    assert qtt.judge(case(schema, ROW, {**ROW, "more": None}, post=post)) is None


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ([{"name": "n", "type": "string"}, OPTIONAL_WHO], "[`n` INTEGER]"),
        ([OPTIONAL_WHO], "[`n` INTEGER]"),
        ([OPTIONAL_WHO, N], "[`who` STRUCT<`name` STRING, `age` INTEGER>]"),
        ([N, {"name": "WHO", "type": WHO}], "[`who` STRUCT<`name` STRING, `age` INTEGER>]"),
    ],
)
def test_a_sink_that_does_not_fit_is_refused(fields: Any, listed: str) -> None:
    said = f"The following value columns are changed, missing or reordered: {listed}. Schema from schema registry is ["
    assert qtt.judge(case(record(*fields), ROW, expectedException={"message": said})) is None


def test_a_field_that_must_be_there_is_missed() -> None:
    schema = record(N, OPTIONAL_WHO, {"name": "more", "type": "int"})
    said = "Error serializing message to topic: COPIES. Missing default value for required Avro field: [more]."
    assert qtt.judge(case(schema, ROW, expectedException={"message": said})) is None


def test_a_source_with_a_schema_id_keeps_the_names_of_its_fields() -> None:
    taken = "CREATE STREAM taken (k INT KEY) WITH (KAFKA_TOPIC='taken', VALUE_FORMAT='AVRO', VALUE_SCHEMA_ID=77);"
    latest = "CREATE STREAM latest (k INT KEY) WITH (KAFKA_TOPIC='taken', VALUE_FORMAT='AVRO');"
    post = {
        "sources": [
            {"name": "TAKEN", "type": "stream", "schema": "K INT KEY, `n` INT, `who` STRUCT<`name` STRING, `age` INT>"},
            {"name": "LATEST", "type": "stream", "schema": "K INT KEY, N INT, WHO STRUCT<NAME STRING, AGE INT>"},
        ]
    }  # fmt: skip
    topics = [
        {
            "name": "taken",
            "valueFormat": "AVRO",
            "valueSchema": record(N, OPTIONAL_WHO),
            "valueSchemaId": 77,
        }
    ]
    made = {"id": "own", "statements": [taken, latest], "topics": topics, "post": post}
    assert qtt.judge(made) is None


def test_a_key_by_schema_id_must_have_its_type() -> None:
    topics = [{"name": "K", "keyFormat": "AVRO", "keySchema": "string", "keySchemaId": 5}]
    text = "CREATE STREAM k WITH (KEY_FORMAT='AVRO', KEY_SCHEMA_ID=5) AS SELECT * FROM orders;"
    said = "The following key columns are changed, missing or reordered: [`id` INTEGER KEY]."
    made = {
        "id": "own",
        "statements": [SOURCE, text],
        "topics": topics,
        "expectedException": {"message": said},
    }
    assert qtt.judge(made) is None
    fits = [{**topics[0], "keySchema": "int"}]
    assert qtt.judge({"id": "own", "statements": [SOURCE, text], "topics": fits}) is None


def test_a_schema_id_that_nobody_registered() -> None:
    made = {
        "id": "own",
        "statements": [SOURCE, COPY],
        "expectedException": {"message": "Schema Id: 77"},
    }
    assert qtt.judge(made) is None
