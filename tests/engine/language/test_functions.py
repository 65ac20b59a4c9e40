"""Scalar functions by kind: a value, the edges, NULL."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

import pytest

from gradstream.engine.language import functions

Value = Callable[..., Any]

CASES: dict[str, Any] = {
    # texts
    "UCASE('straße')": "STRASSE",
    "LCASE('ÄB')": "äb",
    "TRIM(' \t x y ')": "x y",
    "INITCAP('the qUICK  fox')": "The Quick  Fox",
    "LEN('a🙂')": 3,
    "LEN(TO_BYTES('Kg==', 'base64'))": 1,
    "SUBSTRING('stream', 2, 3)": "tre",
    "SUBSTRING('stream', 0, 2)": "st",
    "SUBSTRING('stream', -3)": "eam",
    "SUBSTRING('stream', 9)": "",
    "SUBSTRING('stream', -9, 2)": "st",
    "CONCAT('a', CAST(NULL AS STRING), 'b')": "ab",
    "CONCAT_WS('-', 'a', CAST(NULL AS STRING), 'b')": "a-b",
    "CONCAT_WS(CAST(NULL AS STRING), 'a')": None,
    "REPLACE('a.b.c', '.', '')": "abc",
    "SPLIT('a,,b', ',')": ["a", "", "b"],
    "SPLIT('ab', '')": ["a", "b"],
    "INSTR('banana', 'an')": 2,
    "INSTR('banana', 'an', 3)": 4,
    "INSTR('banana', 'an', -1)": 4,
    "INSTR('banana', 'an', 1, 2)": 4,
    "INSTR('banana', CAST(NULL AS STRING))": 0,
    "LPAD('7', 3, '0')": "007",
    "RPAD('abcd', 2, 'x')": "ab",
    "LPAD('a', 3, '')": None,
    "RPAD('a', -1, 'x')": None,
    "CHR(8364)": "€",
    "CHR('\\u20AC')": "€",
    "FIELD('b', 'a', 'b')": 2,
    "FIELD(CAST(NULL AS STRING), 'a')": 0,
    "ELT(2, 'a', 'b')": "b",
    "ELT(3, 'a', 'b')": None,
    "FROM_BYTES(TO_BYTES('0aff', 'hex'), 'base64')": "Cv8=",
    "ENCODE('4b6c', 'hex', 'utf8')": "Kl",
    "INT_FROM_BYTES(TO_BYTES('00000102', 'hex'))": 258,
    "INT_FROM_BYTES(TO_BYTES('02010000', 'hex'), 'LITTLE_ENDIAN')": 258,
    "DOUBLE_FROM_BYTES(TO_BYTES('3ff8000000000000', 'hex'))": 1.5,
    # regular expressions
    "REGEXP_EXTRACT('(\\w+)@(\\w+)', 'me@home now', 2)": "home",
    "REGEXP_EXTRACT('x', 'abc')": None,
    "REGEXP_EXTRACT('(a)', 'a', 2)": None,
    "REGEXP_EXTRACT_ALL('[0-9]+', 'a1b22')": ["1", "22"],
    "REGEXP_REPLACE('2020-01', '(\\d+)-(\\d+)', '$2/$1')": "01/2020",
    "REGEXP_SPLIT_TO_ARRAY('a1b22c', '[0-9]+')": ["a", "b", "c"],
    # numbers
    "ABS(-3)": 3,
    "ABS(-2147483648)": -2147483648,
    "ROUND(2.5e0)": 3,
    "ROUND(-2.5e0)": -2,
    "ROUND(1.005e0, 2)": 1.01,
    "ROUND(1.25, 1)": decimal.Decimal("1.30"),
    "ROUND(-1.25, 1)": decimal.Decimal("-1.20"),
    "ROUND(9.9)": decimal.Decimal("10"),
    "TRUNC(-1.9e0)": -1,
    "TRUNC(1.29e0, 1)": 1.2,
    "CEIL(1.2e0)": 2.0,
    "FLOOR(-1.2)": decimal.Decimal("-2.0"),
    "SIGN(-2.5e0)": -1,
    "SQRT(-1e0)": math.nan,
    "LN(0e0)": -math.inf,
    "LOG(2, 8)": 3.0,
    "LOG(1, 8)": math.nan,
    "EXP(0)": 1.0,
    "POWER(2, 10)": 1024.0,
    "DEGREES(PI())": 180.0,
    "GREATEST(1, CAST(NULL AS INT), 3)": 3,
    "LEAST(1, 2.5)": decimal.Decimal("1.0"),
    "GEO_DISTANCE(0, 0, 0, 180)": 6371.0 * math.pi,
    # JSON
    "EXTRACTJSONFIELD('{\"a\": [{\"b\": \"x\"}]}', '$.a[0].b')": "x",
    "EXTRACTJSONFIELD('{\"a\": {\"b\": 1.50}}', '$.a')": '{"b":1.50}',
    "EXTRACTJSONFIELD('{\"a\": null}', '$.a')": None,
    "IS_JSON_STRING('[1')": False,
    "IS_JSON_STRING(CAST(NULL AS STRING))": False,
    "JSON_ARRAY_LENGTH('[1, [2]]')": 2,
    "JSON_ARRAY_CONTAINS('[1, \"2\"]', 2)": False,
    "JSON_ARRAY_CONTAINS('[1, \"2\"]', '2')": True,
    "JSON_KEYS('{\"a\": 1, \"b\": 2}')": ["a", "b"],
    "JSON_RECORDS('{\"a\": \"x\", \"b\": [1]}')": {"a": "x", "b": "[1]"},
    "JSON_CONCAT('[1]', '{\"a\": 2}')": '[1,{"a":2}]',
    "TO_JSON_STRING(ARRAY[1.50, CAST(NULL AS DECIMAL(3, 2))])": "[1.50,null]",
    "TO_JSON_STRING(STRUCT(b := 'q', a := true))": '{"A":true,"B":"q"}',
    # collections
    "ARRAY_LENGTH(ARRAY[1, 2])": 2,
    "ARRAY_CONTAINS(ARRAY[1, 2], 3)": False,
    "ARRAY_DISTINCT(ARRAY[2, 1, 2])": [2, 1],
    "ARRAY_EXCEPT(ARRAY[1, 2, 2, 3], ARRAY[3])": [1, 2],
    "ARRAY_UNION(ARRAY[1, 2], ARRAY[2, 3])": [1, 2, 3],
    "ARRAY_INTERSECT(ARRAY[1, 2], ARRAY[2, 3])": [2],
    "ARRAY_CONCAT(ARRAY[1], CAST(NULL AS ARRAY<INT>))": [1],
    "ARRAY_JOIN(ARRAY[1, CAST(NULL AS INT)], '|')": "1|null",
    "ARRAY_SORT(ARRAY[2, CAST(NULL AS INT), 1], 'desc')": [2, 1, None],
    "ARRAY_MAX(ARRAY[1, 3, 2])": 3,
    "ARRAY_REMOVE(ARRAY[1, 2, 1], 1)": [2],
    "SLICE(ARRAY[1, 2, 3], 2, 3)": [2, 3],
    "SLICE(ARRAY[1], 1, 2)": None,
    "GENERATE_SERIES(3, 1)": [3, 2, 1],
    "GENERATE_SERIES(1, 6, 2)": [1, 3, 5],
    "MAP_UNION(MAP('a' := 1), MAP('a' := 2, 'b' := 3))": {"a": 2, "b": 3},
    "AS_MAP(ARRAY['a', 'b'], ARRAY[1, 2])": {"a": 1, "b": 2},
    "ENTRIES(MAP('b' := 1, 'a' := 2), true)": [{"K": "a", "V": 2}, {"K": "b", "V": 1}],
    "SPLIT_TO_MAP('a:1,b:2', ',', ':')": {"a": "1", "b": "2"},
    "TRANSFORM(ARRAY[1, 2], x => x * 10)": [10, 20],
    "TRANSFORM(MAP('a' := 1), (k, v) => UCASE(k), (k, v) => v + 1)": {"A": 2},
    "FILTER(ARRAY[1, 2, 3], x => x % 2 = 1)": [1, 3],
    "REDUCE(ARRAY[1, 2, 3], 0, (s, x) => s + x)": 6,
    # times
    "TIMESTAMPADD(HOURS, 2, FROM_UNIXTIME(0))": 7_200_000,
    "DATESUB(DAYS, 1, FROM_DAYS(0))": -1,
    "TIMEADD(HOURS, 25, PARSE_TIME('01:00', 'HH:mm'))": 7_200_000,
    "STRINGTOTIMESTAMP('2020-02-29', 'yyyy-MM-dd')": 1_582_934_400_000,
    "TIMESTAMPTOSTRING(0, 'yyyy/MM/dd HH:mm', 'Asia/Tokyo')": "1970/01/01 09:00",
    "STRINGTODATE('01.03.1970', 'dd.MM.yyyy')": 59,
    "DATETOSTRING(59, 'dd.MM.yyyy')": "01.03.1970",
    "UNIX_DATE(FROM_DAYS(7))": 7,
    "FORMAT_DATE(PARSE_DATE('2020-02-29', 'yyyy-MM-dd'), 'D')": "60",
    # URLs
    "URL_EXTRACT_HOST('https://me@example.org:8443/a%20b?q=1&r=x%26y#f')": "example.org",
    "URL_EXTRACT_PORT('https://me@example.org:8443/a')": 8443,
    "URL_EXTRACT_PATH('https://example.org/a%20b?q=1')": "/a b",
    "URL_EXTRACT_PARAMETER('https://example.org/?q=1&r=x%26y', 'r')": "x&y",
    "URL_ENCODE_PARAM('a b&c')": "a+b%26c",
    "URL_DECODE_PARAM('a+b%26c')": "a b&c",
}  # fmt: skip


@pytest.mark.parametrize("expression", CASES)
def test_value(value: Value, expression: str) -> None:
    expected, got = CASES[expression], value(expression)
    if isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-12, nan_ok=True)
    else:
        assert (got, str(got)) == (expected, str(expected))


@pytest.mark.parametrize(
    "expression",
    [
        "ENCODE('x', 'hex', 'utf8')", "TO_BYTES('x', 'rot13')", "INT_FROM_BYTES(TO_BYTES('00', 'hex'))",
        "REGEXP_EXTRACT('(', 'x')", "EXTRACTJSONFIELD('{', '$.a')", "GENERATE_SERIES(1, 3, 0)",
        "STRINGTOTIMESTAMP('x', 'yyyy')", "STRINGTOTIMESTAMP(CAST(NULL AS STRING), 'yyyy')", "GEO_DISTANCE(91, 0, 0, 0)",
        "URL_EXTRACT_HOST('http://a b')", "PARSE_DATE('2020 10', 'yyyy HH')", "FILTER(ARRAY[CAST(NULL AS BOOLEAN)], x => x)",
    ],
)  # fmt: skip
def test_failure_is_an_error_of_the_row(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError):
        value(expression)


def test_all_functions_of_the_reference_are_there() -> None:
    names = set(functions.names())
    scalars = [family for family in functions.families() if family.kind == "SCALAR"]
    assert len(scalars) >= 129
    assert {
        "MASK_KEEP_RIGHT",
        "TIMESTAMPSUB",
        "JSON_ITEMS",
        "URL_EXTRACT_QUERY",
        "REDUCE",
        "UUID",
    } <= names
    for family in scalars:
        assert family.overloads, family.name
        assert family.display.upper() == family.name
        assert family.category


def test_a_regular_expression_that_never_ends_is_stopped(value: Value) -> None:
    with pytest.raises(ArithmeticError):
        value("REGEXP_EXTRACT('(a|aa)+$', '" + "a" * 60 + "b')")


@pytest.mark.parametrize(
    "expression",
    [
        "LPAD('x', 2000000000, 'y')",
        "GENERATE_SERIES(0, 2000000000)",
        "CAST('1E999999999' AS DECIMAL(5, 2))",
    ],
)
def test_one_row_cannot_take_all_memory(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError):
        value(expression)
