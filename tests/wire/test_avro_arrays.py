"""Arrays of numbers: as columns of a matrix, as Arrow lists, and written from lists; beside fastavro."""

from __future__ import annotations

import io
import json
import logging
import struct
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.errors import DataError
from gradstream.wire.codec_avro import AvroDecoder, arrow_schema, encode, expanded
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, Schema

ID = 7
Avro = Any


def record(*fields: tuple[str, Avro]) -> Avro:
    made = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": "R", "fields": made}


def array(items: Avro) -> Avro:
    return {"type": "array", "items": items}


def decoder(schema: Avro) -> AvroDecoder:
    registry = Registry("http://127.0.0.1:9")
    registry.remember(Schema(ID, "AVRO", json.dumps(schema)))
    return AvroDecoder(registry)


def framed(body: bytes) -> bytes:
    return struct.pack(">BI", 0, ID) + body


def written(schema: Avro, *rows: Any) -> pa.BinaryArray:
    parsed, found = fastavro.parse_schema(schema), []
    for row in rows:
        into = io.BytesIO()
        fastavro.schemaless_writer(into, parsed, row)
        found.append(framed(into.getvalue()))
    return pa.array(found, pa.binary())


def words(codes: Any) -> list[str]:
    return [CODES[code] for code in codes]


ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Avro, list[dict[str, Any]]]:
    """A schema of some arrays among other fields, and rows."""
    fields: list[tuple[str, Avro]] = []
    rows: dict[str, st.SearchStrategy[Any]] = {}
    for place in range(draw(st.integers(1, 3))):
        item = draw(st.sampled_from(sorted(ITEMS)))
        of = ITEMS[item]
        union = draw(st.sampled_from([item, ["null", item], [item, "null"]]))
        many = st.lists(of if union == item else st.none() | of, max_size=4)
        kind = array(union)
        outer = draw(st.sampled_from([kind, ["null", kind], [kind, "null"]]))
        fields += [(f"a{place}", outer), (f"s{place}", "string")]
        rows |= {
            f"a{place}": many if outer is kind else st.none() | many,
            f"s{place}": st.text(max_size=3),
        }
    return record(*fields), draw(st.lists(st.fixed_dictionaries(rows), min_size=1, max_size=5))


@settings(max_examples=80, deadline=None)
@given(cases(), st.data())
def test_lists_are_read_and_written_as_fastavro_does(
    case: tuple[Avro, list[dict[str, Any]]], data: st.DataObject
) -> None:
    schema, rows = case
    raw = written(schema, *rows)
    decoded = decoder(schema).columns(raw)
    assert not decoded.codes.any()
    decoded.batch.validate(full=True)
    assert decoded.batch.schema == arrow_schema(schema)
    assert decoded.batch.to_pylist() == rows
    assert encode(decoded.batch, schema, ID).to_pylist() == raw.to_pylist()
    start = data.draw(st.integers(0, len(rows)))  # a slice begins inside the lists' items
    sliced = encode(decoded.batch.slice(start), schema, ID)
    assert sliced.to_pylist() == raw.to_pylist()[start:]


def test_no_value_is_read_or_written_on_its_own(caplog: pytest.LogCaptureFixture) -> None:
    schema = record(("a", array("float")))
    with caplog.at_level(logging.INFO):
        batch = decoder(schema).columns(written(schema, {"a": [1.5]})).batch
        encode(batch, schema, ID)
    assert "value by value" not in caplog.text


def test_blocks_with_their_sizes_are_read_too() -> None:
    schema = record(("a", array("long")))
    body = b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00"  # two items in a block of 2 bytes, then one
    raw = pa.array([framed(body)])
    assert decoder(schema).columns(raw).batch.to_pylist() == [{"a": [1, 2, 3]}]
    assert decoder(schema).matrix(raw, ["a[0:3]"])[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("size", [b"\x00", b"\x01", b"\x06", b"\x08", b"\xfe\x7f"])
def test_a_block_that_lies_about_its_size_is_read_as_every_reader_does(size: bytes) -> None:
    # Sizes are there to skip a block by; a reader that reads it never looks at them.
    schema = record(("a", array(["null", "long"])), ("b", "long"), ("c", "long"))
    body = b"\x03" + size + b"\x02\x04\x00" + b"\x00" + b"\x06\x08"
    assert fastavro.schemaless_reader(io.BytesIO(body), schema)["a"] == [2, None]
    batch = decoder(schema).columns(pa.array([framed(body)])).batch
    assert batch.to_pylist() == [{"a": [2, None], "b": 3, "c": 4}]


def test_an_array_inside_a_record_that_is_null() -> None:
    inner = record(("a", array("int"))) | {"name": "I"}
    schema = record(("p", ["null", inner]), ("y", "double"))
    rows = [{"p": {"a": [1, 2]}, "y": 0.5}, {"p": None, "y": 1.5}]
    raw = written(schema, *rows)
    batch = decoder(schema).columns(raw).batch
    assert batch.to_pylist() == rows
    assert encode(batch, schema, ID).to_pylist() == raw.to_pylist()
    matrix, codes = decoder(schema).matrix(raw, ["p.a[0:2]", "y"])
    assert words(codes) == ["OK", "NULL_FIELD"]
    assert matrix[0].tolist() == [1, 2, 0.5]


def test_dates_and_times_in_lists() -> None:
    schema = record(("a", array({"type": "long", "logicalType": "timestamp-millis"})))
    batch = pa.record_batch({"a": pa.array([[1, 2], []], pa.list_(pa.timestamp("ms")))})
    raw = encode(batch, schema, ID)
    assert raw.to_pylist() == [framed(b"\x04\x02\x04\x00"), framed(b"\x00")]
    assert decoder(schema).columns(raw).batch.equals(batch)


# --- In a matrix ------------------------------------------------------------------------------------------------

WIDE = record(("id", "long"), ("X", array("double")), ("n", ["null", array(["int", "null"])]))
ROW = {"id": 5, "X": [0.5, 1.5, 2.5], "n": [7, -8]}
WANTED = ["n[0:2]", "x[0:3]", "id"]


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "OK"),
        ({"X": [0.5, 1.5]}, "WRONG_DIMENSION"),
        ({"X": [0.5, 1.5, 2.5, 3.5]}, "WRONG_DIMENSION"),
        ({"X": []}, "WRONG_DIMENSION"),
        ({"X": [0.5, float("nan"), 2.5]}, "NON_FINITE"),
        ({"n": None}, "NULL_FIELD"),
        ({"n": [7, None]}, "NULL_FIELD"),
    ],
)
def test_an_array_is_as_many_columns(prepared: bool, change: dict[str, Any], code: str) -> None:
    reader = decoder(WIDE)
    assert not prepared or reader.prepare(ID, WANTED)
    raw = written(WIDE, ROW, ROW | change, ROW)
    matrix, codes = reader.matrix(raw, WANTED)
    assert words(codes) == ["OK", code, "OK"]
    assert matrix[[0, 2]].tolist() == [[7, -8, 0.5, 1.5, 2.5, 5]] * 2
    if code == "WRONG_DIMENSION":
        assert "field X (array)" in reader.reasons(raw, 1, int(codes[1]))


@pytest.mark.parametrize(
    ("column", "code", "why"),
    [
        ("id[0:2]", "WRONG_TYPE", "not an array"),
        ("X", "WRONG_TYPE", "such as NAME[0:10]"),
        ("X[1:3]", "MISSING_FIELD", "X[1:3]"),
        ("Z[0:3]", "MISSING_FIELD", "Z"),
        ("s[0:3]", "WRONG_TYPE", "not an array of numbers"),
    ],
)
def test_columns_that_are_no_vectors(column: str, code: str, why: str) -> None:
    schema = record(*((one["name"], one["type"]) for one in WIDE["fields"]), ("s", array("string")))
    raw = written(schema, ROW | {"s": ["a"]})
    reader = decoder(schema)
    codes = reader.matrix(raw, [column])[1]
    assert words(codes) == [code]
    assert why in reader.reasons(raw, 0, int(codes[0]))


def test_the_names_of_a_matrix_columns() -> None:
    assert expanded(["a", "X[0:3]", "Y[0:0]"]) == ["a", "X[0]", "X[1]", "X[2]"]
    with pytest.raises(DataError, match="TOO_LARGE"):
        expanded(["X[0:999999]"])
    assert decoder(WIDE).matrix(written(WIDE, ROW), ["X[0:3]", "X[0:3]"])[0].shape == (1, 6)


@pytest.mark.parametrize("prepared", [False, True])
def test_into_a_part_of_a_larger_matrix(prepared: bool) -> None:
    reader = decoder(WIDE)
    assert not prepared or reader.prepare(ID, WANTED)
    large = np.full((2, 8), 9.0)
    out, codes = reader.matrix(written(WIDE, ROW, ROW), WANTED, out=large[:, 1:7])
    assert words(codes) == ["OK", "OK"]
    assert out.base is large
    assert large.tolist() == [[9, 7, -8, 0.5, 1.5, 2.5, 5, 9]] * 2
    with pytest.raises(ValueError, match="contiguous rows"):
        reader.matrix(written(WIDE, ROW), WANTED, out=large[:1])


# --- Writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float64(), 2),
    ],
)
def test_lists_of_every_kind_are_written(kind: pa.DataType) -> None:
    schema = record(("a", array("double")))
    given_ = [[0.5, 1.5], [2.5, -0.0], [1.0, 2.0]]
    batch = pa.record_batch({"a": pa.array(given_, kind)})
    expected = written(schema, *({"a": one} for one in given_)).to_pylist()
    assert encode(batch, schema, ID).to_pylist() == expected
    assert encode(batch.slice(1, 1), schema, ID).to_pylist() == expected[1:2]


def test_a_null_where_none_may_be() -> None:
    batch = pa.record_batch({"a": pa.array([[1.0], [2.0, None]])})
    with pytest.raises(DataError, match=r"row 1 .* a") as error:
        encode(batch, record(("a", array("double"))), ID)
    assert error.value.code == "NULL_FIELD"
    with pytest.raises(DataError, match="NULL_FIELD"):
        encode(pa.record_batch({"a": pa.array([[1.0], None])}), record(("a", array("double"))), ID)
    with pytest.raises(DataError, match="WRONG_TYPE"):
        encode(pa.record_batch({"a": pa.array([["x"]])}), record(("a", array("double"))), ID)
