"""What each operator makes of values and of NULL, and which types go together."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import pytest

from gradstream.engine import types
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    Struct,
)
from gradstream.errors import SqlError

Value = Callable[..., Any]
TypeOf = Callable[..., str]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("2147483647 + 1", -2147483648),
        ("9223372036854775807 + 1", -9223372036854775808),
        ("-2147483648 * -1", -2147483648),
        ("1 + 2147483648", 2147483649),
        ("1.10 + 2", decimal.Decimal("3.10")),
        ("1.5 * 1.5", decimal.Decimal("2.25")),
        ("1.00 / 4.0", decimal.Decimal("0.250000")),
        ("5.5 % 2", decimal.Decimal("1.5")),
        ("1e0 / 0", float("inf")),
        ("-1e0 / 0", float("-inf")),
        ("2 + 0.5e0", 2.5),
        ("'a' + 'b'", "ab"),
        ("'a' || 'b'", "ab"),
    ],
)
def test_arithmetic(value: Value, expression: str, expected: Any) -> None:
    got = value(expression)
    assert got == expected
    if isinstance(expected, decimal.Decimal):
        assert str(got) == str(expected)  # the scale counts


@pytest.mark.parametrize(
    "expression", ["1 / 0", "1 % 0", "1.0 / 3", "1.0 / 0", "A + 1", "1 - A", "-A"]
)
def test_arithmetic_that_fails_fails_for_its_row(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError):
        value(expression, A=(INTEGER, None))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("A + B", "DECIMAL(5, 2)"),
        ("A * B", "DECIMAL(8, 3)"),
        ("A / B", "DECIMAL(9, 6)"),
        ("A % B", "DECIMAL(4, 2)"),
        ("A + I", "DECIMAL(13, 2)"),
        ("I + L", "BIGINT"),
        ("A + X", "DOUBLE"),
        ("1.50", "DECIMAL(3, 2)"),
        ("0.05", "DECIMAL(2, 2)"),
        ("ARRAY[I, L]", "ARRAY<BIGINT>"),
        ("CASE WHEN TRUE THEN I ELSE 1.5 END", "DECIMAL(11, 1)"),
        ("MAP('a' := I)", "MAP<STRING, INTEGER>"),
        ("STRUCT(f := I, `g` := 'x')", "STRUCT<`F` INTEGER, `g` STRING>"),
        ("ROUND(X)", "BIGINT"),
        ("ROUND(X, 1)", "DOUBLE"),
        ("IFNULL(S, 'x')", "STRING"),
    ],
)
def test_types(type_of: TypeOf, expression: str, expected: str) -> None:
    columns = {
        "A": Decimal(4, 2),
        "B": Decimal(3, 1),
        "I": INTEGER,
        "L": BIGINT,
        "X": DOUBLE,
        "S": STRING,
    }
    assert type_of(expression, **columns) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("A = 1", False),
        ("A <> 1", False),
        ("NOT A = 1", True),
        ("A BETWEEN 1 AND 2", False),
        ("A NOT BETWEEN 1 AND 2", True),
        ("A IN (1, 2)", False),
        ("A NOT IN (1, 2)", True),
        ("B IN (NULL, 5)", True),
        ("B IN (NULL, 6)", False),
        ("A IS NULL", True),
        ("A IS NOT NULL", False),
        ("A IS DISTINCT FROM B", True),
        ("A IS NOT DISTINCT FROM C", True),
        ("A = C", False),
        ("B = 5 OR A + 1 = 2", True),
        ("B = 6 AND A + 1 = 2", False),
        ("CASE WHEN A = 1 THEN 'one' END", None),
        ("CASE B WHEN 5 THEN 'five' ELSE 'other' END", "five"),
        ("S + 'x'", "nullx"),
        ("S || 'x'", "x"),
        ("COALESCE(A, C, B)", 5),
        ("IFNULL(ABS(A + 1), 0)", 0),
    ],
)
def test_null_is_two_valued(value: Value, expression: str, expected: Any) -> None:
    columns = {"A": (INTEGER, None), "B": (INTEGER, 5), "C": (INTEGER, None), "S": (STRING, None)}
    if expression.startswith("IFNULL"):  # the nested call's error is logged, and only it is NULL
        with pytest.raises(ArithmeticError):
            value(expression, **columns)
        return
    assert value(expression, **columns) == expected


@pytest.mark.parametrize(
    "expression", ["S LIKE 'a%'", "NOT FLAG", "FLAG AND TRUE", "A + 1 > 0", "COALESCE(A + B, 0)"]
)
def test_null_operands_that_throw(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError, match="NULL"):
        value(expression, A=(INTEGER, None), B=(INTEGER, 1), S=(STRING, None), FLAG=(BOOLEAN, None))


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("hello", "h_llo", True),
        ("hello", "h%o", True),
        ("hello", "H%", False),
        ("50%", "50!%", True),
        ("50x", "50!%", False),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
        ("a\nb", "a%b", False),
        ("", "%", True),
        ("a\n", "a", False),
    ],
)
def test_like(value: Value, text: str, pattern: str, expected: bool) -> None:
    columns = {"S": (STRING, text), "P": (STRING, pattern)}
    assert value(f"S LIKE '{pattern}' ESCAPE '!'", **columns) is expected
    assert value("S LIKE P ESCAPE '!'", **columns) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CAST(' 12 ' AS INT)", 12),
        ("CAST('-3' AS BIGINT)", -3),
        ("CAST(' 1.5 ' AS DOUBLE)", 1.5),
        ("CAST('tr' AS BOOLEAN)", True),
        ("CAST('YES' AS BOOLEAN)", True),
        ("CAST('on' AS BOOLEAN)", False),
        ("CAST(1e7 AS STRING)", "1.0E7"),
        ("CAST(100e0 AS STRING)", "100.0"),
        ("CAST(1.50 AS STRING)", "1.50"),
        ("CAST(true AS STRING)", "true"),
        ("CAST(2.5e0 AS INT)", 2),
        ("CAST(1e20 AS INT)", 2147483647),
        ("CAST(4294967297 AS INT)", 1),
        ("CAST(1.005e0 AS DECIMAL(3, 2))", decimal.Decimal("1.01")),
        ("CAST('2.345' AS DECIMAL(3, 2))", decimal.Decimal("2.35")),
        ("CAST(7 AS DECIMAL(3, 1))", decimal.Decimal("7.0")),
        ("CAST('2020-02-29' AS DATE)", 18321),
        ("CAST('2020-02-29T01:02:03.004' AS TIMESTAMP)", 1582938123004),
        ("CAST('2020-02-29T01:02:03+0100' AS TIMESTAMP)", 1582934523000),
        ("CAST('01:02' AS TIME)", 3720000),
        ("CAST(CAST('2020-02-29' AS DATE) AS TIMESTAMP)", 1582934400000),
        ("CAST(CAST('2020-02-29T01:02:03' AS TIMESTAMP) AS STRING)", "2020-02-29T01:02:03.000"),
        ("CAST(ARRAY[1, 2] AS ARRAY<STRING>)", ["1", "2"]),
        ("CAST(ARRAY[1, 2] AS STRING)", "[1, 2]"),
        ("CAST(MAP('a' := 1) AS MAP<STRING, DOUBLE>)", {"a": 1.0}),
        ("CAST(STRUCT(a := 1) AS STRUCT<a BIGINT, b STRING>)", {"A": 1, "B": None}),
        ("CAST(NULL AS STRING)", None),
    ],
)
def test_casts(value: Value, expression: str, expected: Any) -> None:
    got = value(expression)
    assert got == expected
    assert str(got) == str(expected)


@pytest.mark.parametrize(
    "expression",
    ["CAST('1.0' AS INT)", "CAST('x' AS DOUBLE)", "CAST('1_0' AS INT)", "CAST(12345 AS DECIMAL(3, 1))", "CAST('2020-13-01' AS DATE)", "CAST('2147483648' AS INT)"],
)  # fmt: skip
def test_casts_that_fail(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError):
        value(expression)


def test_access_to_what_is_nested(value: Value) -> None:
    inner = Struct((("F", INTEGER), ("g", STRING)))
    columns = {
        "A": (Array(INTEGER), [10, 20, 30]),
        "M": (Map(STRING, INTEGER), {"x": 1}),
        "S": (inner, {"F": 7, "g": None}),
        "N": (inner, None),
    }
    cases = {
        "A[1]": 10, "A[-1]": 30, "A[0]": None, "A[4]": None, "M['x']": 1, "M['y']": None, "S->F": 7, "S->`g`": None,
        "N->F": None, "ARRAY[S->F, 1][1]": 7,
    }  # fmt: skip
    for expression, expected in cases.items():
        assert value(expression, **columns) == expected, expression


@pytest.mark.parametrize(
    ("expression", "code", "words"),
    [
        ("NOPE", "UNKNOWN_COLUMN", "SELECT column 'NOPE' cannot be resolved."),
        ("NAM", "UNKNOWN_COLUMN", "Did you mean NAME?"),
        ("UCAES(NAME)", "UNKNOWN_FUNCTION", "Did you mean UCASE?"),
        ("NAME = 1", "TYPE_MISMATCH", "Cannot compare NAME (STRING) to 1 (INTEGER) with EQUAL."),
        ("NAME + 1", "TYPE_MISMATCH", "Unsupported arithmetic types. STRING INTEGER"),
        ("I + NULL", "TYPE_MISMATCH", "Arithmetic on types INTEGER and null are not supported."),
        ("I = NULL", "TYPE_MISMATCH", "Comparison with NULL not supported: I = NULL"),
        ("I IN (1, 'x')", "TYPE_MISMATCH", 'invalid input syntax for type INTEGER: "x".'),
        ("IFNULL(L, 0)", "TYPE_MISMATCH", "Function 'IFNULL' does not accept parameters (BIGINT, INTEGER)"),
        ("IFNULL(NAME, -1)", "TYPE_MISMATCH", "Function 'IFNULL' does not accept parameters (STRING, INTEGER)"),
        ("MASK(I)", "TYPE_MISMATCH", "Function 'mask' does not accept parameters (INTEGER)"),
        ("NAME->X", "TYPE_MISMATCH", "Expected STRUCT type"),
        ("CAST(NAME AS ARRAY<INT>)", "TYPE_MISMATCH", "Cast of STRING to ARRAY<INTEGER> is not supported"),
        ("X.NAME", "UNKNOWN_STREAM", "'X' is not a valid stream/table name or alias."),
        ("NULL", "TYPE_MISMATCH", "Can't infer a type of null."),
        ("CAST(I AS MINE)", "UNKNOWN_TYPE", "Cannot resolve unknown type: MINE"),
        ("SUM(I)", "BAD_AGGREGATE", "[SUM(I)] without a GROUP BY clause"),
    ],
)  # fmt: skip
def test_what_is_refused(type_of: TypeOf, expression: str, code: str, words: str) -> None:
    with pytest.raises(SqlError) as caught:
        type_of(expression, NAME=STRING, I=INTEGER, L=BIGINT)
    assert caught.value.code == code
    assert words in caught.value.bare_message
    assert caught.value.line == 1
    assert "^" in caught.value.excerpt


def test_texts_adapt_to_the_other_items(value: Value, type_of: TypeOf) -> None:
    assert value("I IN ('7', 8)", I=(INTEGER, 7)) is True
    assert type_of("ARRAY[1, '2.5']") == "ARRAY<DECIMAL(11, 1)>"
    assert value("D = '2020-02-29'", D=(DATE, 18321)) is True
    assert value("T > '2020'", T=(TIMESTAMP, 1577836800001)) is True


def test_long_sums_and_conditions_are_taken(value: Value) -> None:
    assert value(" + ".join(["X"] * 150), X=(DOUBLE, 0.5)) == 75.0
    assert value(" AND ".join(["X = 0.5"] * 150), X=(DOUBLE, 0.5)) is True
    assert (
        value(
            "CASE " + " ".join(f"WHEN X = {n} THEN {n}" for n in range(90)) + " END",
            X=(INTEGER, 89),
        )
        == 89
    )


def test_every_type_has_a_name() -> None:
    assert {str(of) for of in types.PRIMITIVES.values()} == {
        "BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "STRING", "BYTES", "TIME", "DATE", "TIMESTAMP",
    }  # fmt: skip
