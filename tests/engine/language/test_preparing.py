"""What is told of a query before its sources are looked at, and what of its topics."""

from __future__ import annotations

from typing import Any

import pytest

from gradstream.engine.language import plan
from gradstream.errors import SqlError

SOURCES = """
CREATE TABLE one (id INT PRIMARY KEY, a INT) WITH (KAFKA_TOPIC='one', VALUE_FORMAT='JSON');
CREATE TABLE two (id INT PRIMARY KEY, a INT) WITH (KAFKA_TOPIC='two', VALUE_FORMAT='JSON');
CREATE STREAM s (id INT KEY, a INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON');
"""


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nope, a FROM one JOIN two ON id = bad.id",
        "SELECT nope, bad.a FROM one JOIN two ON id = id",
        "SELECT bad.* FROM one",
        "SELECT id, LEN(UCASE(bad.a)) FROM s",
        "SELECT id FROM s WHERE nope = 1 AND bad.a = 2",
        "SELECT id, COUNT(*) FROM s GROUP BY id HAVING bad.a > 1",
        "SELECT id, a FROM no_such_source PARTITION BY bad.a",
        "SELECT other.id, other.a FROM s other JOIN one ON bad.id = one.id",
    ],
)  # fmt: skip
def test_an_unknown_qualifier_is_told_before_anything_else(sql: Any, query: str) -> None:
    sql.run(SOURCES)
    text = f"CREATE TABLE x AS {query};"
    with pytest.raises(SqlError, match="'BAD' is not a valid stream/table name or alias") as caught:
        sql.run(text)
    assert text[caught.value.column - 1 :].upper().startswith("BAD")


def test_an_alias_hides_the_name(sql: Any) -> None:
    sql.run(SOURCES)
    with pytest.raises(SqlError, match="'S' is not a valid stream/table name or alias"):
        sql.run("CREATE STREAM x AS SELECT s.id, s.a FROM s AS t;")


def planned(sql: Any, text: str, **partitions: int) -> plan.Action:
    (statement,) = plan.parse(text)
    return plan.plan_statement(statement, sql.catalog, {}, partitions=partitions.get)


def test_joined_topics_have_as_many_partitions(sql: Any) -> None:
    sql.run(SOURCES)
    text = "CREATE STREAM x AS SELECT s.id, one.a FROM s JOIN one ON s.id = one.id JOIN two ON s.id = two.id;"
    assert planned(sql, text, s=3, one=3, two=3)
    assert planned(sql, text, s=3, one=3)  # of two nothing is known
    with pytest.raises(
        SqlError, match=r"Can't join `S` with `TWO`.*`S` partitions = 3; `TWO` partitions = 4\."
    ):
        planned(sql, text, s=3, one=3, two=4)


def test_a_join_by_foreign_key_takes_any_numbers_of_partitions(sql: Any) -> None:
    sql.run(SOURCES)
    text = "CREATE TABLE x AS SELECT one.id, two.a FROM one JOIN two ON one.a = two.id;"
    assert planned(sql, text, one=1, two=7)
