"""Random expressions over random rows: a result or a SqlError with a place, never anything else."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from gradstream.engine.language import functions
from gradstream.errors import SqlError

COLUMNS = "K I L X D S B DT TS A M ST ROWTIME".split()
LEAVES = [*COLUMNS, "1", "-2", "2.5", "1e1", "'x'", "'12'", "'yyyy-MM-dd'", "NULL", "TRUE", "DAYS"]
TYPES = [
    "INT",
    "BIGINT",
    "DOUBLE",
    "STRING",
    "BOOLEAN",
    "DECIMAL(5, 2)",
    "DATE",
    "TIMESTAMP",
    "ARRAY<STRING>",
]
ROWS: list[dict[str, Any] | None] = [
    {},
    None,
    {
        "I": 2**31 - 1,
        "L": -(2**63),
        "X": float("nan"),
        "S": "",
        "B": True,
        "DT": 0,
        "TS": -1,
        "A": [],
        "M": {},
    },
    {
        "I": 0,
        "L": 7,
        "X": 1.5,
        "S": "a😀",
        "B": False,
        "DT": -400000,
        "TS": 10**12,
        "A": [1, None],
        "M": {"a": None},
    },
]


def expression(chance: random.Random, depth: int) -> str:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(LEAVES)

    def sub() -> str:
        return expression(chance, depth - 1)

    kind = chance.randrange(10)
    if kind < 4:
        family = chance.choice([of for of in functions.families() if of.kind == "SCALAR"])
        overload = chance.choice(family.overloads)
        return f"{family.name}({', '.join(sub() for _ in overload.parameters)})"
    makers = (
        lambda: f"({sub()} {chance.choice('+-*/%')} {sub()})",
        lambda: f"({sub()} {chance.choice(['=', '<>', '<', 'IS DISTINCT FROM'])} {sub()})",
        lambda: f"(NOT {sub()} {chance.choice(['AND', 'OR'])} {sub()})",
        lambda: f"CASE WHEN {sub()} THEN {sub()} ELSE {sub()} END",
        lambda: f"CAST({sub()} AS {chance.choice(TYPES)})",
        lambda: f"({sub()} IN ({sub()}, {sub()}) OR {sub()} BETWEEN {sub()} AND {sub()})",
    )
    return chance.choice(makers)()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_expression_crashes_the_engine(sql: Any, seed: int) -> None:
    sql.run(
        "CREATE STREAM s (k STRING KEY, i INT, l BIGINT, x DOUBLE, d DECIMAL(6, 2), s STRING, b BOOLEAN, dt DATE, "
        "ts TIMESTAMP, a ARRAY<INT>, m MAP<STRING, INT>, st STRUCT<f INT>) "
        "WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    chance = random.Random(seed)
    deadline = time.monotonic() + 4
    planned = 0
    while time.monotonic() < deadline and planned < 300:
        text = f"SELECT {expression(chance, chance.randrange(1, 4))} AS r FROM s EMIT CHANGES;"
        try:
            answer = sql.evaluate(text, ROWS)
        except SqlError as error:
            if not error.line:
                raise
            continue
        planned += 1
        assert answer.values.num_rows == len(ROWS)
        assert answer.null_values.tolist() == [False, True, False, False]
    assert planned > 20
