"""KSQL with known answers, for any server that speaks ksqlDB's REST API: our own engine, and ksqlDB where its image is."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any, NamedTuple

from gradstream.shell.client import KsqlClient

EARLIEST = {"auto.offset.reset": "earliest"}
PATIENCE = 60.0  # seconds for what a query keeps to be there


class Golden(NamedTuple):
    """Statements, a question, and its answer.

    Attributes:
        makes: statements; names of streams and topics begin with ``{p}``.
        asks: a push query, whose rows come in this order, or a pull query, whose rows may come in any order.
    """

    name: str
    makes: str
    asks: str
    rows: list[list[Any]]


def answer(client: KsqlClient, golden: Golden, prefix: str) -> list[list[Any]]:
    """What a server makes of it; of a pull query what it says in the end."""
    client.execute(golden.makes.replace("{p}", prefix), EARLIEST)
    asks = golden.asks.replace("{p}", prefix)
    if "EMIT CHANGES" in asks:
        return asked(client, f"{asks} LIMIT {len(golden.rows)};")
    deadline = time.monotonic() + PATIENCE
    while sorted(found := asked(client, f"{asks};"), key=str) != sorted(golden.rows, key=str):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return golden.rows


def asked(client: KsqlClient, text: str) -> list[list[Any]]:
    with client.query(text, EARLIEST, idle_timeout=PATIENCE) as rows:
        return list(rows)


def stream(
    name: str, columns: str, *rows: str, format_: str = "JSON", key: str = "K INT KEY"
) -> str:
    """A stream of one partition with these rows."""
    names = ", ".join(of.split()[0] for of in [key, *columns.split(", ")])
    made = f"CREATE STREAM {{p}}{name} ({key}, {columns}) WITH (KAFKA_TOPIC='{{p}}{name}', KEY_FORMAT='KAFKA', VALUE_FORMAT='{format_}', PARTITIONS=1);"
    return made + "".join(f"INSERT INTO {{p}}{name} ({names}) VALUES ({row});" for row in rows)


def timed(name: str, *rows: str) -> str:
    """A stream of rows with times: ROWTIME, K, V."""
    made = f"CREATE STREAM {{p}}{name} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{{p}}{name}', KEY_FORMAT='KAFKA', VALUE_FORMAT='JSON', PARTITIONS=1);"
    return made + "".join(
        f"INSERT INTO {{p}}{name} (ROWTIME, K, V) VALUES ({row});" for row in rows
    )


TABLE = "CREATE TABLE {p}T (K INT PRIMARY KEY, NAME STRING) WITH (KAFKA_TOPIC='{p}T', KEY_FORMAT='KAFKA', VALUE_FORMAT='JSON', PARTITIONS=1);"
TABLE += "INSERT INTO {p}T (ROWTIME, K, NAME) VALUES (1000, 1, 'one');"

GOLDENS = [
    Golden(
        "filter and casts",
        stream("S", "X DOUBLE", "1, 0.5", "2, 2.75", "3, NULL", "4, -2.75"),
        "SELECT K, CAST(X AS INT) AS I, CAST(K AS STRING) AS T FROM {p}S WHERE X > 1 OR X < 0 EMIT CHANGES",
        [[2, 2, "2"], [4, -2, "4"]],
    ),
    Golden(
        "what is missing",
        stream("S", "X DOUBLE", "1, NULL", "2, 2.5", "3, 1.5"),
        "SELECT CASE WHEN X IS NULL THEN 'none' WHEN X > 2 THEN 'big' ELSE 'small' END AS C, COALESCE(X, 5E-1) AS D, X + 1 AS E FROM {p}S EMIT CHANGES",
        [["none", 0.5, None], ["big", 2.5, 3.5], ["small", 1.5, 2.5]],
    ),
    Golden(
        "masks",
        stream("S", "T STRING", "1, 'Ab1 c'", "2, NULL"),
        "SELECT MASK(T) AS A, MASK_LEFT(T, 2) AS B, MASK_KEEP_RIGHT(T, 2) AS C FROM {p}S EMIT CHANGES",
        [["Xxn-x", "Xx1 c", "Xxn c"], [None, None, None]],
    ),
    Golden(
        "text",
        stream("S", "T STRING", "1, ' Hello World '"),
        "SELECT UCASE(TRIM(T)) AS A, SUBSTRING(TRIM(T), 2, 3) AS B, LEN(T) AS C, REPLACE(T, 'o', '0') AS D, LPAD('7', 3, '0') AS E, SPLIT(TRIM(T), ' ') AS F FROM {p}S EMIT CHANGES",
        [["HELLO WORLD", "ell", 13, " Hell0 W0rld ", "007", ["Hello", "World"]]],
    ),
    Golden(
        "decimals",
        stream("S", "D DECIMAL(6,2)", "1, 12.34", "2, -0.26"),
        "SELECT D + 1.50 AS A, D * CAST(2.5 AS DECIMAL(2, 1)) AS B, ROUND(D, 1) AS C FROM {p}S EMIT CHANGES",
        [
            [13.84, Decimal("30.850"), Decimal("12.30")],
            [1.24, Decimal("-0.650"), Decimal("-0.30")],
        ],
    ),
    Golden(
        "times",
        stream("S", "D STRING", "1, '2024-02-28'"),
        "SELECT FORMAT_DATE(DATEADD(DAYS, 2, PARSE_DATE(D, 'yyyy-MM-dd')), 'dd.MM.yyyy') AS A, FORMAT_TIMESTAMP(FROM_UNIXTIME(86400000), 'yyyy-MM-dd HH:mm:ss', 'UTC') AS B FROM {p}S EMIT CHANGES",
        [["01.03.2024", "1970-01-02 00:00:00"]],
    ),
    Golden(
        "nested values and lambdas",
        stream("S", "A ARRAY<INT>", "1, ARRAY[3, 1, 2]"),
        "SELECT A[1] AS A1, A[-1] AS A2, MAP('k' := A[2])['k'] AS M, STRUCT(F := K)->F AS F, TRANSFORM(A, X => X * 2) AS T, FILTER(A, X => X > 1) AS L, REDUCE(A, 0, (S, X) => S + X) AS R FROM {p}S EMIT CHANGES",
        [[3, 2, 1, 1, [6, 2, 4], [3, 2], 6]],
    ),
    Golden(
        "one row becomes several",
        stream("S", "A ARRAY<INT>", "1, ARRAY[7, 8]", "2, ARRAY[9]"),
        "SELECT K, EXPLODE(A) AS E FROM {p}S EMIT CHANGES",
        [[1, 7], [1, 8], [2, 9]],
    ),
    Golden(
        "json in text",
        stream("S", "T STRING", """1, '{"a": {"b": [5, "x"]}}'"""),
        "SELECT EXTRACTJSONFIELD(T, '$.a.b[1]') AS A, EXTRACTJSONFIELD(T, '$.c') AS B FROM {p}S EMIT CHANGES",
        [["x", None]],
    ),
    Golden(
        "through Avro, with another key",
        stream("S", "N STRING, X DOUBLE", "1, 'a', 0.5", "2, 'b', NULL")
        + "CREATE STREAM {p}O WITH (VALUE_FORMAT='AVRO', KEY_FORMAT='KAFKA') AS SELECT N, K AS I, X FROM {p}S PARTITION BY N EMIT CHANGES;",
        "SELECT N, I, X FROM {p}O EMIT CHANGES",
        [["a", 1, 0.5], ["b", 2, None]],
    ),
    Golden(
        "one stream into another",
        stream("S", "X INT", "1, 10", "2, 20")
        + "CREATE STREAM {p}O AS SELECT K, X FROM {p}S WHERE X < 15 EMIT CHANGES;"
        + "INSERT INTO {p}O SELECT K + 100 AS K, X FROM {p}S WHERE X > 15 PARTITION BY K + 100 EMIT CHANGES;"
        + "CREATE TABLE {p}N AS SELECT K, LATEST_BY_OFFSET(X) AS X FROM {p}O GROUP BY K EMIT CHANGES;",
        "SELECT K, X FROM {p}N",
        [[1, 10], [102, 20]],
    ),
    Golden(
        "a stream looks up a table",
        TABLE
        + "CREATE STREAM {p}S (K INT KEY, X INT) WITH (KAFKA_TOPIC='{p}S', KEY_FORMAT='KAFKA', VALUE_FORMAT='JSON', PARTITIONS=1);"
        + "INSERT INTO {p}S (ROWTIME, K, X) VALUES (2000, 1, 5); INSERT INTO {p}S (ROWTIME, K, X) VALUES (2001, 2, 6);"
        + "CREATE STREAM {p}O AS SELECT S.K AS K, S.X AS X, T.NAME AS NAME FROM {p}S S LEFT JOIN {p}T T ON S.K = T.K EMIT CHANGES;",
        "SELECT K, X, NAME FROM {p}O EMIT CHANGES",
        [[1, 5, "one"], [2, 6, None]],
    ),
    Golden(
        "groups with HAVING",
        stream("S", "N STRING, X INT", "1, 'a', 1", "2, 'b', 2", "3, 'a', 3", "4, NULL, 9")
        + "CREATE TABLE {p}O AS SELECT N, COUNT(*) AS C, SUM(X) AS S, MAX(X) AS M FROM {p}S GROUP BY N HAVING COUNT(*) > 1 EMIT CHANGES;",
        "SELECT N, C, S, M FROM {p}O",
        [["a", 2, 4, 3]],
    ),
    Golden(
        "tumbling windows",
        timed("S", "1000, 'a', 1", "9999, 'a', 2", "10000, 'a', 4", "3000, 'b', 8")
        + "CREATE TABLE {p}O AS SELECT K, SUM(V) AS S FROM {p}S WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY K EMIT CHANGES;",
        "SELECT K, WINDOWSTART, S FROM {p}O",
        [["a", 0, 3], ["a", 10000, 4], ["b", 0, 8]],
    ),
    Golden(
        "sessions",
        timed("S", "1000, 'a', 1", "1500, 'a', 2", "9000, 'a', 4")
        + "CREATE TABLE {p}O AS SELECT K, COUNT(*) AS C FROM {p}S WINDOW SESSION (1 SECONDS) GROUP BY K EMIT CHANGES;",
        "SELECT K, WINDOWSTART, WINDOWEND, C FROM {p}O",
        [["a", 1000, 1500, 2], ["a", 9000, 9000, 1]],
    ),
    Golden(
        "streams joined within a time",
        timed("A", "1000, 'k', 1", "60000, 'k', 2")
        + timed("B", "2000, 'k', 10", "30000, 'k', 20")
        + "CREATE STREAM {p}O AS SELECT A.K AS K, A.V AS X, B.V AS Y FROM {p}A A JOIN {p}B B WITHIN 5 SECONDS GRACE PERIOD 1 DAY ON A.K = B.K EMIT CHANGES;",
        "SELECT K, X, Y FROM {p}O EMIT CHANGES",
        [["k", 1, 10]],
    ),
]  # fmt: skip
