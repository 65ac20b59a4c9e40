"""Functions of numbers, with Java's rounding and its NaN where Python would raise."""

from __future__ import annotations

import decimal
import math
import random
from collections.abc import Callable

from gradstream.engine.language.casts import EXACT, wrap
from gradstream.engine.language.functions.registry import scalar
from gradstream.engine.types import Decimal, SqlType

_NUMBERS = ("INTEGER", "BIGINT", "DOUBLE", "DECIMAL")


def _whole(types: list[SqlType | None]) -> SqlType:
    """DECIMAL(p, s) to the DECIMAL of its whole part."""
    type_ = types[0]
    if not isinstance(type_, Decimal):
        type_ = Decimal(1, 0)
    return Decimal(
        max(type_.precision - type_.scale, 1)
        + (type_.scale > 0 and type_.precision == type_.scale),
        0,
    )


@scalar("ABS", "INTEGER -> INTEGER", category="MATHEMATICAL", display="Abs")
def abs_integer(value: int) -> int:
    """Returns the absolute value."""
    return wrap(abs(value), 32)


@scalar("ABS", "BIGINT -> BIGINT", category="MATHEMATICAL")
def abs_bigint(value: int) -> int:
    """Returns the absolute value."""
    return wrap(abs(value), 64)


@scalar("ABS", "DOUBLE -> DOUBLE", "DECIMAL -> DECIMAL", category="MATHEMATICAL")
def abs_number(value: float) -> float:
    """Returns the absolute value."""
    return abs(value)


def java_round(value: float) -> int:
    """``Math.round``: half goes up."""
    if value != value:
        return 0
    if math.isinf(value) or abs(value) >= 2**63:
        return (1 << 63) - 1 if value > 0 else -(1 << 63)
    floor = math.floor(value)
    return floor + (value - floor >= 0.5)


def _scaled(value: decimal.Decimal, places: int, rounding: str) -> decimal.Decimal:
    return value.quantize(decimal.Decimal(1).scaleb(-places), rounding, EXACT)


def _half_up(value: decimal.Decimal, places: int) -> decimal.Decimal:
    """Half goes towards positive infinity, for negative numbers too."""
    way = decimal.ROUND_HALF_DOWN if value < 0 else decimal.ROUND_HALF_UP
    return _scaled(value, places, way)


def _kept(value: decimal.Decimal, places: int, scale: int) -> decimal.Decimal:
    """Rounded to places, then with the scale that it had."""
    return _scaled(_half_up(value, places), scale, decimal.ROUND_HALF_UP)


def _scale(value: decimal.Decimal) -> int:
    return max(-int(value.as_tuple().exponent), 0)


@scalar("ROUND", "INTEGER -> INTEGER", "BIGINT -> BIGINT", category="MATHEMATICAL", display="Round")
def round_whole(value: int) -> int:
    """Rounds a number, to the nearest whole one or to some decimal places; half goes up."""
    return value


@scalar(
    "ROUND", "INTEGER, INTEGER -> INTEGER", "BIGINT, INTEGER -> BIGINT", category="MATHEMATICAL"
)
def round_whole_to(value: int, places: int) -> int:
    """Rounds a whole number; negative places round to tens and hundreds."""
    return value if places >= 0 else int(_half_up(decimal.Decimal(value), places))


@scalar("ROUND", "DOUBLE -> BIGINT", category="MATHEMATICAL")
def round_double(value: float) -> int:
    """Rounds to the nearest whole number; half goes up."""
    return java_round(value)


@scalar("ROUND", "DOUBLE, INTEGER -> DOUBLE", category="MATHEMATICAL")
def round_double_to(value: float, places: int) -> float:
    """Rounds to some decimal places; half goes up."""
    if not math.isfinite(value):
        return value
    return float(_half_up(decimal.Decimal(repr(value)), places))


@scalar("ROUND", "DECIMAL -> DECIMAL", category="MATHEMATICAL", returns=_whole)
def round_decimal(value: decimal.Decimal) -> decimal.Decimal:
    """Rounds to the nearest whole number; half goes up."""
    return _half_up(value, 0)


@scalar("ROUND", "DECIMAL, INTEGER -> DECIMAL", category="MATHEMATICAL")
def round_decimal_to(value: decimal.Decimal, places: int) -> decimal.Decimal:
    """Rounds to some decimal places; the type stays."""
    return _kept(value, places, _scale(value))


@scalar("TRUNC", "INTEGER -> INTEGER", "BIGINT -> BIGINT", category="MATHEMATICAL", display="Trunc")
def trunc_whole(value: int) -> int:
    """Cuts off decimal places."""
    return value


@scalar(
    "TRUNC", "INTEGER, INTEGER -> INTEGER", "BIGINT, INTEGER -> BIGINT", category="MATHEMATICAL"
)
def trunc_whole_to(value: int, places: int) -> int:
    """Cuts off tens and hundreds where places are negative."""
    if places >= 0:
        return value
    return int(_scaled(decimal.Decimal(value), places, decimal.ROUND_DOWN))


@scalar("TRUNC", "DOUBLE -> BIGINT", category="MATHEMATICAL")
def trunc_double(value: float) -> int:
    """Cuts off all decimal places."""
    return java_round(float(math.trunc(value))) if math.isfinite(value) else java_round(value)


@scalar("TRUNC", "DOUBLE, INTEGER -> DOUBLE", category="MATHEMATICAL")
def trunc_double_to(value: float, places: int) -> float:
    """Cuts off all but some decimal places."""
    if not math.isfinite(value):
        return value
    return float(_scaled(decimal.Decimal(repr(value)), places, decimal.ROUND_DOWN))


@scalar("TRUNC", "DECIMAL -> DECIMAL", category="MATHEMATICAL", returns=_whole)
def trunc_decimal(value: decimal.Decimal) -> decimal.Decimal:
    """Cuts off all decimal places."""
    return _scaled(value, 0, decimal.ROUND_DOWN)


@scalar("TRUNC", "DECIMAL, INTEGER -> DECIMAL", category="MATHEMATICAL")
def trunc_decimal_to(value: decimal.Decimal, places: int) -> decimal.Decimal:
    """Cuts off all but some decimal places; the type stays."""
    return _scaled(_scaled(value, places, decimal.ROUND_DOWN), _scale(value), decimal.ROUND_DOWN)


def _both_ways(name: str, whole: Callable[[float], int], rounding: str, description: str) -> None:
    def of_integer(value: int) -> int:
        return value

    def of_double(value: float) -> float:
        if not math.isfinite(value):
            return value
        return math.copysign(float(whole(value)), value)

    def of_decimal(value: decimal.Decimal) -> decimal.Decimal:
        return _scaled(_scaled(value, 0, rounding), _scale(value), decimal.ROUND_HALF_UP)

    whole_numbers = ("INTEGER -> INTEGER", "BIGINT -> BIGINT")
    scalar(name, *whole_numbers, category="MATHEMATICAL", description=description)(of_integer)
    scalar(name, "DOUBLE -> DOUBLE", category="MATHEMATICAL")(of_double)
    scalar(name, "DECIMAL -> DECIMAL", category="MATHEMATICAL")(of_decimal)


_both_ways(
    "CEIL", math.ceil, decimal.ROUND_CEILING, "Returns the smallest whole number that is not less."
)
_both_ways(
    "FLOOR", math.floor, decimal.ROUND_FLOOR, "Returns the greatest whole number that is not more."
)


@scalar(
    "SIGN",
    "INTEGER -> INTEGER",
    "BIGINT -> INTEGER",
    "DOUBLE -> INTEGER",
    "DECIMAL -> INTEGER",
    category="MATHEMATICAL",
)
def sign(value: float) -> int:
    """Returns -1, 0 or 1."""
    return (value > 0) - (value < 0)


def _java(function: Callable[..., float]) -> Callable[..., float]:
    """NaN and infinities where Python raises."""

    def call(*values: float) -> float:
        try:
            return function(*values)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return call


def _exp(value: float) -> float:
    return math.exp(value)


def _ln(value: float) -> float:
    return math.log(value) if value > 0 else (-math.inf if value == 0 else math.nan)


def _tan_cot(value: float) -> float:
    tangent = math.tan(value)
    return 1 / tangent if tangent else math.copysign(math.inf, tangent)


def _power(base: float, exponent: float) -> float:
    if abs(base) == 1 and math.isinf(exponent):
        return math.nan
    if base == 1 and exponent != exponent:
        return math.nan
    if base == 0 and exponent < 0:
        odd = exponent.is_integer() and math.fmod(exponent, 2) != 0
        return math.copysign(math.inf, base) if odd else math.inf
    try:
        return math.pow(base, exponent)
    except ValueError:  # a root of a negative number
        return math.nan
    except OverflowError:
        odd = math.fmod(exponent, 2) != 0
        return -math.inf if base < 0 and odd else math.inf


def _sinh(value: float) -> float:
    try:
        return math.sinh(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _single(name: str, function: Callable[[float], float], description: str) -> None:
    declare = scalar(name, "DOUBLE -> DOUBLE", category="MATHEMATICAL", description=description)
    declare(_java(function))


for _name, _function, _description in (
    ("ACOS", math.acos, "Returns the arc cosine."),
    ("ASIN", math.asin, "Returns the arc sine."),
    ("ATAN", math.atan, "Returns the arc tangent."),
    ("CBRT", math.cbrt, "Returns the cube root."),
    ("COS", math.cos, "Returns the cosine."),
    ("COSH", math.cosh, "Returns the hyperbolic cosine."),
    ("COT", _tan_cot, "Returns the cotangent."),
    ("DEGREES", math.degrees, "Turns radians into degrees."),
    ("EXP", _exp, "Returns e to the power of a number."),
    ("LN", _ln, "Returns the natural logarithm."),
    ("RADIANS", math.radians, "Turns degrees into radians."),
    ("SIN", math.sin, "Returns the sine."),
    ("SINH", _sinh, "Returns the hyperbolic sine."),
    ("SQRT", math.sqrt, "Returns the square root."),
    ("TAN", math.tan, "Returns the tangent."),
    ("TANH", math.tanh, "Returns the hyperbolic tangent."),
):
    _single(_name, _function, _description)

scalar("ATAN2", "DOUBLE, DOUBLE -> DOUBLE", category="MATHEMATICAL")(math.atan2)
scalar("POWER", "DOUBLE, DOUBLE -> DOUBLE", category="MATHEMATICAL")(_power)


@scalar("LOG", "DOUBLE -> DOUBLE", category="MATHEMATICAL")
def log(value: float) -> float:
    """Returns the natural logarithm of a number, or its logarithm to a base given first."""
    return _ln(value)


@scalar("LOG", "DOUBLE, DOUBLE -> DOUBLE", category="MATHEMATICAL")
def log_base(base: float, value: float) -> float:
    """Returns the logarithm of the second number to the base of the first."""
    if base <= 0 or base == 1:
        return math.nan
    return _ln(value) / _ln(base)


@scalar("PI", "-> DOUBLE", category="MATHEMATICAL")
def pi() -> float:
    """Returns the circle's number."""
    return math.pi


@scalar("RANDOM", "-> DOUBLE", category="MATHEMATICAL")
def random_double() -> float:
    """Returns a random number from 0 to 1."""
    return random.random()  # noqa: S311  (not for secrets)


@scalar(
    "GEO_DISTANCE",
    "DOUBLE!, DOUBLE!, DOUBLE!, DOUBLE! -> DOUBLE",
    "DOUBLE!, DOUBLE!, DOUBLE!, DOUBLE!, STRING -> DOUBLE",
    category="OTHER",
    nulls="see",
)
def geo_distance(
    lat1: float, lon1: float, lat2: float, lon2: float, unit: str | None = "KM"
) -> float:
    """Returns the great-circle distance between two places in kilometres, or in miles (MI)."""
    if not all(-90 <= lat <= 90 for lat in (lat1, lat2)):
        raise ValueError(
            "valid latitude values for GeoDistance function are in the range of -90 to 90 decimal degrees"
        )
    if not all(-180 <= lon <= 180 for lon in (lon1, lon2)):
        raise ValueError(
            "valid longitude values for GeoDistance function are in the range of -180 to 180 decimal degrees"
        )
    unit = unit or "KM"
    radius = {"K": 6371.0, "M": 3959.0}.get(unit[:1].upper())
    if radius is None or unit.upper() not in (
        "KM",
        "KILOMETER",
        "KILOMETERS",
        "K",
        "MI",
        "MILE",
        "MILES",
        "M",
    ):
        raise ValueError(
            'function GeoDistance fifth parameter must be "mi" (miles) or "km" (kilometers)'
        )
    delta_lat, delta_lon = math.radians(lat2 - lat1), math.radians(lon2 - lon1)
    a = math.sin(delta_lat / 2) ** 2 + (
        math.cos(math.radians(lat1)) * math.cos(math.radians(lat2)) * math.sin(delta_lon / 2) ** 2
    )
    return radius * 2 * math.asin(math.sqrt(a))
