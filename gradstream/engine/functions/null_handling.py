"""Functions about NULL; their arguments must be of one type."""

from __future__ import annotations

from typing import Any

from gradstream.engine.functions.registry import scalar


@scalar("IFNULL", "T, T -> T", category="FUNCTION", nulls="see", display="IFNULL")
def ifnull(value: Any, otherwise: Any) -> Any:
    """Returns the second argument where the first is NULL."""
    return otherwise if value is None else value


@scalar("COALESCE", "T, T... -> T", category="FUNCTION", nulls="see", display="COALESCE")
def coalesce(*values: Any) -> Any:
    """Returns the first argument that is not NULL."""
    return next((value for value in values if value is not None), None)


@scalar("NULLIF", "T, T -> T", category="FUNCTION", nulls="see", display="NULLIF")
def nullif(value: Any, other: Any) -> Any:
    """Returns NULL where both arguments are equal, the first otherwise."""
    return None if value == other else value
