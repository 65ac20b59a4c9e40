"""What fuzzing found in the Avro codec, each with the input that showed it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.errors import DataError
from gradstream.wire.codec_avro import AvroDecoder, arrow_schema
from tests.wire.avro_cases import varint
from tests.wire.avro_examples import decimal, record
from tests.wire.test_avro_properties import Known, framed, words

MONEY = record(("m", decimal(4, 2))) | {"name": "I"}


def decoded(schema: Any, *records: bytes) -> Any:
    return AvroDecoder(Known(schema)).columns(pa.array(map(framed, records), pa.binary()))


@pytest.mark.parametrize("size", [17, 100_000, 1_000_000])
def test_a_decimal_of_many_bytes_inside_an_array_is_refused_before_it_is_computed(
    size: int,
) -> None:
    schema = record(("a", {"type": "array", "items": decimal(10, 2)}))
    huge = varint(1) + varint(size) + b"\x11" * size + b"\0"
    good = varint(1) + varint(1) + b"\x7f" + b"\0"
    found = decoded(schema, good, huge, good)
    assert words(found.codes) == ["OK", "BAD_DECIMAL", "OK"]
    assert found.batch.to_pylist() == [{"a": [Decimal("1.27")]}] * 2


def test_what_a_record_cut_short_left_behind_condemns_no_null_after_it() -> None:
    schema = record(("p", ["null", MONEY]), ("k", "int"))
    found = decoded(schema, b"\x02\x06\x7f\xff\xff", b"\x00\x02", b"\x02\x04\x04\xd2")
    assert words(found.codes) == ["BAD_DECIMAL", "OK", "TRUNCATED"]
    assert found.batch.to_pylist() == [{"p": None, "k": 1}]


def test_a_decimal_in_a_union_is_not_rounded_to_its_precision() -> None:
    schema = record(("v", ["string", decimal(4, 1)]))
    found = decoded(schema, b"\x02\x06\x01\x86\x9f", b"\x02\x04\x27\x0f")
    assert words(found.codes) == ["BAD_DECIMAL", "OK"]
    assert found.batch.to_pylist() == [{"v": '"999.9"'}]


def test_a_decimal_of_no_bytes_whose_length_is_written_in_two_is_empty() -> None:
    schema = record(("a", {"type": "array", "items": decimal(4, 1)}))
    assert words(decoded(schema, b"\x02\x80\x00\x00").codes) == ["BAD_DECIMAL"]


@pytest.mark.parametrize("digits", [9, 18, 19, 20, 38])
def test_the_largest_decimal_and_the_one_after_it(digits: int) -> None:
    schema = record(("m", decimal(digits, 0)))
    numbers = [10**digits - 1, 10**digits, 1 - 10**digits, -(10**digits), -(2**127), 2**127 - 1]
    raw = [number.to_bytes(20, "big", signed=True) for number in numbers]
    found = decoded(schema, *(varint(len(one)) + one for one in raw))
    assert words(found.codes) == ["OK", "BAD_DECIMAL", "OK"] + ["BAD_DECIMAL"] * 3
    assert found.batch.column("m").to_pylist() == [Decimal(numbers[0]), Decimal(numbers[2])]


def test_a_fixed_type_that_would_fill_the_memory_is_refused() -> None:
    schema = record(("z", {"type": "fixed", "name": "Z", "size": 2**31 - 1}))
    assert set(words(decoded(schema, *[b"\0"] * 8192).codes)) == {"TOO_LARGE"}


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "enum", "name": "E", "symbols": 5}',
        '{"type": "enum", "name": "E", "symbols": ["\\ud800"]}',
        '{"type": "enum", "name": "E", "symbols": [1]}',
        '{"type": "enum", "name": "E", "symbols": ["a-b"]}',
        '{"type": "enum", "name": "E", "symbols": ["A", "A"]}',
        '{"type": "record", "name": "R", "fields": 5}',
        '{"type": "record", "name": "R", "fields": {"name": "x", "type": "int"}}',
        '{"type": "record", "name": "R", "fields": [{"name": "\\ud800", "type": "int"}]}',
    ],
)
def test_a_schema_of_wrong_kinds_of_json_is_an_error_of_its_own(text: str) -> None:
    with pytest.raises(DataError, match="INVALID_SCHEMA"):
        arrow_schema(text)


@pytest.mark.parametrize("text", ["naf", "inn", "infected", "nanometr", "-naN", "+INFINITY"])
def test_words_that_only_begin_like_infinity_are_no_numbers(text: str) -> None:
    value = varint(len(text)) + text.encode()
    reader = AvroDecoder(Known(record(("s", "string"))))
    codes = reader.matrix(pa.array([framed(value)], pa.binary()), ["s"], np.float64)[1]
    expected = "NON_FINITE" if text[0] in "+-" else "WRONG_TYPE"
    assert words(codes) == [expected]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_matrix_takes_no_decimal_of_too_many_digits(prepared: bool) -> None:
    schema = record(("m", decimal(4, 2)), ("x", ["null", "double"]))
    rest = b"\x00"
    records = [b"\x04\x27\x0f", b"\x04\x27\x10", b"\x80\x02" + b"\x11" * 128, b"\x00"]
    reader = AvroDecoder(Known(schema))
    assert not prepared or reader.prepare(258, ["m"])
    values = pa.array([framed(one + rest) for one in records], pa.binary())
    matrix, codes = reader.matrix(values, ["m"])
    assert words(codes) == ["OK", "BAD_DECIMAL", "BAD_DECIMAL", "BAD_DECIMAL"]
    assert matrix[0, 0] == 99.99


@pytest.mark.parametrize(("size", "precision"), [(1, 3), (4, 10), (16, 39), (0, 1)])
def test_a_fixed_type_too_short_for_its_precision_is_no_decimal(size: int, precision: int) -> None:
    money = {"type": "fixed", "name": "M", "size": size, "logicalType": "decimal"}
    schema = record(("m", money | {"precision": precision}), ("u", ["string", "M"]))
    found = decoded(schema, b"\x01" * size + b"\x02" + b"\x02" * size)
    assert words(found.codes) == ["OK"]
    assert found.batch.to_pylist() == [{"m": b"\x01" * size, "u": f'"{"02" * size}"'}]
