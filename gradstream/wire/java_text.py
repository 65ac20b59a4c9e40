"""Numbers as Java prints and reads them: ``Double.toString``, ``Double.parseDouble``, ``Integer.parseInt``.

ksqlDB writes doubles through Java in DELIMITED, in JSON and in CAST(… AS STRING), and its readers are Java's parsers,
which take and refuse other texts than Python's or Arrow's do (``1d`` and ``0x1p3`` are doubles, ``nan`` and ``1_0`` are
not). Digits are the shortest that read back as the same number, which is what JDK 19 and later print.
"""

from __future__ import annotations

import base64
import binascii
import decimal
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAY_MS = 86_400_000  # the largest TIME that ksqlDB reads

_EXACT = decimal.Context(prec=100, traps=[decimal.InvalidOperation])
_TRIMMED = "".join(map(chr, range(0x21)))  # what String.trim() takes off
_DOUBLE = re.compile(
    r"[+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?)\Z"
)
_HEX = re.compile(
    r"([+-]?0[xX](?:[0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?\Z"
)
_INTEGER = re.compile(r"[+-]?\d+\Z")  # any script's decimal digits, as Character.digit takes them
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z")


def double_text(value: float) -> str:
    """``Double.toString(value)``.

    >>> double_text(1e7), double_text(0.001), double_text(1.0)
    ('1.0E7', '0.001', '1.0')
    """
    text = repr(value)
    if 1e-3 <= abs(value) < 1e7 or value == 0:
        return text
    if value != value:
        return "NaN"
    sign = "-" if value < 0 else ""
    if value in (float("inf"), float("-inf")):
        return sign + "Infinity"
    size = abs(value)
    # Java never prints fewer than two digits, so it picks the nearest of two even where one would read back.
    two = f"{size:.1e}"
    return sign + _scientific(two if size < 1e-320 and float(two) == size else repr(size))


def _scientific(text: str) -> str:
    """Digits, a point, digits, ``E`` and the exponent from Python's shortest form of a positive number."""
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits)) - 1
    digits = digits.rstrip("0")
    return f"{digits[0]}.{digits[1:] or '0'}E{point}"


def double_texts(column: pa.DoubleArray) -> pa.StringArray:
    """double_text of a whole column; nulls stay.

    Arrow prints the same shortest digits; only whole numbers (no ``.0``) and those that Java writes with an exponent,
    or Arrow does, are redone.
    """
    texts = pc.cast(column, pa.string())
    values = column.to_numpy(zero_copy_only=False)
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        plain = (size >= 1e-3) & (size < 1e7) | (size == 0)
        whole = plain & (np.trunc(values) == values)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if (whole & valid).any():
        pointed = pc.binary_join_element_wise(texts, ".0", "")
        texts = pc.if_else(pa.array(whole), pointed, texts)
    odd = ~plain & valid
    if odd.any():
        redone = pa.array([double_text(value) for value in values[odd].tolist()], pa.string())
        texts = pc.replace_with_mask(texts, pa.array(odd), redone)
    return texts


def parse_double(text: str) -> float:
    """``Double.parseDouble``; ValueError where Java throws."""
    trimmed = text.strip(_TRIMMED)
    if (found := _HEX.match(trimmed)) is not None:
        try:
            return float.fromhex(found[1])
        except OverflowError:
            return float("-inf") if trimmed[0] == "-" else float("inf")
    if _DOUBLE.match(trimmed) is None:
        raise ValueError("not a number")
    return float(trimmed if trimmed.endswith(("NaN", "Infinity")) else trimmed.rstrip("fFdD"))


def parse_integer(text: str, bits: int) -> int:
    """``Integer.parseInt`` (32 bits) or ``Long.parseLong`` (64); ValueError where Java throws."""
    if _INTEGER.match(text) is None:
        raise ValueError("not an integer")
    value = _digits_value(text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"does not fit {bits} bits")
    return value


def _digits_value(text: str) -> int:
    if (
        len(text) > 4000
    ):  # Python refuses such texts as a precaution; leading zeros may still make them small
        text = text[0] + text[1:].lstrip("0")
        if len(text) > 4000:
            return 1 << 70
    return int(text)


def parse_decimal(text: str) -> str:
    """The text if ``new BigDecimal(text)`` takes it, with ASCII digits; ValueError where Java throws."""
    if _DECIMAL.match(text) is None:
        raise ValueError("not a decimal number")
    return text


def fitted(value: decimal.Decimal, type_: pa.DataType) -> decimal.Decimal:
    """The value with the type's scale; ValueError where that would round or overflow, as ksqlDB's ensureFit."""
    if value and value.adjusted() >= type_.precision - type_.scale:
        raise ValueError("Numeric field overflow")
    try:
        exact = value.quantize(decimal.Decimal(1).scaleb(-type_.scale), context=_EXACT)
    except decimal.InvalidOperation:
        raise ValueError("Numeric field overflow") from None
    if exact != value:
        raise ValueError("Cannot fit decimal without rounding")
    return exact


def parse_base64(text: str) -> bytes:
    """As Java's basic decoder: no line breaks, padding may be left out as a whole; ValueError otherwise."""
    padding = "" if "=" in text else "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text + padding, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
