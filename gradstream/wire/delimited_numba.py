"""The compiled loop of the DELIMITED codec: rows of text to columns in one pass over Arrow's buffers.

It takes only what it reads exactly as Java does; a row with anything else (quotes, line ends, another number of fields, a
number in an unusual shape) is left to the exact path. Doubles are read to the last bit: digits and a power of ten that
both fit a double give the quotient or product of the two; others go through 128-bit powers of ten, after D. Lemire,
"Number parsing at a gigabyte per second" (Software: Practice and Experience 51, 2021), and where even those 128 bits do
not tell which double is nearest, the row is left, too.

Buffers come and go as addresses (int64), as in avro_numba. No byte is read at or after the end of its own row.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from gradstream.wire import avro_numba
from gradstream.wire.avro_numba import (
    _copy,
    _is_utf8,
    load_i32,
    load_i64,
    load_u8,
    store_f64,
    store_i32,
    store_i64,
    store_u8,
)
from gradstream.wire.compiled import compiled, stamp

INT, LONG, DOUBLE, TEXT, PASSED = range(5)  # PASSED is text that nobody reads

# Columns of the table that tells, for each field, where what is read goes.
KIND, VALUES, ENDS, VALID, NULLS = range(5)

_ZERO, _NINE, _MINUS, _PLUS, _POINT = ord("0"), ord("9"), ord("-"), ord("+"), ord(".")
_QUOTE, _CR, _LF, _SMALL_E = ord('"'), ord("\r"), ord("\n"), ord("e")

_MOST_DIGITS = 19  # always fit 64 bits
_LONG_DIGITS = 18
_SMALLEST, _LARGEST = -342, 308  # powers of ten beyond which a double is 0 or infinite
_POWERS = np.array([10.0**power for power in range(23)])  # those that a double holds exactly


def _wide_powers() -> npt.NDArray[np.uint64]:
    """The upper 128 bits of each power of ten, cut off below, as (high, low)."""
    table = np.empty((_LARGEST - _SMALLEST + 1, 2), np.uint64)
    for row, power in enumerate(range(_SMALLEST, _LARGEST + 1)):
        number = 10**power if power >= 0 else (1 << 1300) // 10**-power
        excess = number.bit_length() - 128
        number = number >> excess if excess >= 0 else number << -excess
        table[row] = number >> 64, number & (1 << 64) - 1
    return table


_WIDE = _wide_powers()
_U0, _U1, _U3, _U9 = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(9)
_U10, _U52, _U53, _U63 = np.uint64(10), np.uint64(52), np.uint64(53), np.uint64(63)
_LOW_NINE = np.uint64(0x1FF)
_FRACTION = np.uint64((1 << 52) - 1)
_EXACT = np.uint64(1 << 53)


@intrinsic
def _high_product(typingctx: Any, a: Any, b: Any) -> Any:
    """The upper half of a product of 64-bit numbers."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        first, second = (builder.zext(one, wide) for one in arguments)
        product = builder.mul(first, second)
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def _leading_zeros(typingctx: Any, number: Any) -> Any:
    """Of a number that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def _as_double(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), codegen


@njit(inline="always")
def _nearest(digits: Any, power: int) -> tuple[bool, float]:
    """(whether it can be told, the double nearest to digits · 10**power); digits is a uint64."""
    if digits == _U0:
        return True, 0.0
    if digits <= _EXACT and -22 <= power <= 22:
        number = float(digits)
        return True, number * _POWERS[power] if power >= 0 else number / _POWERS[-power]
    if power < _SMALLEST or power > _LARGEST:
        return False, 0.0
    zeros = _leading_zeros(digits)
    digits = digits << zeros
    scale = _WIDE[power - _SMALLEST, 0]
    high, low = _high_product(digits, scale), digits * scale
    if high & _LOW_NINE == _LOW_NINE and low + digits < low:  # the power's lower half may carry
        scale = _WIDE[power - _SMALLEST, 1]
        middle, lowest = _high_product(digits, scale), digits * scale
        sum_ = low + middle
        if sum_ < low:
            high += _U1
        low = sum_
        if high & _LOW_NINE == _LOW_NINE and low + _U1 == _U0 and lowest + digits < lowest:
            return False, 0.0
    top = high >> _U63
    fraction = high >> (top + _U9)  # 54 bits, one more than a double has
    if low == _U0 and high & _LOW_NINE == _U0 and fraction & _U3 == _U1:
        return False, 0.0  # perhaps half-way between two doubles
    exponent = ((217706 * power) >> 16) + 1087 - np.int64(zeros) - np.int64(_U1 ^ top)
    fraction = (fraction + (fraction & _U1)) >> _U1
    if fraction >> _U53 != _U0:
        fraction = fraction >> _U1
        exponent += 1
    if exponent < 1 or exponent > 2046:  # subnormal, zero or infinite
        return False, 0.0
    return True, _as_double(np.uint64(exponent) << _U52 | fraction & _FRACTION)


@njit(inline="always")
def _eight_digits(word: Any) -> bool:
    """Whether eight bytes, read as one little-endian uint64, are all digits."""
    upper = word & np.uint64(0xF0F0F0F0F0F0F0F0)
    carried = (word + np.uint64(0x0606060606060606)) & np.uint64(0xF0F0F0F0F0F0F0F0)
    return upper | carried >> np.uint64(4) == np.uint64(0x3333333333333333)


@njit(inline="always")
def _value_of_eight(word: Any) -> Any:
    """What eight digits mean: pairs, then fours, then all, each step one multiplication for all of them."""
    word = word & np.uint64(0x0F0F0F0F0F0F0F0F)
    word = (word * np.uint64(2561) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    word = (word * np.uint64(6553601) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    return word * np.uint64(42949672960001) >> np.uint64(32)


@njit(inline="always")
def _digits(pos: int, end: int, number: Any) -> tuple[Any, int]:
    """(number with the digits from pos on appended, the position after them); uint64, wrong beyond 19 digits."""
    while end - pos >= 8:
        word = np.uint64(load_i64(pos))
        if not _eight_digits(word):
            break
        number = number * np.uint64(100_000_000) + _value_of_eight(word)
        pos += 8
    while pos < end:
        byte = load_u8(pos)
        if byte < _ZERO or byte > _NINE:
            break
        number = number * _U10 + np.uint64(byte - _ZERO)
        pos += 1
    return number, pos


@njit(inline="always")
def _integer(pos: int, end: int) -> tuple[Any, int]:
    """(number, position after it), which is -1 where the exact path must see it."""
    if pos == end:
        return 0, -1
    negative = load_u8(pos) == _MINUS
    if negative or load_u8(pos) == _PLUS:
        pos += 1
    number, after = _digits(pos, end, _U0)
    if after == pos or after - pos > _LONG_DIGITS:
        return 0, -1
    value = np.int64(number)
    return -value if negative else value, after


@njit(inline="always")
def _double(pos: int, end: int) -> tuple[float, int]:
    """As _integer, for a DOUBLE in decimal digits."""
    negative = load_u8(pos) == _MINUS
    if negative or load_u8(pos) == _PLUS:
        pos += 1
    start = pos
    while pos < end and load_u8(pos) == _ZERO:  # zeros in front are no significant digits
        pos += 1
    number, after = _digits(pos, end, _U0)
    significant, written, power = after - pos, after - start, 0
    if after < end and load_u8(after) == _POINT:
        start = pos = after + 1
        while number == _U0 and pos < end and load_u8(pos) == _ZERO:
            pos += 1
        number, after = _digits(pos, end, number)
        significant += after - pos
        written += after - start
        power = start - after
    if written == 0 or significant > _MOST_DIGITS:
        return 0.0, -1
    if after < end and load_u8(after) | 32 == _SMALL_E:
        exponent, after = _integer(after + 1, end)
        if after < 0 or abs(exponent) > 9999:
            return 0.0, -1
        power += exponent
    known, value = _nearest(number, power)
    if not known:
        return 0.0, -1
    return -value if negative else value, after


@njit(inline="always")
def _text_end(pos: int, end: int, delimiter: int) -> tuple[int, int]:
    """(where a field without quotes ends, all its bytes or-ed); -1 where the exact path must see it."""
    seen = 0
    while pos < end:
        byte = load_u8(pos)
        if byte == delimiter:
            break
        if byte <= _QUOTE and byte in (_QUOTE, _CR, _LF):
            return -1, 0
        seen |= byte
        pos += 1
    return pos, seen


@njit(inline="always")
def _text(pos: int, end: int, delimiter: int, at: int, table: Any, field: int) -> int:
    """Put a field of text at place ``at``; the position after it."""
    after, seen = _text_end(pos, end, delimiter)
    if after < 0 or table[field, KIND] == PASSED:
        return after
    if seen >= 128 and not _is_utf8(pos, after):
        return -1
    begin = load_i32(table[field, ENDS] + 4 * at)
    _copy(table[field, VALUES] + begin, pos, after - pos)
    store_i32(table[field, ENDS] + 4 * at + 4, begin + after - pos)
    return after


@njit(inline="always")
def _null(at: int, table: Any, field: int) -> None:
    """Make place ``at`` null."""
    kind = table[field, KIND]
    if kind == PASSED:
        return
    bits = table[field, VALID] + (at >> 3)
    store_u8(bits, load_u8(bits) & ~(1 << (at & 7)))
    table[field, NULLS] += 1
    if kind == TEXT:
        store_i32(table[field, ENDS] + 4 * at + 4, load_i32(table[field, ENDS] + 4 * at))
    elif kind == INT:
        store_i32(table[field, VALUES] + 4 * at, 0)
    else:
        store_i64(table[field, VALUES] + 8 * at, 0)


@njit(inline="always")
def _undo(at: int, table: Any, fields: int) -> bool:
    """Take back the nulls of place ``at``, which another row will have; always False."""
    for field in range(fields):
        bits = table[field, VALID] + (at >> 3)
        if table[field, KIND] != PASSED and load_u8(bits) >> (at & 7) & 1 == 0:
            store_u8(bits, load_u8(bits) | 1 << (at & 7))
            table[field, NULLS] -= 1
    return False


@njit(inline="always")
def _field(pos: int, end: int, delimiter: int, at: int, table: Any, field: int) -> int:
    """Read one field to place ``at``; the position after it, or -1 where the exact path must see the row."""
    kind = table[field, KIND]
    if pos == end or load_u8(pos) == delimiter:
        _null(at, table, field)
        return pos
    if kind == DOUBLE:
        value, after = _double(pos, end)
        store_f64(table[field, VALUES] + 8 * at, value)
        return after
    if kind in (TEXT, PASSED):
        return _text(pos, end, delimiter, at, table, field)
    number, after = _integer(pos, end)
    if kind == LONG:
        store_i64(table[field, VALUES] + 8 * at, number)
    elif number < -(1 << 31) or number >= 1 << 31:
        return -1
    else:
        store_i32(table[field, VALUES] + 4 * at, number)
    return after


@njit(inline="always")
def _row(pos: int, end: int, delimiter: int, at: int, table: Any) -> bool:
    """Read a row to place ``at``; False where the exact path must see it."""
    if pos == end:
        return False
    last = len(table) - 1
    for field in range(last + 1):
        pos = _field(pos, end, delimiter, at, table, field)
        if pos < 0:
            return _undo(at, table, field + 1)
        if field == last:
            break
        if pos == end or load_u8(pos) != delimiter:
            return _undo(at, table, field + 1)
        pos += 1
    return pos == end or _undo(at, table, last + 1)


@compiled(stamp(avro_numba), nogil=True)
def read(
    n: int, ends: int, data: int, valid: int, first: int, delimiter: int, table: Any, rows: Any, left: Any
) -> tuple[int, int]:  # fmt: skip
    """Read n rows.

    Args:
        ends: address of n + 1 int32, where each value ends in ``data``.
        data: address of the values.
        valid: address of the bits that tell which values are not null, 0 where none is; ``first`` is the first bit.
        table: int64 (fields, 5): kind, then addresses of the values, of the ends of text, of validity bits, all set,
            and 0, which becomes the number of nulls.
        rows, left: int64 (n,), take the rows that were read, in the places 0, 1, …, and those that were not.

    Returns:
        how many were read, and how many were not.
    """
    good = bad = 0
    for row in range(n):
        bit = first + row
        if valid != 0 and load_u8(valid + (bit >> 3)) >> (bit & 7) & 1 == 0:
            for field in range(len(table)):
                _null(good, table, field)
        else:
            start, end = data + load_i32(ends + 4 * row), data + load_i32(ends + 4 * row + 4)
            if not _row(start, end, delimiter, good, table):
                left[bad] = row
                bad += 1
                continue
        rows[good] = row
        good += 1
    return good, bad
