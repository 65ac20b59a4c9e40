"""KSQL statements made from bytes: each byte is a choice, and what no byte is left for takes the shortest way out.

All are grammatical; most mean nothing. ``broken`` changes some words of one, so that the parser has to find the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from gradstream.engine.language import functions

T = TypeVar("T")

SOURCES = """
CREATE STREAM s (k STRING KEY, i INT, l BIGINT, x DOUBLE, d DECIMAL(6, 2), t STRING, b BOOLEAN, y BYTES, dt DATE,
  tm TIME, ts TIMESTAMP, a ARRAY<INT>, m MAP<STRING, INT>, st STRUCT<f INT, g ARRAY<STRUCT<h STRING>>>)
  WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE STREAM r (k STRING KEY, i INT, t STRING, h BYTES HEADER('h'))
  WITH (KAFKA_TOPIC='r', VALUE_FORMAT='DELIMITED', PARTITIONS=1);
CREATE TABLE p (k STRING PRIMARY KEY, i INT, t STRING) WITH (KAFKA_TOPIC='p', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE TABLE q (k STRING PRIMARY KEY, i INT, b BOOLEAN) WITH (KAFKA_TOPIC='q', FORMAT='JSON', PARTITIONS=1);
CREATE STREAM w (k STRING KEY, i INT)
  WITH (KAFKA_TOPIC='w', VALUE_FORMAT='JSON', PARTITIONS=1, WINDOW_TYPE='TUMBLING', WINDOW_SIZE='5 SECONDS');
CREATE TYPE point AS STRUCT<px INT, py DOUBLE>;
"""
NAMES = [
    "k", "i", "l", "x", "d", "t", "b", "y", "dt", "tm", "ts", "a", "m", "st", "rowtime", "windowstart", "h", "nope", "`I`", '"t"',
    "`a b`", "s.k", "p.i", "r.t", "v",
]  # fmt: skip
LITERALS = [
    "1", "0", "-2147483648", "2147483648", "9223372036854775807", "1.50", ".5", "1e308", "2E-3", "''", "'x'", "'it''s'",
    "'12'", "'2020-01-01'", "'%a_'", "NULL", "TRUE", "false", "'\u00e4\U0001f600'",
]  # fmt: skip
TYPES = [
    "INT", "BIGINT", "DOUBLE", "STRING", "BOOLEAN", "DECIMAL(5, 2)", "BYTES", "DATE", "TIME", "TIMESTAMP", "ARRAY<INT>",
    "MAP<STRING, DOUBLE>", "STRUCT<f INT, `g h` ARRAY<STRING>>", "point", "VARCHAR(STRING)", "ARRAY<MAP<STRING, point>>",
]  # fmt: skip
FUNCTIONS = sorted(functions.names())
UNITS = ["SECONDS", "MINUTE", "DAYS", "MILLISECONDS", "HOUR"]
DEEPEST = 5


class Choices:
    """Bytes, one choice each."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def below(self, n: int) -> int:
        """A number from 0 to n - 1, 0 where nothing is left."""
        if self.at >= len(self.data):
            return 0
        self.at += 1
        return self.data[self.at - 1] % n

    def one(self, of: Sequence[T]) -> T:
        return of[self.below(len(of))]

    def some(self, most: int) -> range:
        return range(1 + self.below(most))

    def maybe(self, text: Callable[[], str]) -> str:
        return text() if self.below(3) == 2 else ""


def statement(data: bytes) -> str:
    """One statement over SOURCES."""
    made = _Grammar(Choices(data)).statement()
    return re.sub(r" +", " ", made).strip() + ";"


def broken(data: bytes) -> str:
    """A statement with some of its words lost, doubled, changed or cut; the first byte is the number of changes."""
    text = statement(data[1:])
    chance = Choices(bytes(reversed(data)))
    words = re.findall(r"\w+|\s+|.", text, re.DOTALL)
    for _ in range(1 + (data[0] if data else 0) % 4):
        at = (chance.below(256) * 256 + chance.below(256)) % (len(words) + 1)
        change = chance.below(4)
        if change == 0:
            words = words[:at] + words[at + 1 :]
        elif change == 1:
            words = words[:at] + words[at : at + 3] * (1 + chance.below(60)) + words[at + 3 :]
        elif change == 2:
            words = [*words[:at], chance.one(["(", ")", "'", "`", "->", ";", "--", "/*", "=>", "SELECT", "\0", "9", "[", "${x}", "."]), *words[at:]]  # fmt: skip
        else:
            words = words[:at]
    return "".join(words)


class _Grammar:
    def __init__(self, chance: Choices) -> None:
        self.chance = chance

    def statement(self) -> str:
        kinds = (
            self.create_as, self.insert_select, self.query, self.create, self.create_as, self.insert_values, self.other,
        )  # fmt: skip
        return self.chance.one(kinds)()

    # Expressions

    def expression(self, depth: int = 0) -> str:
        chance = self.chance
        if depth >= DEEPEST or chance.below(4) == 0:
            return chance.one(NAMES) if chance.below(2) == 0 else chance.one(LITERALS)

        def sub() -> str:
            return self.value(depth + 1)

        makers: tuple[Callable[[], str], ...] = (
            lambda: self.call(depth),
            lambda: f"{sub()} {chance.one(['+', '-', '*', '/', '%', '||'])} {sub()}",
            lambda: (
                f"{sub()} {chance.one(['=', '<>', '!=', '<', '>=', 'IS DISTINCT FROM', 'IS NOT DISTINCT FROM'])} {sub()}"
            ),
            lambda: f"({sub()} {chance.one(['AND', 'OR'])} NOT {sub()})",
            lambda: (
                f"CASE {chance.maybe(sub)} WHEN {sub()} THEN {sub()} {chance.maybe(lambda: f'ELSE {sub()}')} END"
            ),
            lambda: f"CAST({sub()} AS {chance.one(TYPES)})",
            lambda: (
                f"{sub()} {chance.maybe(lambda: 'NOT')} IN ({', '.join(sub() for _ in chance.some(3))})"
            ),
            lambda: f"{sub()} BETWEEN {sub()} AND {sub()}",
            lambda: f"{sub()} LIKE {sub()}{chance.maybe(lambda: chr(32) + 'ESCAPE ' + repr('!'))}",
            lambda: f"{sub()} IS {chance.maybe(lambda: 'NOT')} NULL",
            lambda: f"ARRAY[{', '.join(sub() for _ in chance.some(3))}]",
            lambda: f"MAP('k' := {sub()}, {sub()} := {sub()})",
            lambda: f"STRUCT(f := {sub()}, `g h` := {sub()})",
            lambda: (
                f"{chance.one(['st', 'm', 'a', 'nope'])}{chance.one(['->f', '->g[1]->h', '[1]', '[-1]', '[' + sub() + ']'])}"
            ),
            lambda: f"- {sub()}",
            lambda: (
                f"{chance.one(['TRANSFORM', 'FILTER', 'REDUCE'])}({sub()}, {chance.maybe(lambda: '0,')} "
                f"{chance.one(['v', '(v)', '(v, w)', '(v, w, z)'])} => {sub()})"
            ),
            lambda: f"({sub()})",
        )
        return chance.one(makers)()

    def value(self, depth: int) -> str:
        """An expression in parentheses, where it is more than a word."""
        made = self.expression(depth)
        return made if made in NAMES or made in LITERALS else f"({made})"

    def call(self, depth: int) -> str:
        chance = self.chance
        name = chance.one(
            FUNCTIONS if chance.below(2) else ["COUNT", "SUM", "EXPLODE", "ABS", "CONCAT", "LEN"]
        )
        if chance.below(12) == 11:
            return f"{name}(*)"
        return f"{name}({', '.join(self.expression(depth + 1) for _ in chance.some(3))})"

    # Queries

    def query(self) -> str:
        chance = self.chance
        items = ", ".join(self.item() for _ in chance.some(4))
        parts = [f"SELECT {items} FROM {self.relation()}"]
        parts.append(chance.maybe(lambda: f"WINDOW {self.window()}"))
        parts.append(chance.maybe(lambda: f"WHERE {self.expression()}"))
        parts.append(chance.maybe(lambda: f"GROUP BY {self.expressions()}"))
        parts.append(chance.maybe(lambda: f"PARTITION BY {self.expressions()}"))
        parts.append(chance.maybe(lambda: f"HAVING {self.expression()}"))
        parts.append(chance.maybe(lambda: f"EMIT {chance.one(['CHANGES', 'FINAL'])}"))
        parts.append(chance.maybe(lambda: f"LIMIT {chance.below(9)}"))
        return " ".join(parts)

    def item(self) -> str:
        kind = self.chance.below(5)
        if kind == 0:
            return self.chance.one(["*", "s.*", "p.*", "st->*"])
        alias = self.chance.maybe(lambda: " AS " + self.chance.one(["z", "`y z`", "k", "rowtime"]))
        return (self.chance.one(NAMES) if kind < 3 else self.expression()) + alias

    def expressions(self) -> str:
        return ", ".join(self.value(3) for _ in self.chance.some(3))

    def relation(self) -> str:
        made = self.source()
        for _ in range(self.chance.below(3)):
            kind = self.chance.one(["JOIN", "LEFT JOIN", "RIGHT OUTER JOIN", "FULL OUTER JOIN"])
            within = self.chance.maybe(self.within)
            on = self.chance.one(
                [
                    "s.k = p.k",
                    "p.k = q.k",
                    "p.t = q.k",
                    "s.t = r.t",
                    "s.k = r.k",
                    self.expression(2),
                ]
            )
            made += f" {kind} {self.source()} {within} ON {on}"
        return made

    def source(self) -> str:
        return self.chance.one(["s", "p", "q", "r", "w", "nope", "s AS v", "p v"])

    def within(self) -> str:
        one = f"WITHIN {self.chance.one(['5 SECONDS', '(1 SECOND, 2 DAYS)', '0 HOURS'])}"
        return one + self.chance.maybe(lambda: " GRACE PERIOD 3 MINUTES")

    def window(self) -> str:
        size = f"{self.chance.below(200)} {self.chance.one(UNITS)}"
        grace = self.chance.maybe(
            lambda: f", GRACE PERIOD {self.chance.below(99)} {self.chance.one(UNITS)}"
        )
        return self.chance.one(
            [
                f"TUMBLING (SIZE {size}{grace})",
                f"HOPPING (SIZE {size}, ADVANCE BY {self.chance.below(60)} SECONDS{grace})",
                f"SESSION ({size}{grace})",
            ]
        )

    # Statements

    def create_as(self) -> str:
        words = f"CREATE {self.chance.maybe(lambda: 'OR REPLACE')} {self.chance.one(['STREAM', 'TABLE'])}"
        exists = self.chance.maybe(lambda: "IF NOT EXISTS")
        name = self.chance.one(["o", "`o-p`", "s", "o2"])
        return f"{words} {exists} {name} {self.chance.maybe(self.settings)} AS {self.query()}"

    def insert_select(self) -> str:
        return f"INSERT INTO {self.chance.one(['s', 'r', 'p', 'nope'])} {self.query()}"

    def create(self) -> str:
        role = ["", "", "KEY", "PRIMARY KEY", "HEADER('a')", "HEADERS"]
        columns = ", ".join(
            f"{self.chance.one(['a', 'b', 'c', '`d e`', 'rowtime'])} {self.chance.one(TYPES)} {self.chance.one(role)}"
            for _ in self.chance.some(4)
        )
        kind = self.chance.one(["STREAM", "TABLE", "SOURCE STREAM", "OR REPLACE TABLE"])
        return f"CREATE {kind} {self.chance.one(['n', 's'])} ({columns}) {self.settings()}"

    def settings(self) -> str:
        formats = ["JSON", "avro", "DELIMITED", "KAFKA", "NONE", "PROTOBUF", "x"]
        some = [
            "KAFKA_TOPIC='o'", f"FORMAT='{self.chance.one(formats)}'", f"KEY_FORMAT='{self.chance.one(formats)}'",
            f"VALUE_FORMAT='{self.chance.one(formats)}'", f"PARTITIONS={self.chance.below(9)}", "WRAP_SINGLE_VALUE=false",
            "TIMESTAMP='ts'", "TIMESTAMP_FORMAT='yyyy'", "VALUE_SCHEMA_ID=3", "VALUE_DELIMITER='TAB'", "NOPE=1",
            "WINDOW_TYPE='SESSION'", "WINDOW_SIZE='x'", "RETENTION_MS=-1",
        ]  # fmt: skip
        first = "KAFKA_TOPIC='o', VALUE_FORMAT='JSON', "
        chosen = ", ".join(dict.fromkeys(self.chance.one(some) for _ in self.chance.some(3)))
        return f"WITH ({first * (self.chance.below(2) == 0)}{chosen})"

    def insert_values(self) -> str:
        number = len(self.chance.some(4))
        columns = self.chance.maybe(
            lambda: f"({', '.join(self.chance.one(NAMES[:6]) for _ in range(number))})"
        )
        values = ", ".join(self.value(3) for _ in range(number))
        return f"INSERT INTO {self.chance.one(['s', 'r', 'p', 'nope'])} {columns} VALUES ({values})"

    def other(self) -> str:
        return self.chance.one(
            [
                "SHOW STREAMS", "DESCRIBE s EXTENDED", "DROP STREAM IF EXISTS s DELETE TOPIC", "TERMINATE ALL", f"EXPLAIN {self.query()}",
                "SET 'auto.offset.reset'='earliest'", "DEFINE x = 'y'", "PRINT 's' FROM BEGINNING INTERVAL 2 LIMIT 3", "DROP TYPE point",
                f"CREATE TYPE z AS {self.chance.one(TYPES)}", f"ALTER TABLE p ADD COLUMN n {self.chance.one(TYPES)}", "DESCRIBE FUNCTION LEN",
                "ASSERT TOPIC s WITH (PARTITIONS=1) TIMEOUT 3 SECONDS", "ASSERT NOT EXISTS SCHEMA SUBJECT 's-value'", "PAUSE q",
            ]
        )  # fmt: skip
