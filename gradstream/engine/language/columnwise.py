"""Expressions that Arrow can compute on whole columns with exactly our semantics; the rest runs as generated Python.

Only what cannot fail for a single row is here: an error must null one row and be logged, and Arrow knows no such thing.
Where that depends on the data (a NULL operand of ``+``, a text beyond ASCII), the function returns None for that batch.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.language.analyze import Typed
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIMESTAMP,
    SqlType,
    arrow_type,
)

Get: TypeAlias = Callable[[str], pa.Array]
Fast: TypeAlias = Callable[[Get], Any]

_COMPARE = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_ARITHMETIC = {"+": pc.add, "-": pc.subtract, "*": pc.multiply}
_WHOLE = (INTEGER, BIGINT)
# Digits that a DOUBLE keeps from text to text.
_SAFE_DIGITS = 15


def columnwise(item: Typed) -> Fast | None:
    """The function for whole columns, or None where there is none."""
    if item.kind == "column":
        name = item.detail
        return lambda get: get(name)
    rule = _RULES.get(item.kind)
    return None if rule is None else rule(item)


def _operand(item: Typed, type_: SqlType | None = None) -> Fast | None:
    """A column-wise operand or a literal as an Arrow scalar, as a DOUBLE where that is asked for."""
    if item.kind == "literal":
        return _literal(item, type_ or item.type)
    inner = columnwise(item)
    if inner is None or type_ is None or type_ == item.type:
        return inner
    target = arrow_type(type_)

    def run(get: Get) -> Any:
        values = inner(get)
        # Beyond 2^53 a DOUBLE is rounded, as Java does; Arrow calls that unsafe.
        return None if values is None else pc.cast(values, target, safe=False)

    return run


def _literal(item: Typed, type_: SqlType | None) -> Fast | None:
    if item.detail is None or type_ in (DATE, TIMESTAMP) or type_ is None:
        return None
    value = float(item.detail) if type_ == DOUBLE else item.detail
    constant = pa.scalar(value, arrow_type(type_))
    return lambda get: constant


def _call(item: Typed) -> Fast | None:
    overload = item.detail.overload
    if overload.column is None or not item.arguments:
        return None
    operands = [_operand(argument) for argument in item.arguments]
    rest = item.arguments[1:]
    if all(argument.kind == "literal" for argument in rest):
        return _with_constants(overload.column, operands[0], [of.detail for of in rest])
    return None


def _with_constants(
    function: Callable[..., Any], inner: Fast | None, constants: list[Any]
) -> Fast | None:
    if inner is None:
        return None

    def run(get: Get) -> Any:
        values = inner(get)
        if not isinstance(values, pa.Array):
            return None
        try:
            return function(values, *constants)
        except (ValueError, ArithmeticError):
            return None  # the same error, row by row, belongs to each row

    return run


def _is_null(item: Typed) -> Fast | None:
    if item.arguments[0].kind != "column":
        return None
    verb = pc.is_valid if item.detail else pc.is_null
    name = item.arguments[0].detail
    return lambda get: verb(get(name))


def _compare(item: Typed) -> Fast | None:
    left, right = item.arguments
    verb = _COMPARE.get(item.detail)
    if verb is None or _bare(left).kind == _bare(right).kind == "literal":
        return None
    type_ = _comparable(left, right, item.detail)
    if type_ is None:
        return None
    first, second = _operand(_bare(left), type_[0]), _operand(_bare(right), type_[1])
    if first is None or second is None:
        return None

    exact = [at for at, side in enumerate((left, right)) if side.kind == "exact"]

    def run(get: Get) -> Any:
        sides = first(get), second(get)
        if sides[0] is None or sides[1] is None:
            return None
        # NaN and infinities have no DECIMAL to compare with: errors of their rows.
        if any(not _all_finite(sides[at]) for at in exact):
            return None
        return verb(*sides).fill_null(False)

    return run


def _all_finite(values: Any) -> bool:
    return pc.all(pc.is_finite(values)).as_py() is not False


def _bare(item: Typed) -> Typed:
    return item.arguments[0] if item.kind == "exact" else item


def _comparable(
    left: Typed, right: Typed, operator: str
) -> tuple[SqlType | None, SqlType | None] | None:
    """The types to compare in, where Arrow orders values of these types as we do."""
    a, b = left.type, right.type
    if a in _WHOLE and b in _WHOLE:
        return a, b
    if a == b == DOUBLE:
        return DOUBLE, DOUBLE
    for number, other in ((left, right), (right, left)):
        # A DOUBLE against a short literal compares the same whether by digits or by value.
        is_double = _bare(number).type == DOUBLE
        if is_double and other.kind == "literal" and _is_short(other):
            return DOUBLE, DOUBLE
    orderly = a in (BOOLEAN, STRING) and operator in ("=", "<>")
    return (a, b) if a == b and (orderly or a in (DATE, TIMESTAMP)) else None


def _is_short(literal: Typed) -> bool:
    value = literal.detail
    if isinstance(value, bool) or not isinstance(value, int | decimal.Decimal):
        return isinstance(value, float)
    return len(decimal.Decimal(value).as_tuple().digits) <= _SAFE_DIGITS


def _arithmetic(item: Typed) -> Fast | None:
    """Sums, differences and products; NULLs go the slow way, since each is an error to be logged."""
    left, right = item.arguments
    verb = _ARITHMETIC.get(item.detail)
    if item.type == DOUBLE and item.detail == "/":
        verb = pc.divide
    if verb is None or item.type not in (*_WHOLE, DOUBLE):
        return None
    first, second = _operand(left, item.type), _operand(right, item.type)
    if first is None or second is None or left.kind == right.kind == "literal":
        return None

    def run(get: Get) -> Any:
        a, b = first(get), second(get)
        if a is None or b is None or _has_null(a) or _has_null(b):
            return None
        return verb(a, b)

    return run


def _has_null(values: Any) -> bool:
    return bool(values.null_count) if isinstance(values, pa.Array) else not values.is_valid


def _logical(item: Typed) -> Fast | None:
    left, right = map(_condition, item.arguments)
    if left is None or right is None:
        return None
    verb = pc.and_ if item.kind == "and" else pc.or_

    def run(get: Get) -> Any:
        a = left(get)
        b = None if a is None else right(get)
        return None if b is None else verb(a, b)

    return run


def _not(item: Typed) -> Fast | None:
    inner = _condition(item.arguments[0])
    if inner is None:
        return None

    def run(get: Get) -> Any:
        values = inner(get)
        return None if values is None else pc.invert(values)

    return run


def _condition(item: Typed) -> Fast | None:
    """A condition that is never NULL and never fails."""
    return (
        columnwise(item) if item.kind in ("compare", "is_null", "and", "or", "not", "in") else None
    )


def _in(item: Typed) -> Fast | None:
    value, *items = item.arguments
    if value.kind != "column" or value.type not in (STRING, *_WHOLE):
        return None
    if any(other.kind != "literal" for other in items):
        return None
    found = [other.detail for other in items if other.detail is not None]
    constants = pa.array(found, arrow_type(value.type))
    return lambda get: pc.is_in(get(value.detail), value_set=constants)


def _case(item: Typed) -> Fast | None:
    """CASE of conditions and results that cannot fail; the last condition is the innermost."""
    arguments = item.arguments
    conditions = [_condition(of) for of in arguments[0:-1:2]]
    results = [_operand(of, item.type) for of in arguments[1::2]]
    default: Fast | None
    if len(arguments) % 2:
        default = _operand(arguments[-1], item.type)
    else:
        nothing = pa.scalar(None, arrow_type(item.type)) if item.type else None
        default = lambda get: nothing  # noqa: E731
    chosen = [(c, r) for c, r in zip(conditions, results, strict=True) if c and r]
    if default is None or len(chosen) < len(conditions):
        return None

    def run(get: Get) -> Any:
        answer = default(get)
        for condition, result in reversed(chosen):
            test, value = condition(get), result(get)
            if test is None or value is None or answer is None:
                return None
            answer = pc.if_else(test, value, answer)
        return answer

    return run


_CASTS = frozenset(
    ((INTEGER, BIGINT), (INTEGER, DOUBLE), (BIGINT, DOUBLE), (INTEGER, STRING), (BIGINT, STRING))
)


def _cast(item: Typed) -> Fast | None:
    value = item.arguments[0]
    if (value.type, item.type) not in _CASTS or item.type is None:
        return None
    inner = columnwise(value)
    if inner is None:
        return None
    target = arrow_type(item.type)

    def run(get: Get) -> Any:
        values = inner(get)
        return None if values is None else pc.cast(values, target, safe=False)

    return run


_RULES: dict[str, Callable[[Typed], Fast | None]] = {
    "call": _call,
    "is_null": _is_null,
    "compare": _compare,
    "and": _logical,
    "or": _logical,
    "not": _not,
    "in": _in,
    "arithmetic": _arithmetic,
    "case": _case,
    "cast": _cast,
}
