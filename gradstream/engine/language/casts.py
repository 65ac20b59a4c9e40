"""From one type to another: CAST, and the widenings that happen by themselves.

A cast is a function of one value that is not NULL; it raises ValueError or ArithmeticError where the value has no
place in the target type, which makes the result NULL and a line in the processing log.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from gradstream.engine.language import iso_time
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    SqlType,
    Struct,
)
from gradstream.wire.java_text import double_text, parse_double, parse_integer

Cast: TypeAlias = Callable[[Any], Any]

# Wide enough for every product and quotient of DECIMALs; nothing is rounded silently.
EXACT = decimal.Context(prec=400, traps=[decimal.InvalidOperation, decimal.DivisionByZero])


# A text such as 1E999999999 is short and would fill the memory when written out.
_MOST_DIGITS = 1000


def same(value: Any) -> Any:
    return value


def is_numeric(type_: SqlType | None) -> bool:
    return type_ in (INTEGER, BIGINT, DOUBLE) or isinstance(type_, Decimal)


def as_decimal(type_: SqlType) -> Decimal:
    """INTEGER and BIGINT as the DECIMAL that holds them."""
    if isinstance(type_, Decimal):
        return type_
    return Decimal(10 if type_ == INTEGER else 19, 0)


def wider_number(left: SqlType, right: SqlType) -> SqlType:
    """The type that holds both: INTEGER → BIGINT → DECIMAL → DOUBLE."""
    if DOUBLE in (left, right):
        return DOUBLE
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        a, b = as_decimal(left), as_decimal(right)
        scale = max(a.scale, b.scale)
        return Decimal(max(a.precision - a.scale, b.precision - b.scale) + scale, scale)
    return BIGINT if BIGINT in (left, right) else INTEGER


def widens(source: SqlType, target: SqlType) -> bool:
    """Does a value of ``source`` become one of ``target`` by itself?"""
    if source == target:
        return True
    match source, target:
        case Array(a), Array(b):
            return widens(a, b)
        case Map(k, a), Map(m, b):
            return widens(k, m) and widens(a, b)
        case Struct(members), Struct(others):
            known = dict(members)
            return all(name not in known or widens(known[name], type_) for name, type_ in others)
    if target == DOUBLE:
        return is_numeric(source)
    if isinstance(target, Decimal) and is_numeric(source) and source != DOUBLE:
        own = as_decimal(source)
        return own.scale <= target.scale and (
            own.precision - own.scale <= target.precision - target.scale
        )
    return source == INTEGER and target == BIGINT


def wrap(value: int, bits: int) -> int:
    """Java's two's complement of 32 or 64 bits."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def _double_to_integer(bits: int) -> Cast:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def cast(value: float) -> int:
        if value != value:
            return 0
        return low if value <= low else high if value >= high else int(value)

    return cast


def fit_decimal(value: decimal.Decimal, type_: Decimal) -> decimal.Decimal:
    """Round HALF_UP to the scale.

    Raises:
        ArithmeticError: more digits before the point than the type holds.
    """
    rounded = value.quantize(decimal.Decimal(1).scaleb(-type_.scale), decimal.ROUND_HALF_UP, EXACT)
    if rounded.adjusted() >= type_.precision - type_.scale and rounded:
        raise ArithmeticError(
            f"Numeric field overflow: A field with precision {type_.precision} and scale {type_.scale} "
            f"must round to an absolute value less than 10^{type_.precision - type_.scale}. Got {value:f}"
        )
    return rounded


def _to_decimal(source: SqlType, target: Decimal) -> Cast | None:
    if source in (INTEGER, BIGINT):
        return lambda value: fit_decimal(decimal.Decimal(value), target)
    if source == DOUBLE:
        return lambda value: fit_decimal(double_decimal(value), target)
    if isinstance(source, Decimal):
        return lambda value: fit_decimal(value, target)
    if source == STRING:
        return lambda value: fit_decimal(text_decimal(value), target)
    return None


def double_decimal(value: float) -> decimal.Decimal:
    """``BigDecimal.valueOf(double)``: by its shortest text."""
    if not math.isfinite(value):
        raise ArithmeticError(f"{double_text(value)} is no DECIMAL")
    return decimal.Decimal(repr(value))


def text_decimal(text: str) -> decimal.Decimal:
    """``new BigDecimal(text.trim())``."""
    found = decimal.Decimal(text.strip()) if _looks_decimal(text.strip()) else None
    if found is None or abs(found.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"Character array is not a number: {text!r}")
    return found


def _looks_decimal(text: str) -> bool:
    return bool(text) and text.isascii() and set(text) <= set("0123456789+-.eE") and _parses(text)


def _parses(text: str) -> bool:
    try:
        decimal.Decimal(text)
    except decimal.InvalidOperation:
        return False
    return True


def text_boolean(text: str) -> bool:
    """True for a prefix of ``true`` or ``yes``."""
    word = text.strip().lower()
    return bool(word) and ("true".startswith(word) or "yes".startswith(word))


_SIMPLE: dict[tuple[SqlType, SqlType], Cast] = {
    (INTEGER, BIGINT): same,
    (BIGINT, INTEGER): lambda value: wrap(value, 32),
    (INTEGER, DOUBLE): float,
    (BIGINT, DOUBLE): float,
    (DOUBLE, INTEGER): _double_to_integer(32),
    (DOUBLE, BIGINT): _double_to_integer(64),
    (BOOLEAN, STRING): lambda value: "true" if value else "false",
    (INTEGER, STRING): str,
    (BIGINT, STRING): str,
    (DOUBLE, STRING): double_text,
    (STRING, BOOLEAN): text_boolean,
    (STRING, INTEGER): lambda value: parse_integer(value.strip(), 32),
    (STRING, BIGINT): lambda value: parse_integer(value.strip(), 64),
    (STRING, DOUBLE): lambda value: parse_double(value.strip()),
    (STRING, TIMESTAMP): iso_time.parse_timestamp,
    (STRING, DATE): iso_time.parse_date,
    (STRING, TIME): iso_time.parse_time,
    (TIMESTAMP, STRING): iso_time.timestamp_text,
    (DATE, STRING): iso_time.date_text,
    (TIME, STRING): iso_time.time_text,
    (TIMESTAMP, DATE): lambda value: value // iso_time.DAY_MS,
    (TIMESTAMP, TIME): lambda value: value % iso_time.DAY_MS,
    (DATE, TIMESTAMP): lambda value: value * iso_time.DAY_MS,
}


def cast_function(source: SqlType, target: SqlType) -> Cast | None:
    """The cast from one type to another, None where there is none."""
    if source == target:
        return same
    if isinstance(target, Decimal):
        return _to_decimal(source, target)
    match source, target:
        case Array(a), Array(b):
            return _cast_items(cast_function(a, b))
        case Map(k, a), Map(m, b):
            return _cast_entries(cast_function(k, m), cast_function(a, b))
        case Struct(members), Struct(others):
            return _cast_fields(dict(members), others)
    if isinstance(source, Decimal):
        return _from_decimal(target)
    if target == STRING and source != BYTES and isinstance(source, Array | Map | Struct):
        return _text_of(source)
    return _SIMPLE.get((source, target))


def _from_decimal(target: SqlType) -> Cast | None:
    if target == INTEGER:
        return lambda value: wrap(int(value), 32)
    if target == BIGINT:
        return lambda value: wrap(int(value), 64)
    if target == DOUBLE:
        return float
    if target == STRING:
        return lambda value: f"{value:f}"
    return None


def plain_text(value: Any) -> str:
    """``String.valueOf`` of a value inside a collection: ``null``, ``true``, ``[1, 2]``, ``{a=1}``."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return double_text(value)
        case list():
            return "[" + ", ".join(map(plain_text, value)) + "]"
        case dict():
            return (
                "{" + ", ".join(f"{plain_text(k)}={plain_text(v)}" for k, v in value.items()) + "}"
            )
        case decimal.Decimal():
            return f"{value:f}"
    return str(value)


def _text_of(source: SqlType) -> Cast:
    if isinstance(source, Struct):
        return lambda value: (
            "Struct{"
            + ",".join(f"{k}={plain_text(v)}" for k, v in value.items() if v is not None)
            + "}"
        )
    return plain_text


def or_null(cast: Cast) -> Cast:
    return lambda value: None if value is None else cast(value)


def _cast_items(item: Cast | None) -> Cast | None:
    if item is None:
        return None
    inner = or_null(item)
    return lambda values: [inner(value) for value in values]


def _cast_entries(key: Cast | None, value: Cast | None) -> Cast | None:
    if key is None or value is None:
        return None
    of_key, of_value = or_null(key), or_null(value)
    return lambda entries: {of_key(k): of_value(v) for k, v in entries.items()}


def _cast_fields(known: dict[str, SqlType], wanted: tuple[tuple[str, SqlType], ...]) -> Cast | None:
    """Fields by name; those that the source lacks become NULL."""
    casts: list[tuple[str, Cast]] = []
    for name, type_ in wanted:
        cast = cast_function(known[name], type_) if name in known else same
        if cast is None:
            return None
        casts.append((name, or_null(cast)))
    return lambda value: {name: cast(value.get(name)) for name, cast in casts}
