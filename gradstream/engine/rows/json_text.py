"""JSON as it leaves the engine."""

from __future__ import annotations

import decimal

import orjson


def to_json(value: object) -> bytes:
    """Compact JSON; decimals as plain numbers with their digits."""
    return orjson.dumps(value, default=_number, option=orjson.OPT_NON_STR_KEYS)


def _number(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return orjson.Fragment(f"{value:f}")
    raise TypeError(f"{type(value).__name__} has no JSON form")
