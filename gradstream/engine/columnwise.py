"""Expressions that Arrow can compute on whole columns with exactly our semantics; the rest runs as generated Python.

Only what cannot fail for a single row is here: an error must null one row and be logged, and Arrow knows no such thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.analyze import Typed
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    STRING,
    TIMESTAMP,
    arrow_type,
)

Get: TypeAlias = Callable[[str], pa.Array]
# None from a function: this batch needs the slow way (a text that is not ASCII, say).
Fast: TypeAlias = Callable[[Get], pa.Array | None]

_COMPARE = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def columnwise(item: Typed) -> Fast | None:
    """The function for whole columns, or None where there is none."""
    if item.kind == "column":
        name = item.detail
        return lambda get: get(name)
    rule = _RULES.get(item.kind)
    return None if rule is None else rule(item)


def _call(item: Typed) -> Fast | None:
    overload = item.detail.overload
    first, *rest = item.arguments or (None,)
    if first is None or overload.column is None:
        return None
    if any(argument.kind != "literal" for argument in rest):
        return None
    inner = columnwise(first)
    if inner is None:
        return None
    constants = [argument.detail for argument in rest]
    function = overload.column

    def run(get: Get) -> pa.Array | None:
        values = inner(get)
        if values is None:
            return None
        try:
            return function(values, *constants)
        except (ValueError, ArithmeticError):
            return None  # the same error, row by row, belongs to each row

    return run


def _is_null(item: Typed) -> Fast | None:
    inner = columnwise(item.arguments[0])
    if inner is None or item.arguments[0].kind != "column":
        return None
    verb = pc.is_valid if item.detail else pc.is_null
    return lambda get: verb(inner(get))


def _compare(item: Typed) -> Fast | None:
    left, right = item.arguments
    verb = _COMPARE.get(item.detail)
    exact = (INTEGER, BIGINT)
    alike = left.type == right.type and left.type in (STRING, BOOLEAN, DATE, TIMESTAMP)
    if verb is None or not (alike or (left.type in exact and right.type in exact)):
        return None
    if left.type == STRING and item.detail not in ("=", "<>"):
        return None
    first, second = _side(left), _side(right)
    if first is None or second is None or left.kind == right.kind == "literal":
        return None

    def run(get: Get) -> pa.Array:
        return verb(first(get), second(get)).fill_null(False)

    return run


def _side(item: Typed) -> Callable[[Get], Any] | None:
    if item.kind == "column":
        return lambda get: get(item.detail)
    if item.kind != "literal" or item.type is None or item.detail is None:
        return None
    if item.type in (DATE, TIMESTAMP):
        return None
    constant = pa.scalar(item.detail, arrow_type(item.type))
    return lambda get: constant


def _logical(item: Typed) -> Fast | None:
    left, right = map(_condition, item.arguments)
    if left is None or right is None:
        return None
    verb = pc.and_ if item.kind == "and" else pc.or_
    return lambda get: verb(left(get), right(get))


def _not(item: Typed) -> Fast | None:
    inner = _condition(item.arguments[0])
    return None if inner is None else lambda get: pc.invert(inner(get))


def _condition(item: Typed) -> Fast | None:
    """A condition that is never NULL and never fails."""
    return columnwise(item) if item.kind in ("compare", "is_null", "and", "or", "not") else None


_RULES: dict[str, Callable[[Typed], Fast | None]] = {
    "call": _call,
    "is_null": _is_null,
    "compare": _compare,
    "and": _logical,
    "or": _logical,
    "not": _not,
}
