"""The way over whole columns and the way row by row give the same, for random data with NULLs."""

from __future__ import annotations

import math
import random
from typing import Any

import pyarrow as pa
import pytest

from gradstream.engine.language.analyze import Analyzer
from gradstream.engine.language.codegen import Compiled
from gradstream.engine.language.columnwise import columnwise
from gradstream.engine.language.parser import parse_expression
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    STRING,
    SqlType,
    from_python,
    to_python,
)

COLUMNS: dict[str, SqlType] = {
    "I": INTEGER,
    "L": BIGINT,
    "X": DOUBLE,
    "Y": DOUBLE,
    "S": STRING,
    "B": BOOLEAN,
}


def data(nulls: bool, seed: int) -> dict[str, list[Any]]:
    chance = random.Random(seed)
    makers = {
        "I": lambda: chance.choice([0, 1, -1, 2147483647, -2147483648, chance.randrange(-99, 99)]),
        "L": lambda: chance.choice([0, 1, 2**63 - 1, -(2**63), chance.randrange(-99, 99)]),
        "X": lambda: chance.choice([0.0, -0.0, math.inf, math.nan, 0.1, 1e300, chance.gauss(0, 9)]),
        "Y": lambda: chance.choice([0.0, 0.5, 0.1, -1e300, chance.gauss(0, 9)]),
        "S": lambda: chance.choice(["", "a", "Hans Meier", "x,y", "007"]),
        "B": lambda: chance.random() < 0.5,
    }
    return {
        name: [None if nulls and chance.random() < 0.2 else make() for _ in range(60)]
        for name, make in makers.items()
    }


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize(
    "expression",
    [
        "I + I", "I - L", "L * L", "I * 3", "X + I", "X * Y - 1", "X / Y", "X * 1.5", "Y - 0.1e0", "S", "I = 1", "I < L",
        "X > 0.1", "X <= 0", "Y = 0.5", "X <> Y", "S = 'a'", "S <> 'a'", "B = TRUE", "S IS NULL", "X IS NOT NULL",
        "I = 1 AND NOT X > 0", "I > 0 OR S = 'a' OR B IS NULL", "I IN (1, 2, NULL)", "S NOT IN ('a', '007')",
        "CASE WHEN X > 0 THEN S WHEN I > 0 THEN 'pos' ELSE 'none' END", "CASE WHEN I > 0 THEN L END", "IFNULL(S, 'none')",
        "COALESCE(X, 1e0)", "UCASE(S)", "MASK_LEFT(S, 2)", "MASK_KEEP_RIGHT(S, 3)", "MASK(UCASE(S))", "CAST(I AS BIGINT)",
        "CAST(I AS STRING)", "CAST(L AS DOUBLE)", "CAST(I AS DOUBLE) * X",
    ],
)  # fmt: skip
def test_both_ways_agree(expression: str, nulls: bool) -> None:
    item = Analyzer(expression, COLUMNS).select(parse_expression(expression))
    assert item.type is not None
    fast = columnwise(item)
    assert fast is not None
    for seed in range(4):
        columns = data(nulls, seed)
        arrays = {name: from_python(values, COLUMNS[name]) for name, values in columns.items()}
        found = fast(arrays.__getitem__)
        errors: list[tuple[int, str]] = []
        compiled = Compiled(item)
        expected = compiled.run([columns[name] for name in compiled.columns], 60, errors)
        if found is None:
            assert nulls or errors
            continue
        assert not errors  # what can fail for a row must not be done for the whole column
        assert isinstance(found, pa.Array)
        assert list(map(repr, to_python(found, item.type))) == list(map(repr, expected))
