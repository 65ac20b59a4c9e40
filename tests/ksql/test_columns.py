"""Values of every type, as NumPy and pandas have them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradstream.ksql.column_types import ColumnType, column_type, named_types
from gradstream.ksql.columns import arrays, frame

CASES: list[tuple[str, list[Any], str, list[Any]]] = [
    ("INTEGER", [1, -2], "int32", [1, -2]),
    ("BIGINT", [1, 2**62 + 1], "int64", [1, 2**62 + 1]),
    ("BIGINT", [1, None], "float64", [1.0, np.nan]),
    ("BIGINT", [2**53 + 1, None], "object", [2**53 + 1, None]),
    (
        "DOUBLE",
        [1.5, None, "NaN", "-Infinity", 2],
        "float64",
        [1.5, np.nan, np.nan, -np.inf, 2.0],
    ),
    ("BOOLEAN", [True, False], "bool", [True, False]),
    ("BOOLEAN", [True, None], "object", [True, None]),
    ("STRING", ["a", None], "object", ["a", None]),
    (
        "DECIMAL(4, 2)",
        [Decimal("1.50"), 2.25, None],
        "object",
        [Decimal("1.50"), Decimal("2.25"), None],
    ),
    ("BYTES", ["AAEC", None], "object", [b"\x00\x01\x02", None]),
    ("TIME", ["10:20:30.5", None], "object", [datetime.time(10, 20, 30, 500000), None]),
    ("ARRAY<INTEGER>", [[1, 2], [3, 4]], "object", [[1, 2], [3, 4]]),
    ("MAP<STRING, ARRAY<BYTES>>", [{"a": ["AA=="]}, None], "object", [{"a": [b"\x00"]}, None]),
    (
        "STRUCT<`A` DECIMAL(4, 2), `b c` TIMESTAMP, `D` DATE, `E` TIME>",
        [{"A": 1.5, "b c": 1000, "D": 1, "E": None}],
        "object",
        [
            {
                "A": Decimal("1.5"),
                "b c": datetime.datetime(1970, 1, 1, 0, 0, 1),
                "D": datetime.date(1970, 1, 2),
                "E": None,
            }
        ],
    ),
]


@pytest.mark.parametrize(("type_", "values", "dtype", "wanted"), CASES, ids=lambda x: str(x)[:30])
def test_a_numpy_column(type_: str, values: list[Any], dtype: str, wanted: list[Any]) -> None:
    found = arrays(["X"], [type_], [[value] for value in values])["X"]
    assert found.dtype == dtype
    assert found.shape == (len(values),)
    if dtype == "float64":
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found.tolist() == wanted


def test_times_are_numpys() -> None:
    rows: list[list[Any]] = [["2020-01-02T03:04:05.678", "2020-01-02"], [None, None]]
    found = arrays(["T", "D"], ["TIMESTAMP", "DATE"], rows)
    assert found["T"].dtype == "datetime64[ms]"
    assert found["T"][0] == np.datetime64("2020-01-02T03:04:05.678")
    assert found["D"][0] == np.datetime64("2020-01-02")
    assert np.isnat(found["T"][1])
    assert np.isnat(found["D"][1])


def test_decimals_as_floats_when_asked_for() -> None:
    rows: list[list[Any]] = [[Decimal("1.10"), [Decimal("0.5")]], [None, None]]
    found = arrays(["X", "L"], ["DECIMAL(9, 2)", "ARRAY<DECIMAL(9, 2)>"], rows, floats=True)
    np.testing.assert_array_equal(found["X"], [1.1, np.nan])
    assert found["L"].tolist() == [[0.5], None]


def test_a_frame_keeps_null_apart_from_values() -> None:
    names = ["I", "B", "S", "O", "D"]
    types = ["INTEGER", "BIGINT", "STRING", "BOOLEAN", "DOUBLE"]
    made = frame(names, types, [[1, 2**53 + 1, "", False, 0.0], [None] * 5])
    assert [str(of) for of in made.dtypes] == ["Int32", "Int64", "string", "boolean", "float64"]
    assert made.iloc[0].tolist() == [1, 2**53 + 1, "", False, 0.0]
    assert made.iloc[1].isna().all()


@pytest.mark.parametrize("rows", [[], [[1, "a"]]])
def test_a_frame_has_its_types_without_rows_too(rows: list[list[Any]]) -> None:
    made = frame(["A", "B"], ["BIGINT", "STRING"], rows)
    assert isinstance(made, pd.DataFrame)
    assert [str(of) for of in made.dtypes] == ["Int64", "string"]
    assert len(made) == len(rows)


def test_a_schema_is_read_name_by_name() -> None:
    schema = (
        "`K` STRING KEY, `V28` DECIMAL(10, 2), `a ``b, c` MAP<STRING, ARRAY<STRUCT<`x` DATE>>>, "
        "`Z` BYTES"
    )
    found = named_types(schema)
    assert [name for name, _ in found] == ["K", "V28", "a `b, c", "Z"]
    assert [type_.kind for _, type_ in found] == ["STRING", "DECIMAL", "MAP", "BYTES"]
    inner = found[2][1].inner[0].inner[0]
    assert inner == ColumnType("STRUCT", (ColumnType("DATE"),), ("x",))
    assert column_type("DOUBLE") == ColumnType("DOUBLE")
