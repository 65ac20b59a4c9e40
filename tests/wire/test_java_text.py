"""Numbers as text, as Java has them."""

from __future__ import annotations

import math
import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradstream.wire.java_text import (
    double_text,
    double_texts,
    parse_decimal,
    parse_double,
    parse_integer,
)

KNOWN = [
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1.0, "1.0"),
    (-1.5, "-1.5"),
    (100.0, "100.0"),
    (0.001, "0.001"),
    (0.002, "0.002"),
    (9.999e-4, "9.999E-4"),
    (-9.999e-4, "-9.999E-4"),
    (0.00001, "1.0E-5"),
    (9999999.0, "9999999.0"),
    (9999999.999999998, "9999999.999999998"),
    (1e7, "1.0E7"),
    (-1e7, "-1.0E7"),
    (12345678.5, "1.23456785E7"),
    (1e10, "1.0E10"),
    (1e21, "1.0E21"),
    (1e22, "1.0E22"),
    (1.2345e-7, "1.2345E-7"),
    (2e-3, "0.002"),
    (123456789012345680.0, "1.2345678901234568E17"),
    (4.9e-324, "4.9E-324"),
    (1.5e-323, "1.5E-323"),
    (2e-323, "2.0E-323"),
    (1.235e-320, "1.235E-320"),
    (1.7976931348623157e308, "1.7976931348623157E308"),
    (2.2250738585072014e-308, "2.2250738585072014E-308"),
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
]


@pytest.mark.parametrize(("value", "text"), KNOWN, ids=[text for _, text in KNOWN])
def test_doubles_print_as_in_java(value: float, text: str) -> None:
    assert double_text(value) == text


def test_a_column_prints_as_its_values_do() -> None:
    values = [value for value, _ in KNOWN] + [None]
    texts: list[str | None] = [text for _, text in KNOWN]
    assert double_texts(pa.array(values, pa.float64())).to_pylist() == [*texts, None]
    assert double_texts(pa.array([None, 2.0], pa.float64())[1:]).to_pylist() == ["2.0"]
    assert double_texts(pa.array([], pa.float64())).to_pylist() == []


@given(st.lists(st.none() | st.floats(width=64)))
def test_column_and_scalar_agree_and_read_back(values: list[float | None]) -> None:
    texts = double_texts(pa.array(values, pa.float64())).to_pylist()
    assert texts == [None if value is None else double_text(value) for value in values]
    for value, text in zip(values, texts, strict=True):
        if value is not None and text is not None:
            back = parse_double(text)
            same = struct.pack("d", back) == struct.pack("d", value)
            assert same or (math.isnan(value) and math.isnan(back))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("+1.5", 1.5),
        (" 1.5\t", 1.5),
        ("\x011", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e5", 1e5),
        ("1E+5", 1e5),
        ("1d", 1.0),
        ("1.5F", 1.5),
        ("1e3D", 1e3),
        ("0x1p3", 8.0),
        ("-0X.8P1d", -1.0),
        ("1e999", math.inf),
        ("0x1p9999", math.inf),
        ("-1e999", -math.inf),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
    ],
)
def test_texts_that_java_reads_as_doubles(text: str, value: float) -> None:
    assert parse_double(text) == value


@pytest.mark.parametrize("text", ["NaN", "+NaN", "-NaN"])
def test_not_a_number_reads(text: str) -> None:
    assert math.isnan(parse_double(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        "inf",
        "infinity",
        "1_0",
        "0x10",
        "1e",
        ".",
        "1dd",
        "NaNd",
        "Infinityf",
        "1,5",
        "٣",
        "1\u00a0",
        "e5",
        "--1",
    ],
)
def test_texts_that_java_refuses_as_doubles(text: str) -> None:
    with pytest.raises(ValueError):
        parse_double(text)


def test_integers_as_java_reads_them() -> None:
    assert parse_integer("+5", 32) == 5
    assert parse_integer("-007", 32) == -7
    assert parse_integer("٣", 32) == 3
    assert parse_integer("2147483647", 32) == 2**31 - 1
    assert parse_integer("-9223372036854775808", 64) == -(2**63)
    assert parse_integer("0" * 5000 + "7", 32) == 7


@pytest.mark.parametrize(
    "text",
    ["", "+", "-", " 1", "1 ", "1.0", "0x10", "1_0", "2147483648", "-2147483649", "9" * 5000],
)
def test_texts_that_java_refuses_as_integers(text: str) -> None:
    with pytest.raises(ValueError):
        parse_integer(text, 32)


def test_decimals_as_java_reads_them() -> None:
    assert [parse_decimal(text) for text in ("1", "-.5", "1.", "+1e3")] == [
        "1",
        "-.5",
        "1.",
        "+1e3",
    ]
    for text in ("", " 1", "1d", "NaN", "Infinity", "1_0", "e1"):
        with pytest.raises(ValueError):
            parse_decimal(text)
