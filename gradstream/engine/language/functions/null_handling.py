"""Functions about NULL; their arguments must be of one type."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gradstream.engine.language.functions.registry import scalar


def _filled(values: pa.Array, *others: Any) -> pa.Array | None:
    """COALESCE of a column and constants; texts, numbers and truth values only."""
    kind = values.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
    ):
        return None
    constant = coalesce(*others)
    return values if constant is None else values.fill_null(pa.scalar(constant, kind))


@scalar(
    "IFNULL",
    "T, T -> T",
    category="FUNCTION",
    nulls="see",
    display="IFNULL",
    column=_filled,
    safe=True,
)
def ifnull(value: Any, otherwise: Any) -> Any:
    """Returns the second argument where the first is NULL."""
    return otherwise if value is None else value


@scalar(
    "COALESCE",
    "T, T... -> T",
    category="FUNCTION",
    nulls="see",
    display="COALESCE",
    column=_filled,
    safe=True,
)
def coalesce(*values: Any) -> Any:
    """Returns the first argument that is not NULL."""
    return next((value for value in values if value is not None), None)


@scalar("NULLIF", "T, T -> T", category="FUNCTION", nulls="see", display="NULLIF", safe=True)
def nullif(value: Any, other: Any) -> Any:
    """Returns NULL where both arguments are equal, the first otherwise."""
    return None if value == other else value
