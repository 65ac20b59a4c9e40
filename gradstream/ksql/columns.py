"""Rows of a SELECT as columns: NumPy arrays for computing, a pandas frame for looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gradstream.errors import UnavailableError
from gradstream.ksql.column_types import ColumnType, column_type, converter

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Row: TypeAlias = Sequence[Any]

_INTEGERS = {"INTEGER": "int32", "BIGINT": "int64"}
_TIMES = {"TIMESTAMP": "datetime64[ms]", "DATE": "datetime64[D]"}
_EXACT = 1 << 53  # up to here float64 has all integers
# Those of pandas' types that keep NULL apart from any value.
_NULLABLE = {"INTEGER": "Int32", "BIGINT": "Int64", "BOOLEAN": "boolean", "STRING": "string"}


class MissingPackageError(UnavailableError, ImportError):
    """A package that is not installed; also an ImportError, as any missing import is."""


def arrays(
    names: Sequence[str], types: Sequence[str], rows: Sequence[Row], floats: bool = False
) -> dict[str, Array]:
    """One array a column, each of shape (rows,).

    DOUBLE is float64 with NaN for NULL, TIMESTAMP and DATE are datetime64 with NaT, INTEGER and BIGINT int32 and int64 (in a batch
    with a NULL float64 with NaN, or objects where float64 would lose digits), BOOLEAN bool (objects in a batch with a NULL). All else is objects with None:
    str, Decimal, bytes, datetime.time, list, dict.

    Args:
        types: as the server names them.
        floats: decimals as float64 with NaN.
    """
    return {
        name: _array(column_type(text), values, floats)
        for name, text, values in _columns(names, types, rows)
    }


def frame(
    names: Sequence[str], types: Sequence[str], rows: Sequence[Row], floats: bool = False
) -> pd.DataFrame:
    """As ``arrays``, but pandas' nullable types for INTEGER, BIGINT, BOOLEAN and STRING: NULL is pd.NA there."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise MissingPackageError(
            "NO_PANDAS",
            "frames are pandas', which is not installed; type: pip install 'gradstream[notebooks]'",
        ) from None

    made: dict[str, Any] = {}
    for name, text, values in _columns(names, types, rows):
        type_ = column_type(text)
        if nullable := _NULLABLE.get(type_.kind):
            made[name] = pd.array(values, dtype=nullable)  # type: ignore[call-overload]
        else:
            made[name] = pd.Series(_array(type_, values, floats))
    return pd.DataFrame(made, columns=list(names))


def _columns(
    names: Sequence[str], types: Sequence[str], rows: Sequence[Row]
) -> list[tuple[str, str, list[Any]]]:
    values = map(list, zip(*rows, strict=True)) if rows else ([] for _ in names)
    return list(zip(names, types, values, strict=True))


def _integers(values: list[Any], dtype: str) -> Array:
    if None not in values:
        return np.array(values, dtype=dtype)
    if all(value is None or abs(value) <= _EXACT for value in values):
        return np.array(values, dtype=np.float64)
    return np.array(values, dtype=object)


def _array(type_: ColumnType, values: list[Any], floats: bool) -> Array:
    kind = type_.kind
    if kind == "DOUBLE" or (kind == "DECIMAL" and floats):
        return np.array(values, dtype=np.float64)
    if kind in _INTEGERS:
        return _integers(values, _INTEGERS[kind])
    if kind in _TIMES:
        return np.array(values, dtype=_TIMES[kind])
    if kind == "BOOLEAN" and None not in values:
        return np.array(values, dtype=np.bool_)
    if convert := converter(type_, floats):
        values = [None if value is None else convert(value) for value in values]
    return np.fromiter(values, dtype=object, count=len(values))
