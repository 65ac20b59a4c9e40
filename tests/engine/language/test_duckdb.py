"""DuckDB as a judge: what the two languages mean alike comes out alike, for random rows and random expressions.

They do not mean the same, and nothing of that is asked here, in

* NULL: comparisons with it are FALSE in KSQL and NULL in DuckDB, so NOT, AND and OR over them differ, and so do IN and
  BETWEEN; WHERE agrees, which drops both. A NULL operand makes a whole KSQL item NULL, where DuckDB's COALESCE around it
  would still answer. CONCAT agrees; an empty AVG is 0.0 in KSQL, NULL in DuckDB; GROUP BY has no group for NULL in KSQL.
* numbers: / of integers is an integer in KSQL (DuckDB's //); integers wrap in KSQL and overflow with an error in DuckDB;
  / 0 is an error in KSQL, that is a NULL item; halves are rounded up in KSQL and away from zero in DuckDB; decimals have
  other scales, so that they are compared as numbers; STDDEV_SAMP is the variance in KSQL; doubles have other texts.
* text: KSQL counts UTF-16 units, DuckDB code points; upper case of a sharp s is one letter in DuckDB; TRIM takes all
  control characters in KSQL; LIKE does not cross lines in KSQL; negative places of SUBSTRING are clipped in other ways.
* results: a KSQL aggregate tells each change, so that the last one of a key counts; HAVING tells of a tombstone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any, TypeAlias

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.engine import qtt

Pair: TypeAlias = tuple[str, str]  # in KSQL, in DuckDB
Row: TypeAlias = dict[str, Any]
Pairs: TypeAlias = st.SearchStrategy[Pair]

COLUMNS = {
    "G": "INTEGER", "L": "BIGINT", "M": "BIGINT", "X": "DOUBLE", "Y": "DOUBLE", "D": "DECIMAL(8, 2)", "T": "VARCHAR",
    "U": "VARCHAR", "B": "BOOLEAN",
}  # fmt: skip
SOURCE = f"""CREATE STREAM s (N INT KEY, {", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())})
  WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1);"""

WHOLE = st.integers(-1000, 1000)
REAL = st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: round(number, 3))
TEXT = st.text("abzAZ 09_%\u00e4\u00e9", max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "G": st.integers(0, 1), "L": WHOLE, "M": WHOLE, "X": REAL, "Y": REAL,
    "D": st.integers(-99999, 99999).map(lambda cents: Decimal(cents).scaleb(-2)), "T": TEXT, "U": TEXT, "B": st.booleans(),
}  # fmt: skip
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6)


def rarely_null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda n: values if n < 4 else st.none())


WITH_NULLS = st.lists(
    st.fixed_dictionaries({name: rarely_null(values) for name, values in VALUES.items()}),
    min_size=4,
    max_size=12,
)


# Expressions of both languages


def same(text: str) -> Pair:
    return text, text


def quoted(text: str) -> Pair:
    return same("'" + text.replace("'", "''") + "'")


def joined(template: str, other: str, *parts: Pairs) -> Pairs:
    """``{0}``, ``{1}`` … in KSQL's and DuckDB's template stand for the parts."""
    return st.tuples(*parts).map(
        lambda made: (
            template.format(*(ksql for ksql, _ in made)),
            other.format(*(duck for _, duck in made)),
        )
    )


def alike(template: str, *parts: Pairs) -> Pairs:
    return joined(template, template, *parts)


def cased(of: Pairs, condition: Pairs) -> Pairs:
    return alike("CASE WHEN {0} THEN {1} ELSE {2} END", condition, of, of)


DIVISORS = st.sampled_from([-7, -1, 2, 3, 10]).map(lambda number: same(f"({number})"))
LENGTHS = st.integers(1, 8).map(lambda number: same(str(number)))
PATTERNS = st.text("aZ%_ 0", max_size=4).map(quoted)


def whole(depth: int) -> Pairs:
    leaf = st.sampled_from(["L", "M"]).map(same) | st.integers(-50, 50).map(
        lambda n: same(f"({n})")
    )
    if not depth:
        return leaf
    sub = whole(depth - 1)
    return st.one_of(
        leaf,
        alike("({0} + {1})", sub, sub),
        alike("({0} - {1})", sub, sub),
        alike("({0} * {1})", sub, leaf),
        joined("({0} / {1})", "({0} // {1})", sub, DIVISORS),
        alike("({0} % {1})", sub, DIVISORS),
        alike("ABS({0})", sub),
        alike("CAST(LEAST({0}, {1}) AS BIGINT)", sub, sub),
        joined("CAST(LEN({0}) AS BIGINT)", "CAST(length({0}) AS BIGINT)", text(depth - 1)),
        joined(
            "CAST(INSTR({0}, 'a') AS BIGINT)", "CAST(instr({0}, 'a') AS BIGINT)", text(depth - 1)
        ),
        cased(alike("CAST({0} AS BIGINT)", sub), truth(depth - 1)),
    )


def real(depth: int) -> Pairs:
    leaf = st.sampled_from(["X", "Y"]).map(same) | st.sampled_from(["1.5e0", "-2e-1"]).map(
        lambda number: (f"({number})", f"CAST({number} AS DOUBLE)")
    )
    if not depth:
        return leaf
    sub = real(depth - 1)
    return st.one_of(
        leaf,
        alike("({0} + {1})", sub, sub),
        alike("({0} - {1})", sub, sub),
        alike("({0} * {1})", sub, sub),
        alike("({0} / {1})", sub, DIVISORS),
        alike("ABS({0})", sub),
        alike("FLOOR({0})", sub),
        alike("CEIL({0})", sub),
        alike("SQRT(ABS({0}))", sub),
        alike("GREATEST({0}, {1})", sub, sub),
        alike("CAST({0} AS DOUBLE)", whole(depth - 1)),
        cased(sub, truth(depth - 1)),
    )


def text(depth: int) -> Pairs:
    leaf = st.sampled_from(["T", "U"]).map(same) | TEXT.map(quoted)
    if not depth:
        return leaf
    sub = text(depth - 1)
    return st.one_of(
        leaf,
        joined("UCASE({0})", "upper({0})", sub),
        joined("LCASE({0})", "lower({0})", sub),
        alike("({0} || {1})", sub, sub),
        alike("CONCAT({0}, {1}, 'z')", sub, sub),
        alike("SUBSTRING({0}, {1}, {2})", sub, LENGTHS, LENGTHS),
        alike("TRIM({0})", sub),
        alike("REPLACE({0}, 'a', 'bc')", sub),
        alike("LPAD({0}, {1}, 'xy')", sub, LENGTHS),
        alike("RPAD({0}, {1}, 'xy')", sub, LENGTHS),
        alike("CAST({0} AS VARCHAR)", whole(depth - 1)),
        cased(sub, truth(depth - 1)),
    )


def truth(depth: int) -> Pairs:
    operators = ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
    compared = st.one_of(
        *(
            alike("({0} {1} {2})", sub, st.sampled_from(operators).map(same), sub)
            for sub in (whole(0), real(0), text(0))
        ),
        alike("({0} LIKE {1})", text(0), PATTERNS),
        alike("({0} BETWEEN {1} AND {2})", whole(0), whole(0), whole(0)),
        alike("({0} IN ({1}, 3, {2}))", whole(0), whole(0), whole(0)),
        alike("({0} IS NOT NULL)", text(0)),
        st.just(same("B")),
    )
    if not depth:
        return compared
    sub = truth(depth - 1)
    return st.one_of(
        compared,
        alike("({0} AND {1})", sub, sub),
        alike("({0} OR {1})", sub, sub),
        alike("(NOT {0})", sub),
    )


ITEM = st.one_of(whole(2), real(2), text(2), truth(2))
# What is the same also where a column is NULL.
NULLABLE = st.sampled_from(
    [
        *map(same, COLUMNS), same("COALESCE(L, M)"), same("IFNULL(T, 'none')"), same("NULLIF(T, U)"), same("L + 1"), same("X * Y"),
        same("(L IS NULL)"), same("(L IS NOT DISTINCT FROM M)"), same("(T IS DISTINCT FROM 'a')"), same("CONCAT(T, U)"),
        ("UCASE(T)", "upper(T)"), same("SUBSTRING(T, 2)"), same("CASE WHEN L > 0 THEN T ELSE U END"), same("D + D"), same("D * D - D"),
        same("CASE WHEN L IS NULL THEN 'no' WHEN B THEN 'yes' END"), same("ABS(X)"), same("CAST(L AS VARCHAR)"), same("CAST(D AS DOUBLE)"),
    ]
)  # fmt: skip


# Both engines


def streamed(statement: str, rows: Sequence[Row]) -> list[qtt.Record]:
    """What a query makes of the rows, as JSON in and JSON out."""
    inputs = [{"topic": "s", "key": n, "value": row} for n, row in enumerate(rows)]
    run = qtt.Run({"id": "duckdb", "statements": [SOURCE, statement], "inputs": inputs})
    run.go()
    return run.topics["O"]


def value_of(record: qtt.Record) -> list[Any]:
    assert record.value is not None
    found: dict[str, Any] = json.loads(record.value, parse_float=Decimal)
    return list(found.values())


@cache
def judge() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    columns = ", ".join(f"{name} {type_}" for name, type_ in {"N": "INTEGER", **COLUMNS}.items())
    connection.execute(f"CREATE TABLE s ({columns})")
    return connection


def judged(query: str, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    marks = ", ".join(["(" + ", ".join("?" * (len(COLUMNS) + 1)) + ")"] * len(rows))
    values = [of for n, row in enumerate(rows) for of in (n, *(row[name] for name in COLUMNS))]
    judge().execute("DELETE FROM s")
    judge().execute(f"INSERT INTO s VALUES {marks}", values)
    return judge().execute(query).fetchall()


def agree(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(agree, found, expected))
    if isinstance(expected, float) and found is not None and not isinstance(found, bool | str):
        return math.isclose(float(found), expected, rel_tol=1e-12, abs_tol=1e-12)
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    return bool(found == expected)


def check(found: list[list[Any]], expected: list[tuple[Any, ...]], query: str) -> None:
    assert len(found) == len(expected), (query, found, expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert agree(mine, theirs), (query, mine, theirs)


def compared(items: Sequence[Pair], where: Pair | None, rows: Sequence[Row]) -> None:
    ksql, duck = (", ".join(f"{of[side]} AS c{n}" for n, of in enumerate(items)) for side in (0, 1))
    filters = ("", "") if where is None else (f" WHERE {where[0]}", f" WHERE {where[1]}")
    query = f"CREATE STREAM o AS SELECT n, {ksql} FROM s{filters[0]};"
    found = [value_of(record) for record in streamed(query, rows)]
    check(found, judged(f"SELECT {duck} FROM s{filters[1]} ORDER BY n", rows), query)


# What is compared


@settings(max_examples=70, deadline=None)
@given(st.lists(ITEM, min_size=1, max_size=3), ROWS)
def test_expressions(items: list[Pair], rows: list[Row]) -> None:
    compared(items, None, rows)


@settings(max_examples=40, deadline=None)
@given(truth(2), ROWS)
def test_filters(where: Pair, rows: list[Row]) -> None:
    compared([same("L"), same("T")], where, rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(NULLABLE, min_size=1, max_size=4), WITH_NULLS)
def test_projections_of_nulls(items: list[Pair], rows: list[Row]) -> None:
    compared(items, None, rows)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        ["L > 0", "T LIKE 'a%'", "L = M", "X < Y", "T IS NULL", "L IS DISTINCT FROM M", "B"]
    ),
    WITH_NULLS,
)
def test_filters_of_nulls(where: str, rows: list[Row]) -> None:
    compared([same("L"), same("T")], same(where), rows)


AGGREGATES: list[Pair] = [
    same("COUNT(*)"), same("COUNT(L)"), ("COALESCE(SUM(L), CAST(0 AS BIGINT))", "COALESCE(SUM(L), 0)"), same("MIN(L)"), same("MAX(X)"), same("MIN(D)"),
    ("AVG(X)", "COALESCE(AVG(X), 0.0)"), ("COUNT_DISTINCT(T)", "COUNT(DISTINCT T)"), ("COLLECT_LIST(L)", "list(L ORDER BY n)"),
    ("TOPK(L, 3)", "COALESCE(max(L, 3), [])"), same("MAX(L) - MIN(L)"), ("SUM(L * 2 + M)", "COALESCE(SUM(L * 2 + M), 0)"),
    ("EARLIEST_BY_OFFSET(T)", "arg_min(T, n)"), ("LATEST_BY_OFFSET(L)", "arg_max(L, n)"), same("COUNT(*) * 10 + COUNT(T)"),
    ("SUM(CASE WHEN B THEN 1 ELSE 0 END)", "SUM(CASE WHEN B THEN 1 ELSE 0 END)"),
]  # fmt: skip
GROUPS = st.sampled_from(
    [same("G"), same("T"), same("B"), ("M % 3", "M % 3"), ("UCASE(T)", "upper(T)"), same("G + 1")]
)


@settings(max_examples=40, deadline=None)
@given(
    GROUPS,
    st.sampled_from(["", "", " WHERE L > 0", " WHERE B"]),
    st.sampled_from(["", "", " HAVING COUNT(*) > 1", " HAVING MAX(L) > 100"]),
    WITH_NULLS,
)
def test_aggregates(by: Pair, where: str, having: str, rows: list[Row]) -> None:
    ksql, duck = (
        ", ".join(f"{of[side]} AS c{n}" for n, of in enumerate(AGGREGATES)) for side in (0, 1)
    )
    query = f"CREATE TABLE o WITH (KEY_FORMAT='JSON') AS SELECT {by[0]} AS k, {ksql} FROM s{where} GROUP BY {by[0]}{having};"
    last = {record.key: record for record in streamed(query, rows)}
    found = {
        json.loads(key or b""): value_of(record)
        for key, record in last.items()
        if record.value is not None
    }
    other = f"SELECT {by[1]} AS k, {duck} FROM s{where} GROUP BY {by[1]}{having}"
    expected = {key: values for key, *values in judged(other, rows) if key is not None}
    assert found.keys() == expected.keys(), query
    for key, values in expected.items():
        assert agree(found[key], values), (query, key, found[key], values)


@pytest.mark.parametrize(
    ("ksql", "duck"),
    [("L = NULLIF(L, L)", None), ("5 / 2", 2.5), ("AVG(X)", None)],
)
def test_the_judge_is_another_engine(ksql: str, duck: Any) -> None:
    """Some of what differs does differ: the two were not made one."""
    rows = [dict.fromkeys(COLUMNS) | {"G": 1, "L": 1}]
    assert judged(f"SELECT {ksql} FROM s", rows) == [(duck,)]
