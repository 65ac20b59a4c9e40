"""What is fuzzed of the engine: statements as far as a plan, and bytes of every format through a planned query."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import cast

from gradstream.engine import qtt
from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.rows import serdes
from gradstream.engine.rows.pipeline import Pipeline
from gradstream.engine.rows.processing_log import Logger
from gradstream.errors import SqlError
from gradstream.wire.registry import Registry
from tests.fuzz import grammar


def catalog_of(text: str) -> Catalog:
    """The sources that a text makes."""
    catalog = Catalog()
    for statement in plan.parse(text):
        plan.apply(plan.plan_statement(statement, catalog, {}), catalog)
    return catalog


def take(text: str, catalog: Catalog) -> int:
    """Parses and plans a text; a number for what became of it. A refusal knows its place in the text."""
    met = ""
    try:
        for statement in plan.parse(text):
            made = catalog.copy()
            met += type(statement.body).__name__
            plan.apply(plan.plan_statement(statement, made, {}, partitions=lambda topic: 1), made)
    except SqlError as error:
        check_place(error, text)
        met += error.code + error.bare_message[:24]
    return zlib.crc32(met.encode())


def check_place(error: SqlError, text: str) -> None:
    lines = text.split("\n")
    assert 1 <= error.line <= len(lines), (error, text)
    assert 1 <= error.column <= len(lines[error.line - 1]) + 1, (error, text)
    assert error.code.isupper()
    assert error.excerpt, (error, text)


class Statements:
    """A grammatical statement, whole and with changes, means something or is refused with its place."""

    seeds = (
        b"",
        b"\0\1\2\3\4\5\6\7\10\11",
        bytes(range(40)),
        bytes(range(200, 40, -3)),
        b"\2" * 60,
        b"\6\4\2\0" * 20,
    )

    def __init__(self) -> None:
        self.catalog = catalog_of(grammar.SOURCES)

    def __call__(self, data: bytes) -> Iterable[int]:
        text = grammar.statement(data)
        plan.parse(text)  # it is grammatical
        return [take(text, self.catalog), take(grammar.broken(data), self.catalog)]


class SqlText:
    """Any text is statements or is refused with its place."""

    seeds = tuple(
        text.encode()
        for text in (
            "CREATE STREAM o AS SELECT k, i + 1 AS n, st->g[1]->h FROM s WHERE t LIKE 'a%' PARTITION BY t EMIT CHANGES;",
            "CREATE TABLE o AS SELECT k, COUNT(*) FROM s WINDOW HOPPING (SIZE 1 DAY, ADVANCE BY 2 HOURS) GROUP BY k HAVING SUM(i) > 1;",
            "SELECT s.k, TRANSFORM(a, (v) => CASE v WHEN 1 THEN v ELSE -v END) FROM s LEFT JOIN r WITHIN 2 DAYS ON s.k = r.k;",
            "INSERT INTO s (k, i, st) VALUES ('a', 1, STRUCT(f := 1)); -- done\n/* and */ SHOW STREAMS;",
            "CREATE TABLE x (`a b` DECIMAL(4, 2) PRIMARY KEY, \"c\" MAP<STRING, ARRAY<INT>>) WITH (KAFKA_TOPIC='x', FORMAT='JSON');",
            "SELECT " + "(" * 90 + "1" + ")" * 90 + " FROM s;",
        )
    )  # fmt: skip

    def __init__(self) -> None:
        self.catalog = catalog_of(grammar.SOURCES)

    def __call__(self, data: bytes) -> Iterable[int]:
        text = data.decode("utf-8", "replace")
        for whole in (text, plan_substituted(text)):
            if whole is not None:
                yield take(whole, self.catalog)


def plan_substituted(text: str) -> str | None:
    """The text with a variable's value in it, None where that is refused."""
    try:
        return plan.substitute(text, {"x": "3", "y": "a'b"})
    except SqlError as error:
        check_place(error, text)
        return None


COLUMNS = """b BOOLEAN, i INT, l BIGINT, x DOUBLE, t STRING, y BYTES, d DECIMAL(6, 2), dt DATE, tm TIME, ts TIMESTAMP"""
DEEP = ", a ARRAY<INT>, m MAP<STRING, INT>, st STRUCT<f INT, g ARRAY<STRUCT<h STRING>>>"
QUERY = """CREATE STREAM o{n} WITH (VALUE_FORMAT='{format}') AS
  SELECT b, i + 1 AS i, l * 2 AS l, x / i AS x, t, t + 'z' AS tz, y, d * 2 AS d, dt, tm, ts,
    CAST(t AS INT) AS u, CASE WHEN b THEN x ELSE 0.5 END AS v, SUBSTRING(t, i, 2) AS w, LEN(y) AS n
  FROM s{n} WHERE l > 0 OR i IS NULL OR t LIKE '%a' PARTITION BY t;"""


class Rows:
    """Values of a format, whatever they are, go through a query: each is a row of the sink or an entry of the log."""

    seeds = (
        b"0true,1,2,3.5,ta,dGV4dA==,12.5,1000,10,99",
        b"0,,,,,,,,,",
        b'1{"B":true,"I":1,"L":2,"x":3.5,"T":"ta","Y":"dGV4dA==","D":12.5,"DT":1000,"TM":10,"TS":99,"A":[1],"M":{"k":1}}',
        b'1{"T":{"a":[1e400,"x"]},"I":"7","D":123456}',
        b"1null",
        b"2\0\0\0\0\1\2\1\2\2\2\4\2\0\0\0\0\0\0\4@\2\4ta",
        b"2\0\0\0\0\1",
    )

    def __init__(self) -> None:
        self.registry = qtt.DictRegistry()
        registry = cast(Registry, self.registry)
        self.pipelines = []
        catalog = Catalog()
        for n, (read, written) in enumerate(
            (("DELIMITED", "JSON"), ("JSON", "AVRO"), ("AVRO", "JSON"))
        ):
            deep = "" if read == "DELIMITED" else DEEP
            source = f"CREATE STREAM s{n} (k STRING KEY, {COLUMNS}{deep}) WITH (KAFKA_TOPIC='s{n}', VALUE_FORMAT='{read}', PARTITIONS=1);"
            for statement in plan.parse(source + QUERY.format(n=n, format=written)):
                action = plan.plan_statement(statement, catalog, {})
                plan.apply(action, catalog)
            assert isinstance(action, StartQuery)
            assert action.sink is not None
            for of in (action.query.source, action.sink):
                serdes.register(of, registry)
            logger = Logger(action.query.query_id, include_rows=True)
            self.pipelines.append(Pipeline(action.query, action.sink, registry, logger))

    def __call__(self, data: bytes) -> Iterable[int]:
        which = (data[0] if data else 0) % 3
        row = data[1:]
        read = [qtt.Record(b"k", value, 5, []) for value in (row, None, row[: len(row) // 2], row)]
        output = self.pipelines[which].run(qtt.as_records(f"s{which}", read))
        for entry in output.log:
            json.loads(entry)
        assert len(output.keys) == len(output.values) == len(output.rows)
        assert output.rows.tolist().count(0) == output.rows.tolist().count(
            3
        )  # a row alone decides what becomes of it
        return [which * 8 + len(output.rows), 64 + min(len(output.log), 9)]
