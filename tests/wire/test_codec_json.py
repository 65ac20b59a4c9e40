"""JSON as ksqlDB reads and writes it."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.wire.codec_json import decode, encode

TYPES: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DECIMAL": pa.decimal128(6, 4),
    "TIME": pa.time32("ms"),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("ms"),
    "ARRAY<INT>": pa.list_(pa.int32()),
    "ARRAY<STRING>": pa.list_(pa.string()),
    "MAP<DOUBLE>": pa.map_(pa.string(), pa.float64()),
    "STRUCT<F1 INT, `f2` STRING>": pa.struct([("F1", pa.int32()), ("f2", pa.string())]),
}


def raw(*texts: str | bytes | None) -> pa.BinaryArray:
    return pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.binary())


def one(kind: str, text: str) -> Any:
    """What a field's JSON text reads as, wrapped and bare; the code where it cannot be read."""
    schema = pa.schema([("V", TYPES[kind])])
    results = []
    for value, wrapped in ((f'{{"V":{text}}}', True), (text, False)):
        decoded = decode(raw(value), schema, wrapped=wrapped)
        good = decoded.batch.num_rows == 1
        results.append(decoded.batch.column(0)[0].as_py() if good else decoded.code(0))
    assert repr(results[0]) == repr(results[1])
    return results[0]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("BOOLEAN", "true", True),
        ("BOOLEAN", '"true"', "WRONG_TYPE"),
        ("BOOLEAN", "1", "WRONG_TYPE"),
        ("INT", "10", 10),
        ("INT", '"10"', 10),
        ("INT", "10.9", 10),
        ("INT", "-10.9", -10),
        ("INT", "0.99999999999999999999", 0),
        ("INT", "4294967297", 1),
        ("INT", '"4294967297"', "WRONG_TYPE"),
        ("INT", '" 1"', "WRONG_TYPE"),
        ("INT", "true", "WRONG_TYPE"),
        ("INT", "[1]", "WRONG_TYPE"),
        ("INT", "1e99999", "OUT_OF_RANGE"),
        ("BIGINT", "998877665544332211", 998877665544332211),
        ("BIGINT", "12345678901234567.5", 12345678901234567),
        ("BIGINT", "18446744073709551617", 1),
        ("DOUBLE", "1234.589", 1234.589),
        ("DOUBLE", "1", 1.0),
        ("DOUBLE", "-0.0", 0.0),
        ("DOUBLE", '"1.5d"', 1.5),
        ("DOUBLE", '"NaN"', math.nan),
        ("DOUBLE", "1e999", math.inf),
        ("DOUBLE", '"x"', "WRONG_TYPE"),
        ("DOUBLE", "123456789012345678901234567890", 1.2345678901234568e29),
        ("STRING", '"hello"', "hello"),
        ("STRING", "1", "1"),
        ("STRING", "10.10", "10.10"),
        ("STRING", "1E5", "1E+5"),
        ("STRING", "true", "true"),
        ("STRING", '["a", 1, null, {"b": 1.50}]', '[a, 1, null, {"b":1.50}]'),
        ("STRING", '{"a": [1, "x\\n"], "b": null}', '{"a":[1,"x\\n"],"b":null}'),
        ("STRING", '"\\ud800x"', "?x"),
        ("BYTES", '"dmFyaWF0aW9ucw=="', b"variations"),
        ("BYTES", '"%"', "WRONG_TYPE"),
        ("BYTES", "1", "WRONG_TYPE"),
        ("DECIMAL", "10", Decimal("10.0000")),
        ("DECIMAL", "0.0001", Decimal("0.0001")),
        ("DECIMAL", '"12.5"', Decimal("12.5000")),
        ("DECIMAL", "0.00001", "BAD_DECIMAL"),
        ("DECIMAL", "100", "BAD_DECIMAL"),
        ("DECIMAL", '"x"', "BAD_DECIMAL"),
        ("TIME", "1000", dt.time(0, 0, 1)),
        ("TIME", "-1", "OUT_OF_RANGE"),
        ("DATE", "10", dt.date(1970, 1, 11)),
        ("DATE", "-10", dt.date(1969, 12, 22)),
        ("TIMESTAMP", "1000", dt.datetime(1970, 1, 1, 0, 0, 1)),
        ("ARRAY<INT>", "[1, null, 3.7]", [1, None, 3]),
        ("ARRAY<INT>", "1", "WRONG_TYPE"),
        ("ARRAY<STRING>", "[1, 2, 3]", ["1", "2", "3"]),
        ("MAP<DOUBLE>", '{"a": 1, "b": null}', [("a", 1.0), ("b", None)]),
        ("MAP<DOUBLE>", "[]", "WRONG_TYPE"),
        (
            "STRUCT<F1 INT, `f2` STRING>",
            '{"f1": 1, "f2": "x", "more": 1}',
            {"F1": 1, "f2": "x"},
        ),
        ("STRUCT<F1 INT, `f2` STRING>", '{"F2": "x"}', {"F1": None, "f2": None}),
        ("STRUCT<F1 INT, `f2` STRING>", "3", "WRONG_TYPE"),
        *[(kind, "null", None) for kind in TYPES],
    ],
)
def test_values_read_as_in_ksqldb(kind: str, text: str, expected: Any) -> None:
    assert repr(one(kind, text)) == repr(expected)


def test_names_match_exactly_or_upper_cased() -> None:
    schema = pa.schema([("ID", pa.int64()), ("name", pa.string())])
    rows = raw(
        '{"id": 1, "name": "a", "other": []}',
        '{"ID": 2, "id": 3, "NAME": "b"}',
        "{}",
        '{"ID": null, "id": 4}',
        None,
        "null",
    )
    decoded = decode(rows, schema)
    assert decoded.batch.to_pydict() == {
        "ID": [1, 2, None, None, None, None],
        "name": ["a", None, None, None, None, None],
    }
    assert decoded.codes.tolist() == [0] * 6


def test_bad_rows_leave_the_others_alone() -> None:
    schema = pa.schema([("V", pa.int32()), ("W", pa.string())])
    rows = raw(
        '{"V":1,"W":"a"}',
        '{"V":"secret"}',
        "{",
        "",
        b'{"W":"\xff"}',
        "[1]",
        '{"V":NaN}',
        '{"V":7.5} trailing',
        "[" * 5000,
        '{"V":8}',
    )
    decoded = decode(rows, schema)
    assert decoded.rows.tolist() == [0, 7, 9]
    assert decoded.batch.to_pydict() == {"V": [1, 7, 8], "W": ["a", None, None]}
    assert [decoded.code(int(row)) for row in decoded.faults] == [
        "WRONG_TYPE",
        "BAD_TEXT",
        "EMPTY_VALUE",
        "BAD_UTF8",
        "WRONG_TYPE",
        "BAD_TEXT",
        "TOO_DEEP",
    ]
    assert decoded.reason(1) == "Can't coerce string to type. targetType: INTEGER, path: $.V"
    assert decoded.reason(5) == (
        "Can't convert type. sourceType: ArrayNode, requiredType: STRUCT, path: $"
    )
    assert all("secret" not in decoded.reason(row) for row in range(10))


def test_an_empty_chunk() -> None:
    schema = pa.schema([("V", pa.int32())])
    assert decode(raw(), schema).batch.num_rows == 0
    assert encode(decode(raw(), schema).batch).to_pylist() == []


def written(type_: pa.DataType, *column: Any) -> list[str]:
    batch = pa.record_batch({"V": pa.array(column, type_)})
    return [text.decode()[len('{"V":') : -1] for text in encode(batch).to_pylist()]


def test_values_are_written_as_ksqldb_writes_them() -> None:
    assert written(pa.bool_(), True, False, None) == ["true", "false", "null"]
    assert written(pa.int64(), 1, -1, None) == ["1", "-1", "null"]
    assert written(pa.float64(), 1e7, 1.0, math.nan, -math.inf, None) == [
        "1.0E7",
        "1.0",
        '"NaN"',
        '"-Infinity"',
        "null",
    ]
    assert written(pa.string(), 'a"b\\', "tab\t\x01\x1f", "ä/", None) == [
        '"a\\"b\\\\"',
        '"tab\\t\\u0001\\u001F"',
        '"ä/"',
        "null",
    ]
    assert written(pa.binary(), b"variations", None) == ['"dmFyaWF0aW9ucw=="', "null"]
    assert written(pa.decimal128(6, 4), Decimal("10"), Decimal("0.1")) == ["10.0000", "0.1000"]
    assert written(pa.decimal128(20, 12), Decimal(0)) == [str(Decimal("0E-12"))]
    assert written(pa.date32(), dt.date(1970, 1, 11)) == ["10"]
    assert written(pa.time32("ms"), dt.time(0, 0, 1)) == ["1000"]
    assert written(pa.timestamp("ms"), dt.datetime(1970, 1, 1, 0, 0, 1)) == ["1000"]
    assert written(pa.list_(pa.int32()), [1, None], [], None) == ["[1,null]", "[]", "null"]
    mapped = [[("a", 1.5), ("b", None)], [], None]
    assert written(pa.map_(pa.string(), pa.float64()), *mapped) == [
        '{"a":1.5,"b":null}',
        "{}",
        "null",
    ]
    struct = pa.struct([("F0", pa.int32()), ("b c", pa.list_(pa.string()))])
    assert written(struct, {"F0": 1, "b c": ["x"]}, {"F0": None}, None) == [
        '{"F0":1,"b c":["x"]}',
        '{"F0":null,"b c":null}',
        "null",
    ]


def test_rows_and_bare_values() -> None:
    batch = pa.record_batch({"A": pa.array([1, None]), 'q"': pa.array(["x", None])})
    assert encode(batch).to_pylist() == [b'{"A":1,"q\\"":"x"}', b'{"A":null,"q\\"":null}']
    bare = pa.record_batch({"A": pa.array([[1, None], None], pa.list_(pa.int64()))})
    assert encode(bare, wrapped=False).to_pylist() == [b"[1,null]", None]


def test_a_slice_of_maps_keeps_its_own_entries() -> None:
    maps = pa.array([[("a", 1)], None, [("b", 2)], [("c", 3)]], pa.map_(pa.string(), pa.int64()))
    batch = pa.record_batch({"M": maps}).slice(1, 2)
    assert encode(batch).to_pylist() == [b'{"M":null}', b'{"M":{"b":2}}']
    batch = pa.record_batch({"M": maps}).slice(2)
    assert encode(batch).to_pylist() == [b'{"M":{"b":2}}', b'{"M":{"c":3}}']


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False).map(lambda x: x + 0.0),
    pa.string(): TEXTS,
    pa.binary(): st.binary(max_size=4),
    pa.decimal128(9, 3): st.decimals(-999999, 999999, places=3),
    pa.list_(pa.struct([("F", pa.bool_()), ("g", TYPES["MAP<DOUBLE>"])])): st.lists(
        st.fixed_dictionaries(
            {
                "F": st.none() | st.booleans(),
                "g": st.none()
                | st.dictionaries(TEXTS, st.just(1.5), max_size=2).map(dict.items).map(list),
            }
        ),
        max_size=2,
    ),
}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_written_reads_back(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 4))
    columns = {
        f"C{i}": pa.array([data.draw(st.none() | kind) for _ in range(n)], type_)
        for i, (type_, kind) in enumerate(KINDS.items())
    }
    batch = pa.record_batch(columns)
    texts = encode(batch)
    for text in texts.to_pylist():
        assert list(json.loads(text)) == batch.schema.names
    again = decode(texts, batch.schema)
    assert again.batch.equals(batch), [again.reason(row) for row in range(n)]


def test_many_rows_with_a_few_bad_ones() -> None:
    schema = pa.schema([("I", pa.int64()), ("X", pa.float64())])
    texts = [f'{{"I":{i},"X":{i}.5}}' for i in range(5000)]
    texts[7], texts[2048], texts[4999] = "oops", '{"X":"x"}', '{"i":4999.0,"X":"0.5"}'
    decoded = decode(raw(*texts), schema)
    assert decoded.faults.tolist() == [7, 2048]
    assert decoded.batch.column("I").to_pylist() == decoded.rows.tolist()
    assert decoded.batch.column("X")[-1].as_py() == 0.5
    assert decoded.reason(2048) == "Can't coerce string to type. targetType: DOUBLE, path: $.X"


def test_whole_numbers_that_no_double_holds_are_rounded() -> None:
    schema = pa.schema([("X", pa.float64())])
    raw = pa.array([b'{"X": 9007199254740993}', b'{"X": -9223372036854775807}', b"{}"], pa.binary())
    decoded = decode(raw, schema)
    assert decoded.batch.column("X").to_pylist() == [
        9007199254740992.0,
        -9.223372036854775807e18,
        None,
    ]
