"""Groups by columns are groups row by row: what is shown, what is kept, and the order of both."""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.engine.language import grouped_columns
from gradstream.engine.language.grouped_columns import GroupedColumns
from gradstream.engine.rows.changelog import Changelog
from gradstream.engine.rows.pipeline import Pipeline
from gradstream.engine.rows.processing_log import Logger
from gradstream.wire.records import Records
from tests.engine.planned import started

Row: TypeAlias = tuple[dict[str, Any], int, int]
"""(values, milliseconds, partition)"""
SOURCE = (
    "CREATE STREAM S (A INT, B BIGINT, D DOUBLE, T STRING, O BOOLEAN) "
    "WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=3);"
)
QUERIES = (
    "SELECT T, COUNT(*) AS N, COUNT(A) AS C, SUM(A) AS SA, SUM(B) AS SB, SUM(D) AS SD FROM S GROUP BY T",
    "SELECT B, O, MIN(A) AS I, MAX(B) AS X, MIN(D) AS ID, MAX(D) AS XD FROM S GROUP BY B, O",
    "SELECT A + 1 AS K, AVG(A) AS VA, AVG(B) AS VB, AVG(D) AS VD, SUM(A) + 1 AS S FROM S WHERE A <> 3 GROUP BY A + 1",
    "SELECT T, WINDOWSTART AS B, COUNT(*) AS N, SUM(D) AS SD FROM S "
    "WINDOW TUMBLING (SIZE 3 MILLISECONDS, GRACE PERIOD 2 MILLISECONDS) GROUP BY T",
    "SELECT A, O, COUNT(A) AS N, WINDOWEND AS E FROM S "
    "WINDOW HOPPING (SIZE 5 MILLISECONDS, ADVANCE BY 2 MILLISECONDS, GRACE PERIOD 0 MILLISECONDS) GROUP BY A, O",
)
WHOLE = st.sampled_from([0, 1, 2, -1, 3, 2**31 - 1, -(2**31)])
LARGE = WHOLE | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 2**62])
DOUBLE = st.sampled_from([0.0, -0.0, 0.1, 1e300, -1e300, 1.5]) | st.floats(allow_nan=False)
ROWS = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {
                "A": st.none() | WHOLE,
                "B": st.none() | LARGE,
                "D": st.none() | DOUBLE.filter(math.isfinite),
                "T": st.none() | st.sampled_from(["", "x", "é", "long text"]),
                "O": st.none() | st.booleans(),
            }
        ),
        st.integers(0, 9) | st.integers(0, 30),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=20,
)


def pipeline_of(query: str) -> Pipeline:
    sink = "WITH (KAFKA_TOPIC='o', FORMAT='JSON', PARTITIONS=1)"
    action = started(f"{SOURCE} CREATE TABLE O {sink} AS {query};")
    assert action.sink is not None
    pipeline = Pipeline(action.query, action.sink, None, Logger("q", include_rows=True))
    pipeline.inputs.partitions = 3
    pipeline.inputs.start()
    return pipeline


def records(rows: list[Row]) -> Records:
    size = len(rows)
    return Records(
        ("s",),
        np.zeros(size, np.int32),
        np.array([partition for *_, partition in rows], np.int32),
        np.arange(size),
        np.array([time for _, time, _ in rows], np.int64),
        pa.nulls(size, pa.binary()),
        pa.array([json.dumps(value).encode() for value, *_ in rows], pa.binary()),
    )


def done(query: str, batches: list[list[Row]]) -> list[Any]:
    """All that comes of some batches."""
    pipeline = pipeline_of(query)
    changelog = Changelog("q", pipeline.inputs.keepers)
    found: list[Any] = []
    for rows in batches:
        output = pipeline.run(records(rows))
        found.append((output.keys.to_pylist(), output.values.to_pylist()))
        found.append((output.timestamps.tolist(), output.rows.tolist()))
        found.append([json.loads(entry)["message"] for entry in output.log])
        found += [(of.keys.to_pylist(), of.values.to_pylist()) for of in changelog.take_changes()]
    return found


@pytest.mark.parametrize("query", QUERIES)
@settings(max_examples=10, deadline=None)
@given(batches=st.lists(ROWS, min_size=1, max_size=3))
def test_both_ways_give_the_same(query: str, batches: list[list[Row]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped_columns, "FEW", 1)
        by_columns = done(query, batches)
        patch.setattr(GroupedColumns, "can", lambda self: False)
        assert by_columns == done(query, batches)


@pytest.mark.parametrize(
    ("query", "can"),
    [
        ("SELECT T, COUNT(*) AS N, AVG(D) AS V FROM S GROUP BY T", True),
        ("SELECT D, COUNT(*) AS N FROM S GROUP BY D", False),  # NaN and zeros
        ("SELECT T, COUNT(*) AS N FROM S GROUP BY T HAVING COUNT(*) > 1", False),
        ("SELECT T, COLLECT_LIST(A) AS L FROM S GROUP BY T", False),
        ("SELECT T, COUNT(*) AS N FROM S WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY T", True),
        (
            "SELECT T, COUNT(*) AS N FROM S WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY T EMIT FINAL",
            False,
        ),
        ("SELECT T, COUNT(*) AS N FROM S WINDOW SESSION (1 SECOND) GROUP BY T", False),
    ],
)
def test_which_queries_go_by_columns(
    query: str, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    own = GroupedColumns._by_columns

    def noted(self: GroupedColumns, *of: Any) -> Any:
        asked.append(1)
        return own(self, *of)

    monkeypatch.setattr(grouped_columns, "FEW", 1)
    monkeypatch.setattr(GroupedColumns, "_by_columns", noted)
    done(query, [[({"T": "x", "A": 1, "D": 1.5}, 0, 0)]])
    assert bool(asked) == can
