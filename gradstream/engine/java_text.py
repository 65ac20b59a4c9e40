"""Values as Java prints and reads them."""

from __future__ import annotations

import math
import re
from typing import Any


def double_text(value: float) -> str:
    """``Double.toString``: shortest digits, at least one after the point, ``E`` beyond 10⁷ and below 10⁻³.

    >>> double_text(1e7), double_text(100.0), double_text(1e-4)
    ('1.0E7', '100.0', '1.0E-4')
    """
    if not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, exponent = f"{value!r}e0".split("e")[0:2] if "e" not in repr(value) else _split(value)
    sign = "-" if digits.startswith("-") else ""
    digits = digits.lstrip("-")
    whole, _, fraction = digits.partition(".")
    joined = (whole + ("" if fraction == "0" else fraction)).lstrip("0")
    leading = len(whole) - 1 if whole != "0" else -(len(fraction) - len(fraction.lstrip("0")) + 1)
    joined = joined.rstrip("0") or "0"
    return f"{sign}{joined[0]}.{joined[1:] or '0'}E{leading + int(exponent)}"


def _split(value: float) -> list[str]:
    mantissa, exponent = repr(value).split("e")
    return [mantissa if "." in mantissa else mantissa + ".0", exponent]


_DOUBLE = re.compile(
    r"[\x00-\x20]*[+-]?(?:NaN|Infinity|(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)[fFdD]?)[\x00-\x20]*\Z"
)
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)


def parse_double(text: str) -> float:
    """``Double.parseDouble`` for decimal notation.

    Raises:
        ValueError: not a number.
    """
    if not _DOUBLE.match(text):
        raise ValueError(f'For input string: "{text}"')
    bare = text.strip(" \t\n\r\0").rstrip("fFdD") if not text.strip().endswith(("y", "N")) else text
    return float(bare.replace("Infinity", "inf"))


def parse_integer(text: str, bits: int) -> int:
    """``Integer.parseInt`` or ``Long.parseLong``.

    Raises:
        ValueError: not an integer, or one that does not fit.
    """
    limit = 1 << (bits - 1)
    if _INTEGER.match(text) and len(text) < 40:
        number = int(text)
        if -limit <= number < limit:
            return number
    raise ValueError(f'For input string: "{text}"')


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
    return f"{value:f}" if hasattr(value, "quantize") else str(value)
