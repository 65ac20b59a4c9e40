"""Avro schemas as ksqlDB derives them, and what it makes of other people's."""

from __future__ import annotations

from typing import Any

import fastavro
import pytest

from gradstream.engine.catalog import Column, Format, Source
from gradstream.engine.rows.avro_schemas import Unsupported, derive, key_name, sql_type
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    SqlType,
    Struct,
)

FULL = "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema"


def of(type_: SqlType) -> Any:
    """The non-null branch of the derived schema of a column V of that type."""
    (field,) = derive((Column("V", type_),))["fields"]
    assert field["name"] == "V"
    assert field["default"] is None
    null, branch = field["type"]
    assert null == "null"
    return branch


def test_a_record_of_columns() -> None:
    assert derive((Column("FOO", INTEGER), Column("bar", STRING))) == {
        "type": "record",
        "name": "KsqlDataSourceSchema",
        "namespace": "io.confluent.ksql.avro_schemas",
        "fields": [
            {"name": "FOO", "type": ["null", "int"], "default": None},
            {"name": "bar", "type": ["null", "string"], "default": None},
        ],
        "connect.name": FULL,
    }
    assert derive((Column("A", INTEGER),), "Mine")["name"] == "Mine"
    assert "namespace" not in derive((Column("A", INTEGER),), "Mine")


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (BOOLEAN, "boolean"),
        (INTEGER, "int"),
        (BIGINT, "long"),
        (DOUBLE, "double"),
        (STRING, "string"),
        (BYTES, "bytes"),
        (
            Decimal(6, 4),
            {
                "type": "bytes",
                "scale": 4,
                "precision": 6,
                "connect.version": 1,
                "connect.parameters": {"scale": "4", "connect.decimal.precision": "6"},
                "connect.name": "org.apache.kafka.connect.data.Decimal",
                "logicalType": "decimal",
            },
        ),
        (
            TIMESTAMP,
            {
                "type": "long",
                "connect.version": 1,
                "connect.name": "org.apache.kafka.connect.data.Timestamp",
                "logicalType": "timestamp-millis",
            },
        ),
        (Array(STRING), {"type": "array", "items": ["null", "string"]}),
        (
            Map(STRING, INTEGER),
            {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "KsqlDataSourceSchema_V",
                    "fields": [
                        {"name": "key", "type": ["null", "string"], "default": None},
                        {"name": "value", "type": ["null", "int"], "default": None},
                    ],
                    "connect.internal.type": "MapEntry",
                },
                "connect.name": f"{FULL}_V",
            },
        ),
        (
            Struct((("F1", INTEGER),)),
            {
                "type": "record",
                "name": "KsqlDataSourceSchema_V",
                "fields": [{"name": "F1", "type": ["null", "int"], "default": None}],
                "connect.name": f"{FULL}_V",
            },
        ),
    ],
    ids=str,
)
def test_types(type_: SqlType, expected: Any) -> None:
    assert of(type_) == expected


def test_names_of_nested_records() -> None:
    inner = of(Map(STRING, Struct((("A", Struct((("B", INTEGER),))),))))
    value = inner["items"]["fields"][1]["type"][1]
    assert value["connect.name"] == f"{FULL}_V_MapValue"
    assert value["fields"][0]["type"][1]["connect.name"] == f"{FULL}_V_MapValue_A"
    assert of(Array(Struct((("A", INTEGER),))))["items"][1]["connect.name"] == f"{FULL}_V"


def test_a_bare_value_is_not_nullable() -> None:
    assert derive((Column("V", INTEGER),), wrapped=False) == "int"
    assert derive((Column("V", DATE),), wrapped=False)["logicalType"] == "date"
    struct = derive((Column("V", Struct((("F1", STRING),))),), "a.b.OutputKey", wrapped=False)
    assert struct == {
        "type": "record",
        "name": "OutputKey",
        "namespace": "a.b",
        "fields": [{"name": "F1", "type": ["null", "string"], "default": None}],
        "connect.name": "a.b.OutputKey",
    }


def test_the_name_of_keys() -> None:
    source = Source("GOOD_DAYS", "stream", (), "t", Format("AVRO"), Format("AVRO"))
    assert key_name(source) == "io.confluent.ksql.avro_schemas.GoodDaysKey"


DEEP = Struct(
    (("A", Map(STRING, Array(Struct((("B", Decimal(9, 2)), ("C", TIME)))))), ("D", BYTES))
)


@pytest.mark.parametrize("type_", [BOOLEAN, Decimal(38, 0), TIME, DATE, TIMESTAMP, DEEP], ids=str)
def test_what_is_derived_is_read_back_and_is_avro(type_: SqlType) -> None:
    schema = derive((Column("V", type_),))
    fastavro.parse_schema(schema)
    assert sql_type(schema) == Struct((("V", type_),))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("float", DOUBLE),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, STRING),
        ({"type": "fixed", "name": "F", "size": 16}, BYTES),
        ({"type": "map", "values": "long"}, Map(STRING, BIGINT)),
        (["string", "null"], STRING),
        ({"type": "long", "logicalType": "timestamp-micros"}, BIGINT),
        ({"type": {"type": "int", "logicalType": "date"}}, DATE),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, Decimal(4, 2)),
    ],
)
def test_types_of_other_schemas(schema: Any, expected: SqlType) -> None:
    assert sql_type(schema) == expected


def test_fields_without_a_type_are_left_out() -> None:
    suit = {"type": "enum", "name": "Suit", "symbols": ["SPADES"]}
    fields = [
        {"name": "first", "type": suit},
        {"name": "second", "type": ["null", "Suit"]},
        {"name": "either", "type": ["int", "string"]},
        {"name": "self", "type": ["null", "blah"]},
    ]
    schema = {"type": "record", "name": "blah", "namespace": "n", "fields": fields}
    assert sql_type(schema) == Struct((("FIRST", STRING), ("SECOND", STRING)))
    with pytest.raises(Unsupported, match="NO_KSQL_TYPE"):
        sql_type("null")
