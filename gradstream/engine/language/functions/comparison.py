"""GREATEST, LEAST and AS_VALUE: functions that choose among or pass on values of any type."""

from __future__ import annotations

from typing import Any

from gradstream.engine.language.functions.registry import scalar

_ORDERED = (
    "INTEGER",
    "BIGINT",
    "DOUBLE",
    "DECIMAL",
    "STRING",
    "BYTES",
    "DATE",
    "TIME",
    "TIMESTAMP",
)
_SIGNATURES = tuple(f"{name}, {name}... -> {name}" for name in _ORDERED)


@scalar("GREATEST", *_SIGNATURES, category="FUNCTION", nulls="see")
def greatest(*values: Any) -> Any:
    """Returns the greatest argument; NULLs are left out."""
    return max((value for value in values if value is not None), default=None)


@scalar("LEAST", *_SIGNATURES, category="FUNCTION", nulls="see")
def least(*values: Any) -> Any:
    """Returns the least argument; NULLs are left out."""
    return min((value for value in values if value is not None), default=None)


@scalar("AS_VALUE", "T -> T", category="FUNCTION", nulls="see", display="AS_VALUE")
def as_value(value: Any) -> Any:
    """Returns its argument, so that a key column can be copied into the value."""
    return value
