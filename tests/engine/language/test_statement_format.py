"""Statements as ksqlDB prints them, which is how its messages of refused ones end."""

from __future__ import annotations

from typing import Any

import pytest

from gradstream.engine.language import plan
from gradstream.engine.language.statement_format import format_statement
from gradstream.errors import SqlError

SOURCES = """
CREATE STREAM visits (who INT KEY, page STRING, seconds INT, place STRUCT<town STRING>)
  WITH (KAFKA_TOPIC='visits', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE TABLE people (id INT PRIMARY KEY, name STRING, `Town` STRING)
  WITH (KAFKA_TOPIC='people', VALUE_FORMAT='JSON', PARTITIONS=1);
"""
FORMATTED = [
    (
        "create stream a as select * from visits v where seconds>3 and page like 'x%';",
        "CREATE STREAM A AS SELECT *\nFROM VISITS V\n"
        "WHERE ((V.SECONDS > 3) AND (V.PAGE LIKE 'x%'))\nEMIT CHANGES;",
    ),
    (
        "create or replace stream a with (value_format='avro', partitions=2, kafka_topic='T') as "
        "select who, place->town, len(page) from visits partition by seconds;",
        "CREATE OR REPLACE STREAM A WITH (KAFKA_TOPIC='T', PARTITIONS=2, VALUE_FORMAT='avro') AS SELECT\n"
        "  VISITS.WHO WHO,\n  VISITS.PLACE->TOWN TOWN,\n  LEN(VISITS.PAGE) KSQL_COL_0\n"
        "FROM VISITS VISITS\nPARTITION BY VISITS.SECONDS\nEMIT CHANGES;",
    ),
    (
        "create stream if not exists b as select v.*, p.`Town`, p.name as `n 1` from visits v left join people p "
        "on v.who = p.id;",
        "CREATE STREAM IF NOT EXISTS B AS SELECT\n  V.*,\n  P.`Town` `Town`,\n  P.NAME `n 1`\n"
        "FROM VISITS V\nLEFT OUTER JOIN PEOPLE P ON ((V.WHO = P.ID))\nEMIT CHANGES;",
    ),
    (
        "create table c as select page, count(*) as n from visits window hopping (size 1 minute, advance by 5 seconds, "
        "grace period 1 day) group by page having count(*) > 2 emit final;",
        "CREATE TABLE C AS SELECT\n  VISITS.PAGE PAGE,\n  COUNT(*) N\nFROM VISITS VISITS\n"
        "WINDOW HOPPING ( SIZE 1 MINUTES , ADVANCE BY 5 SECONDS , GRACE PERIOD 1 DAYS ) \n"
        "GROUP BY VISITS.PAGE\nHAVING (COUNT(*) > 2)\nEMIT FINAL;",
    ),
    (
        "insert into d select transform(array[seconds], x => x + seconds) as l from visits;",
        "INSERT INTO D SELECT TRANSFORM(ARRAY[VISITS.SECONDS], (X) => (X + VISITS.SECONDS)) L\n"
        "FROM VISITS VISITS\nEMIT CHANGES;",
    ),
    (
        "create source table e (k int primary key, `v` decimal(4,2), h bytes header('x')) "
        "with (kafka_topic='e', value_format='JSON');",
        "CREATE SOURCE TABLE E (K INTEGER PRIMARY KEY, `v` DECIMAL(4, 2), H BYTES HEADER('x')) "
        "WITH (KAFKA_TOPIC='e', VALUE_FORMAT='JSON');",
    ),
    ("show streams;", "show streams;"),
]


@pytest.mark.parametrize(("text", "expected"), FORMATTED)
def test_statements_are_printed_as_ksqldb_prints_them(sql: Any, text: str, expected: str) -> None:
    sql.run(SOURCES)
    (statement,) = plan.parse(text)
    assert format_statement(statement, sql.catalog) == expected


@pytest.mark.parametrize("text", [text for text, _ in FORMATTED])
def test_what_is_printed_means_the_same(sql: Any, text: str) -> None:
    sql.run(SOURCES)
    (statement,) = plan.parse(text)
    printed = format_statement(statement, sql.catalog)
    (again,) = plan.parse(printed)
    assert format_statement(again, sql.catalog) == printed


def test_a_stream_stream_join_is_printed_with_its_window(sql: Any) -> None:
    sql.run(SOURCES)
    sql.run(
        "CREATE STREAM clicks (who INT KEY, n INT) WITH (KAFKA_TOPIC='c', VALUE_FORMAT='JSON');"
    )
    (statement,) = plan.parse(
        "create stream j as select clicks.who, page from clicks join visits within (1 hour, 2 days) grace period 3 hours "
        "on clicks.who = visits.who full join people within 5 seconds on clicks.who = people.id;"
    )
    printed = format_statement(statement, sql.catalog)
    assert (
        "FROM CLICKS CLICKS\nINNER JOIN VISITS VISITS WITHIN (1 HOURS, 2 DAYS) GRACE PERIOD 3 HOURS ON ("
        in printed
    )
    assert (
        "\nFULL OUTER JOIN PEOPLE PEOPLE WITHIN 5 SECONDS ON ((CLICKS.WHO = PEOPLE.ID))" in printed
    )


def test_the_error_of_a_statement_knows_how_the_statement_is_printed(sql: Any) -> None:
    sql.run(SOURCES)
    with pytest.raises(SqlError) as caught:
        sql.run("CREATE STREAM x AS SELECT nothing FROM visits;")
    expected = "CREATE STREAM X AS SELECT NOTHING NOTHING\nFROM VISITS VISITS\nEMIT CHANGES;"
    assert caught.value.statement == expected
    assert expected not in str(caught.value)
