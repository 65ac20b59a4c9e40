"""Statements that ksqlDB refuses, in its words; and numbers that Java computes where Python raises."""

from __future__ import annotations

from typing import Any

import pytest

from gradstream.errors import SqlError

SOURCE = """CREATE STREAM s (id INT KEY, a STRING, n INT, d DOUBLE)
  WITH (KAFKA_TOPIC='s', FORMAT='JSON', PARTITIONS=1);"""
HEADERS = "ARRAY<STRUCT<key STRING, value BYTES>> HEADERS"
WITH = "WITH (KAFKA_TOPIC='h', VALUE_FORMAT='JSON', PARTITIONS=1)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"CREATE STREAM h (a INT, x BYTES HEADER('q'), y BYTES HEADER('q')) {WITH}", "Schema already contains a HEADER('q') column."),
        (f"CREATE STREAM h (a INT, x {HEADERS}, y BYTES HEADER('q')) {WITH}", "Schema already contains a HEADERS column."),
        (f"CREATE STREAM h (a INT, x BYTES HEADER('q'), y {HEADERS}) {WITH}", "Schema already contains a HEADERS column."),
        ("CREATE STREAM o AS SELECT id, CASE WHEN n THEN 1 END FROM s", "WHEN operand type should be boolean.\nType for 'N' is INTEGER"),
        ("CREATE TABLE o AS SELECT id, COUNT(*) FROM s GROUP BY id HAVING n + LEN(a) > 1",
         "Non-aggregate HAVING expression not part of GROUP BY: [N, A]"),
        ("CREATE TABLE o AS SELECT id, COUNT(*) FROM s GROUP BY NULL", "Can't infer a type of null."),
        ("CREATE OR REPLACE STREAM s (id INT KEY, a STRING, n INT) WITH (KAFKA_TOPIC='s', FORMAT='JSON')",
         "(The following columns are changed, missing or reordered: [`D` DOUBLE])"),
        ("CREATE OR REPLACE STREAM s (id INT KEY, n INT, a STRING, d DOUBLE) WITH (KAFKA_TOPIC='s', FORMAT='JSON')",
         "changed, missing or reordered: [`A` STRING, `N` INTEGER])"),
        ("CREATE OR REPLACE STREAM s (id INT KEY, a STRING, n INT, d DOUBLE) WITH (KAFKA_TOPIC='t', FORMAT='JSON')",
         "Cannot upgrade data source: DataSource '`S`' has topic = s which is not upgradeable to t"),
        ("CREATE STREAM o AS SELECT * FROM s; CREATE OR REPLACE STREAM o AS SELECT id, a, n, 'x' AS d FROM s",
         "changed, missing or reordered: [`D` DOUBLE]"),
    ],
)  # fmt: skip
def test_it_is_refused_in_ksqldbs_words(sql: Any, text: str, said: str) -> None:
    sql.run(SOURCE)
    with pytest.raises(SqlError) as caught:
        sql.run(text + ";")
    assert said in caught.value.bare_message


@pytest.mark.parametrize(
    "text",
    [
        f"CREATE STREAM h (a INT, x BYTES HEADER('q'), y BYTES HEADER('r')) {WITH}",
        "CREATE OR REPLACE STREAM s (id INT KEY, a STRING, n INT, d DOUBLE, e INT) WITH (KAFKA_TOPIC='s', FORMAT='JSON')",
        "CREATE TABLE o AS SELECT id, n, COUNT(*) FROM s GROUP BY id, n HAVING n + COUNT(*) > 1",
    ],
)  # fmt: skip
def test_it_is_taken(sql: Any, text: str) -> None:
    sql.run(SOURCE)
    assert sql.run(text + ";")


@pytest.mark.parametrize(
    ("base", "exponent", "expected"),
    [(-2.5, 0.5, "nan"), (0.0, -float("inf"), "inf"), (-0.0, -3.0, "-inf"), (1e308, 2.0, "inf"), (-1e308, 3.0, "-inf"), (1.0, float("nan"), "nan")],
)  # fmt: skip
def test_power_never_fails(sql: Any, base: float, exponent: float, expected: str) -> None:
    sql.run("CREATE STREAM p (x DOUBLE, y DOUBLE) WITH (KAFKA_TOPIC='p', VALUE_FORMAT='JSON');")
    rows = sql.rows(
        "CREATE STREAM o AS SELECT POWER(x, y) AS z FROM p;", [{"X": base, "Y": exponent}]
    )
    assert repr(rows[0]["Z"]) == expected
