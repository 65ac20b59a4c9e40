"""KAFKA format: the bytes of Kafka's own serializers."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest

from gradstream.wire.codec_kafka import decode, encode

CASES: list[tuple[pa.DataType, list[Any], list[bytes | None]]] = [
    (pa.int32(), [1, -2, None], [b"\0\0\0\1", b"\xff\xff\xff\xfe", None]),
    (pa.int64(), [1, None, -1], [b"\0\0\0\0\0\0\0\1", None, b"\xff" * 8]),
    (pa.float64(), [1.1, None], [struct.pack(">d", 1.1), None]),
    (pa.string(), ["Hey", "", "ä", None], [b"Hey", b"", "ä".encode(), None]),
    (pa.binary(), [b"\xff", b"", None], [b"\xff", b"", None]),
]


@pytest.mark.parametrize(("type_", "column", "raw"), CASES, ids=[str(case[0]) for case in CASES])
def test_columns_and_bytes(type_: pa.DataType, column: list[Any], raw: list[bytes | None]) -> None:
    batch = pa.record_batch({"K": pa.array(column, type_)})
    assert encode(batch).to_pylist() == raw
    assert encode(batch.slice(1)).to_pylist() == raw[1:]
    values = pa.array(raw, pa.binary())
    assert decode(values, batch.schema).batch.equals(batch)
    assert decode(values.slice(1), batch.schema).batch.equals(batch.slice(1))
    assert decode(values.slice(0, 0), batch.schema).batch.num_rows == 0


def test_numbers_of_another_size_are_refused() -> None:
    schema = pa.schema([("K", pa.int32())])
    decoded = decode(pa.array([b"\0\0\0\1", b"1", b"", None, b"\0" * 8, b"\0\0\0\2"]), schema)
    assert decoded.rows.tolist() == [0, 3, 5]
    assert decoded.batch.column(0).to_pylist() == [1, None, 2]
    assert [decoded.code(row) for row in (1, 2, 4)] == ["WRONG_TYPE"] * 3
    assert decoded.reason(1) == "Size of data received by deserializer is not 4"


def test_text_that_is_not_utf8_is_replaced_as_in_java() -> None:
    schema = pa.schema([("K", pa.string())])
    assert decode(pa.array([b"a\xff", None]), schema).batch.column(0).to_pylist() == [
        "a\ufffd",
        None,
    ]
