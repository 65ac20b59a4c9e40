"""Records field by field: as the codec reads them, and up to the fault where there is one."""

from __future__ import annotations

import json
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradstream.wire import avro_schema
from gradstream.wire.avro_walk import FRAME, walk
from gradstream.wire.codec_avro import encode

INNER = {"type": "record", "name": "In", "fields": [{"name": "A", "type": "long"}]}
FIELDS = [
    {"name": "TEXT", "type": ["null", "string"]},
    {"name": "LATE", "type": ["int", "null"]},
    {"name": "FLAG", "type": "boolean"},
    {"name": "IN", "type": INNER},
    {"name": "LIST", "type": {"type": "array", "items": "double"}},
    {"name": "MAP", "type": {"type": "map", "values": "int"}},
    {"name": "KIND", "type": {"type": "enum", "name": "K", "symbols": ["a", "b"]}},
    {"name": "EITHER", "type": ["null", "int", "string"]},
    {"name": "SMALL", "type": "float"},
    {"name": "RAW", "type": "bytes"},
]
SCHEMA = avro_schema.parse({"type": "record", "name": "R", "fields": FIELDS})
FRAMED = b"\0\0\0\0\x07"
# By hand from Avro's specification, field by field.
PARTS = {
    "TEXT": b"\x02\x06\xc3\xa4x",
    "LATE": b"\x02",
    "FLAG": b"\x01",
    "IN.A": b"\x83\x01",
    "LIST": b"\x02" + struct.pack("<d", 1.5) + b"\x01\x10" + struct.pack("<d", -2.0) + b"\x00",
    "MAP": b"\x02\x02k\x05\x00",
    "KIND": b"\x02",
    "EITHER": b"\x04\x02y",
    "SMALL": struct.pack("<f", 0.25),
    "RAW": b"\x04\x00\xff",
}
VALUES = {
    "TEXT": "äx", "LATE": None, "FLAG": True, "IN.A": -66, "LIST": [1.5, -2.0], "MAP": {"k": -3},
    "KIND": "b", "EITHER": "y", "SMALL": 0.25, "RAW": b"\x00\xff",
}  # fmt: skip
WHOLE = FRAMED + b"".join(PARTS.values())


def test_every_kind_of_field_has_its_value_and_its_bytes() -> None:
    found = list(walk(SCHEMA, WHOLE))
    assert {field.name: field.value for field in found} == VALUES
    assert not any(field.fault for field in found)
    for field in found:
        assert WHOLE[field.begin : field.end] == PARTS[field.name]


@given(st.integers(FRAME, len(WHOLE) - 1))
def test_a_record_cut_short_is_read_up_to_the_field_that_is_cut(size: int) -> None:
    found = list(walk(SCHEMA, WHOLE[:size]))
    *good, last = found
    assert last.fault
    assert last.end == size
    assert {field.name: field.value for field in good} == dict(list(VALUES.items())[: len(good)])
    assert last.name == list(VALUES)[len(good)]


@given(st.binary(max_size=60))
def test_hostile_bytes_are_a_fault_and_no_error(data: bytes) -> None:
    found = list(walk(SCHEMA, FRAMED + data))
    assert all(FRAME <= field.begin <= field.end <= FRAME + len(data) for field in found)
    assert not any(field.fault for field in found[:-1])


@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("TEXT", b"\x04", "branch 2"),
        ("TEXT", b"\x02\x02\xff", "not UTF-8"),
        ("TEXT", b"\x02\x01", "asks for -1 bytes"),
        ("FLAG", b"\x02", "neither true nor false"),
        ("LIST", b"\xfe\xff\xff\xff\x0f", "claims"),
        ("KIND", b"\x04", "symbol 2 of 2"),
        ("EITHER", b"\x06", "branch 3"),
        ("IN.A", b"\xff" * 10, "more than 10 bytes"),
    ],
)
def test_a_fault_is_told_at_its_field(name: str, part: bytes, why: str) -> None:
    found = list(walk(SCHEMA, FRAMED + b"".join({**PARTS, name: part}.values())))
    assert found[-1].name == name
    assert why in found[-1].fault


def test_bytes_after_the_last_field_are_a_fault_without_a_name() -> None:
    last = list(walk(SCHEMA, WHOLE + b"abc"))[-1]
    assert (last.name, last.begin, last.end) == ("", len(WHOLE), len(WHOLE) + 3)
    assert "3 bytes" in last.fault


def test_what_the_codec_writes_is_read_back() -> None:
    schema = json.dumps(
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "X", "type": "double"}, {"name": "N", "type": ["null", "long"]}],
        }
    )
    rows = [{"X": 1.25, "N": None}, {"X": -0.0, "N": 2**62}]
    values = encode(pa.RecordBatch.from_pylist(rows), schema, 9).to_pylist()
    read = [{f.name: f.value for f in walk(avro_schema.parse(schema), value)} for value in values]
    assert read == rows
