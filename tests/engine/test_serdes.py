"""Every format behind one decoder and one encoder; AVRO against the real registry."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from decimal import Decimal as Number
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.engine import types
from gradstream.engine.catalog import Column, Format, Source
from gradstream.engine.rows.avro_coercions import Mismatch, coerced
from gradstream.engine.rows.serdes import (
    columns_from_registry,
    key_decoder,
    key_encoder,
    register,
    value_decoder,
    value_encoder,
)
from gradstream.engine.types import BIGINT, DOUBLE, INTEGER, STRING, SqlType, arrow_type
from gradstream.errors import ConfigError, SqlError
from gradstream.wire import codec_avro
from gradstream.wire.registry import Registry

Unique = Callable[[str], str]


def source(
    *columns: tuple[str, SqlType],
    key: str | Format = "NONE",
    value: str | Format = "JSON",
    topic: str = "t",
    keys: tuple[tuple[str, SqlType], ...] = (),
) -> Source:
    return Source(
        "GOOD_DAYS",
        "stream",
        tuple(Column(name, type_, "key") for name, type_ in keys)
        + tuple(Column(name, type_) for name, type_ in columns),
        topic,
        Format(key) if isinstance(key, str) else key,
        Format(value) if isinstance(value, str) else value,
    )


def batch(of: Source, role: str, *columns: list[Any]) -> pa.RecordBatch:
    wanted = of.key_columns if role == "key" else of.value_columns
    arrays = [pa.array(v, arrow_type(c.type)) for v, c in zip(columns, wanted, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, [c.name for c in wanted])


TEXT = [
    (Format("DELIMITED"), [b"1,a", b",", None]),
    (Format("DELIMITED", delimiter="|"), [b"1|a", b"|", None]),
    (Format("JSON"), [b'{"I":1,"S":"a"}', b'{"I":null,"S":null}', None]),
]


@pytest.mark.parametrize(("format_", "raw"), TEXT, ids=lambda v: str(v))
def test_values_of_text_formats(format_: Format, raw: list[bytes | None]) -> None:
    of = source(("I", INTEGER), ("S", STRING), value=format_)
    rows = batch(of, "value", [1, None, 2], ["a", None, "b"])
    nulls = np.array([False, False, True])
    assert value_encoder(of, None).encode(rows, nulls).to_pylist() == raw
    decoded = value_decoder(of, None).decode(pa.array(raw, pa.binary()))
    assert decoded.batch.to_pydict() == {"I": [1, None, None], "S": ["a", None, None]}
    assert decoded.codes.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("format_", "raw"),
    [
        (Format("JSON"), [b"7", None]),
        (Format("JSON", wrap_single=True), [b'{"K":7}', None]),
        (Format("KAFKA"), [b"\0\0\0\7", None]),
        (Format("DELIMITED"), [b"7", None]),
    ],
    ids=str,
)
def test_single_keys_are_bare_and_null_keys_stay_null(
    format_: Format, raw: list[bytes | None]
) -> None:
    of = source(("V", INTEGER), key=format_, keys=(("K", INTEGER),))
    rows = batch(of, "key", [7, None])
    assert key_encoder(of, None).encode(rows).to_pylist() == raw
    decoded = key_decoder(of, None).decode(pa.array(raw, pa.binary()))
    assert decoded.batch.equals(rows)


def test_several_keys_are_an_object_and_null_only_where_asked() -> None:
    of = source(("V", INTEGER), key="JSON", keys=(("A", INTEGER), ("B", STRING)))
    rows = batch(of, "key", [1, None, None], ["x", None, None])
    written = key_encoder(of, None).encode(rows, np.array([False, False, True]))
    assert written.to_pylist() == [b'{"A":1,"B":"x"}', b'{"A":null,"B":null}', None]


def test_no_key_is_no_column_and_null_bytes() -> None:
    of = source(("V", INTEGER))
    decoded = key_decoder(of, None).decode(pa.array([None, b"x"], pa.binary()))
    assert (decoded.batch.num_rows, decoded.batch.num_columns) == (2, 0)
    rows = batch(of, "value", [1, 2])
    assert key_encoder(of, None).encode(rows).to_pylist() == [None, None]


def test_bare_values() -> None:
    of = source(("V", types.Array(INTEGER)), value=Format("JSON", wrap_single=False))
    rows = batch(of, "value", [[1], None])
    assert value_encoder(of, None).encode(rows).to_pylist() == [b"[1]", None]


def test_avro_needs_a_registry() -> None:
    with pytest.raises(ConfigError, match="NO_REGISTRY"):
        value_decoder(source(("V", INTEGER), value="AVRO"), None)


@pytest.mark.parametrize(
    ("have", "type_", "expected"),
    [
        (pa.array([1, None], pa.int32()), BIGINT, [1, None]),
        (pa.array([1, 2], pa.int64()), DOUBLE, [1.0, 2.0]),
        (pa.array([1.5], pa.float32()), DOUBLE, [1.5]),
        (pa.array([1, None], pa.int32()), STRING, ["1", None]),
        (pa.array([True]), STRING, ["true"]),
        (pa.array([1e7, None]), STRING, ["1.0E7", None]),
        (pa.array([1.1, None], pa.float32()), STRING, ["1.1", None]),
        (pa.array([10], pa.int32()), types.DATE, [dt.date(1970, 1, 11)]),
        (pa.array([10], pa.date32()), INTEGER, [10]),
        (pa.array([1000], pa.timestamp("ms")), BIGINT, [1000]),
        (pa.array([1000], pa.int64()), types.TIMESTAMP, [dt.datetime(1970, 1, 1, 0, 0, 1)]),
        (pa.nulls(1), STRING, [None]),
        (pa.array([[1], None], pa.list_(pa.int32())), types.Array(STRING), [["1"], None]),
        (
            pa.array([{"f1": 1, "x": 0}, None], pa.struct([("f1", pa.int32()), ("x", pa.int32())])),
            types.Struct((("F1", BIGINT), ("G", STRING))),
            [{"F1": 1, "G": None}, None],
        ),
        (
            pa.array([[{"key": "a", "value": 1}], None]),
            types.Map(STRING, BIGINT),
            [[("a", 1)], None],
        ),
    ],
    ids=str,
)
def test_coercions_of_avro_columns(have: pa.Array, type_: SqlType, expected: list[Any]) -> None:
    column = coerced(have, arrow_type(type_), "")
    assert column.type == arrow_type(type_)
    assert column.to_pylist() == expected


@pytest.mark.parametrize(
    ("have", "type_"),
    [
        (pa.array(["1"]), INTEGER),
        (pa.array([1], pa.int64()), INTEGER),
        (pa.array([1.5]), BIGINT),
        (pa.array([1], pa.int32()), types.BOOLEAN),
        (pa.array([1], pa.int32()), types.Array(INTEGER)),
        (pa.array([b"x"]), STRING),
    ],
    ids=str,
)
def test_what_ksqldb_refuses_is_refused(have: pa.Array, type_: SqlType) -> None:
    with pytest.raises(Mismatch, match="Cannot deserialize type"):
        coerced(have, arrow_type(type_), "->V")


STRUCT = types.Struct((("F1", INTEGER), ("G", types.Map(STRING, DOUBLE))))
FILLED = {"F1": 1, "G": [("a", 1.5), ("b", None)]}
COLUMNS: list[tuple[SqlType, Any]] = [
    (types.BOOLEAN, True),
    (INTEGER, -1),
    (BIGINT, 2**40),
    (DOUBLE, 1.5),
    (STRING, "ä"),
    (types.BYTES, b"\xff"),
    (types.Decimal(6, 4), Number("-1.5000")),
    (types.TIME, dt.time(0, 0, 1)),
    (types.DATE, dt.date(2020, 1, 1)),
    (types.TIMESTAMP, dt.datetime(2020, 1, 1)),
    (types.Array(STRING), ["a", None]),
    (types.Map(STRING, INTEGER), [("a", 1), ("b", None)]),
    (STRUCT, FILLED),
    (types.Array(STRUCT), [FILLED, None]),
    (types.Map(STRING, STRUCT), [("k", FILLED)]),
]


@pytest.fixture(scope="module")
def registry(services: Services) -> Iterator[Registry]:
    registry = Registry(services.schema_registry_url)
    yield registry
    registry.close()


@pytest.mark.integration
def test_avro_round_trip_of_every_type(registry: Registry, unique: Unique) -> None:
    named = [(f"C{i}", type_) for i, (type_, _) in enumerate(COLUMNS)]
    of = source(*named, value="AVRO", topic=unique("serdes"))
    rows = batch(of, "value", *[[value, None, value] for _, value in COLUMNS])
    encoder, decoder = value_encoder(of, registry), value_decoder(of, registry)
    written = encoder.encode(rows, np.array([False, False, True]))
    assert written[2].as_py() is None
    assert int.from_bytes(written[0].as_py()[1:5], "big") == encoder.schema_id
    decoded = decoder.decode(written)
    assert decoded.codes.tolist() == [0, 0, 0]
    assert decoded.batch.slice(0, 2).equals(rows.slice(0, 2))
    assert all(column[2].as_py() is None for column in decoded.batch.columns)
    assert columns_from_registry(registry, of.topic, False, of.value_format) == of.value_columns


@pytest.mark.integration
@pytest.mark.parametrize(("type_", "value"), COLUMNS, ids=[str(type_) for type_, _ in COLUMNS])
def test_avro_bare_values(registry: Registry, unique: Unique, type_: SqlType, value: Any) -> None:
    of = source(("V", type_), value=Format("AVRO", wrap_single=False), topic=unique("serdes"))
    rows = batch(of, "value", [value, None])
    written = value_encoder(of, registry).encode(rows)
    assert written.is_null().to_pylist() == [False, True]
    assert value_decoder(of, registry).decode(written).batch.equals(rows)
    (column,) = columns_from_registry(registry, of.topic, False, of.value_format)
    assert (column.name, column.type) == ("ROWVAL", type_)


@pytest.mark.integration
def test_avro_keys(registry: Registry, unique: Unique) -> None:
    of = source(("V", INTEGER), key="AVRO", keys=(("K", STRING),), topic=unique("serdes"))
    written = key_encoder(of, registry).encode(batch(of, "key", ["a", None]))
    assert written.is_null().to_pylist() == [False, True]
    assert registry.latest(f"{of.topic}-key")[2] == '"string"'
    assert key_decoder(of, registry).decode(written).batch.to_pydict() == {"K": ["a", None]}
    assert columns_from_registry(registry, of.topic, True, of.key_format) == (
        Column("ROWKEY", STRING, "key"),
    )
    two = source(
        ("V", INTEGER), key="AVRO", keys=(("K", STRING), ("L", INTEGER)), topic=unique("s")
    )
    key_encoder(two, registry)
    text = json.loads(registry.latest(f"{two.topic}-key")[2])
    assert text["connect.name"] == "io.confluent.ksql.avro_schemas.GoodDaysKey"


@pytest.mark.integration
def test_avro_written_by_others(registry: Registry, unique: Unique) -> None:
    topic = unique("serdes")
    suit = {"type": "enum", "name": "Suit", "symbols": ["SPADES", "HEARTS"]}
    fields = [
        {"name": "id", "type": "int"},
        {"name": "suit", "type": suit},
        {"name": "x", "type": ["null", "float"]},
        {"name": "more", "type": "string"},
    ]
    schema = {"type": "record", "name": "Card", "fields": fields}
    schema_id = registry.register(f"{topic}-value", json.dumps(schema))
    rows = pa.table(
        {"id": [1, 2], "suit": ["SPADES", "HEARTS"], "x": [1.5, None], "more": ["a", "b"]}
    )
    rows = rows.set_column(0, "id", rows["id"].cast(pa.int32())).combine_chunks().to_batches()[0]
    raw = codec_avro.encode(rows, schema, schema_id).to_pylist()
    values = pa.array([raw[0], None, b"\0\0", raw[1]], pa.binary())

    inferred = columns_from_registry(registry, topic, False, Format("AVRO"))
    assert [(c.name, str(c.type)) for c in inferred] == [
        ("ID", "INTEGER"),
        ("SUIT", "STRING"),
        ("X", "DOUBLE"),
        ("MORE", "STRING"),
    ]
    of = source(("SUIT", STRING), ("ID", BIGINT), ("GONE", DOUBLE), value="AVRO", topic=topic)
    decoded = value_decoder(of, registry).decode(values)
    assert decoded.rows.tolist() == [0, 1, 3]
    assert decoded.batch.to_pydict() == {
        "SUIT": ["SPADES", None, "HEARTS"],
        "ID": [1, None, 2],
        "GONE": [None, None, None],
    }
    assert decoded.code(2) == "SHORT_FRAME"
    assert decoded.reason(2)

    wrong = source(("SUIT", INTEGER), value="AVRO", topic=topic)
    refused = value_decoder(wrong, registry).decode(values)
    assert refused.rows.tolist() == [1]
    assert refused.code(0) == "WRONG_TYPE"
    assert refused.reason(0) == "Cannot deserialize type string as type int32 for path: ->SUIT"


@pytest.mark.integration
def test_registration_and_what_is_missing(registry: Registry, unique: Unique) -> None:
    of = source(("V", INTEGER), value="AVRO", topic=unique("serdes"))
    with pytest.raises(SqlError, match="does not exist in the Schema Registry"):
        columns_from_registry(registry, of.topic, False, of.value_format)
    register(of, registry)
    first = registry.latest(f"{of.topic}-value")[0]
    register(source(("V", STRING), value="AVRO", topic=of.topic), registry)  # leaves it alone
    assert registry.latest(f"{of.topic}-value")[0] == first
    assert value_encoder(of, registry).schema_id == first
    named = source(("W", INTEGER), value=Format("AVRO", schema_id=first), topic=of.topic)
    assert value_encoder(named, registry).schema_id == first


@pytest.mark.integration
def test_a_named_schema_with_a_field_that_the_sink_lacks(
    registry: Registry, unique: Unique
) -> None:
    fields = [{"name": "c1", "type": "int"}, {"name": "c2", "type": "double"}]
    text = json.dumps({"type": "record", "name": "blah", "fields": fields})
    schema_id = registry.register(unique("serdes") + "-value", text)
    of = source(("c1", INTEGER), value=Format("AVRO", schema_id=schema_id))
    with pytest.raises(SqlError, match=r"Missing default value for required Avro field: \[c2\]"):
        value_encoder(of, registry)


@pytest.mark.integration
def test_a_named_schema_fills_what_the_sink_lacks(registry: Registry, unique: Unique) -> None:
    topic = unique("serdes")
    fields = [
        {"name": "c1", "type": ["null", "int"]},
        {"name": "c2", "type": "int", "default": 100},
        {"name": "c3", "type": ["null", "string"], "default": None},
    ]
    text = json.dumps({"type": "record", "name": "blah", "fields": fields})
    schema_id = registry.register(f"{topic}-value", text)
    sink = source(("c1", INTEGER), value=Format("AVRO", schema_id=schema_id), topic=topic)
    written = value_encoder(sink, registry).encode(batch(sink, "value", [4, None]))
    read = source(("C2", INTEGER), ("C1", INTEGER), ("C3", STRING), value="AVRO", topic=topic)
    assert value_decoder(read, registry).decode(written).batch.to_pydict() == {
        "C2": [100, 100],
        "C1": [4, None],
        "C3": [None, None],
    }
