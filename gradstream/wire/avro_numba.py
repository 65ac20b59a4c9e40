"""The compiled loops of the Avro codec. They follow a table (avro_schema.Table), so that a new schema needs no new
machine code: compiled once per machine, kept in Numba's cache, loaded in a fraction of a second.

Buffers come and go as addresses (int64), since an array's type would differ between read-only and writable ones and
each difference would compile everything again. That makes the checks ours: no byte is read at or after ``end``, the
end of the record itself. Whatever reads returns the next position, or, below zero, what is wrong and at which row of
the table: ``-(row * 256 + code)``.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gradstream.wire import avro_schema as avro
from gradstream.wire import faults
from gradstream.wire.compiled import compiled, stamp
from gradstream.wire.faults import NUMBER

# Numba takes module globals as constants.
STAMP = stamp(sys.modules[__name__], avro, faults)
KIND, WRITTEN, SIZE, SCALE, NEXT, DEST, RUN, PRECISION = range(8)
PLAIN, NULL_FIRST = avro.PLAIN, avro.NULL_FIRST
NULL, BOOLEAN, INT, LONG, FLOAT, DOUBLE = (
    avro.NULL,
    avro.BOOLEAN,
    avro.INT,
    avro.LONG,
    avro.FLOAT,
    avro.DOUBLE,
)
STRING, BYTES, ENUM, FIXED, RECORD = avro.STRING, avro.BYTES, avro.ENUM, avro.FIXED, avro.RECORD
ARRAY, MAP, UNION = avro.ARRAY, avro.MAP, avro.UNION
DECIMAL, DECIMAL_FIXED = avro.DECIMAL, avro.DECIMAL_FIXED

TRUNCATED, TRAILING_BYTES = NUMBER["TRUNCATED"], NUMBER["TRAILING_BYTES"]
NON_FINITE, OUT_OF_RANGE = NUMBER["NON_FINITE"], NUMBER["OUT_OF_RANGE"]
BAD_UTF8, BAD_UNION, NULL_FIELD = NUMBER["BAD_UTF8"], NUMBER["BAD_UNION"], NUMBER["NULL_FIELD"]
WRONG_TYPE, TOO_MANY_ITEMS = NUMBER["WRONG_TYPE"], NUMBER["TOO_MANY_ITEMS"]
WRONG_DIMENSION = NUMBER["WRONG_DIMENSION"]
TOO_LARGE, BAD_DECIMAL = NUMBER["TOO_LARGE"], NUMBER["BAD_DECIMAL"]
BAD_ENUM, BAD_BOOLEAN = NUMBER["BAD_ENUM"], NUMBER["BAD_BOOLEAN"]
EMPTY_VALUE, TOMBSTONE = NUMBER["EMPTY_VALUE"], NUMBER["TOMBSTONE"]
SHORT_FRAME, BAD_MAGIC = NUMBER["SHORT_FRAME"], NUMBER["BAD_MAGIC"]

LONGEST = (
    1 << 26
)  # bytes or items; more than that in a Kafka record is a lie, not a record cut short
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
LOW63 = (1 << 63) - 1
HIGH_BITS = -0x7F7F7F7F7F7F7F80  # 0x8080808080808080 as int64
EXACT = 1 << 53
POWERS = np.array([10.0**power for power in range(39)])
# 10**precision, and at -precision its negative, as two halves of 64 bits; the lower one with its highest bit turned
# over, so that signed numbers compare as unsigned ones do.
TOP_BIT = -(1 << 63)
TWO_TO_64 = 2.0**64
HALVES = np.array(
    [
        (limit >> 64, (limit & (1 << 64) - 1) + TOP_BIT)
        for limit in (
            *(10**digits for digits in range(39)),
            *(-(10**digits) for digits in range(38, 0, -1)),
        )
    ],
    np.int64,
)

PENDING = 255  # the code of a value that nobody has looked at yet

INFINITY, NAN = np.frombuffer(b"INFINITY", np.uint8), np.frombuffer(b"NAN", np.uint8)

# How text reads as a number.
NUMBER_EXACT, NUMBER_SLOW, NUMBER_INFINITE, NUMBER_NOT = range(4)


def _loader(bits: int, *, floating: bool) -> Any:
    """An intrinsic that reads at any address, aligned or not, as int64 (zero-extended bytes) or float64."""

    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if floating:
                kind: Any = ir.DoubleType() if bits == 64 else ir.FloatType()
            else:
                kind = ir.IntType(bits)
            pointer = builder.inttoptr(arguments[0], kind.as_pointer())
            value = builder.load(pointer, align=1)
            if floating:
                return value if bits == 64 else builder.fpext(value, ir.DoubleType())
            if bits == 64:
                return value
            extend = builder.zext if bits == 8 else builder.sext
            return extend(value, ir.IntType(64))

        return (types.float64 if floating else types.int64)(types.int64), codegen

    return intrinsic(load)


def _storer(bits: int, *, floating: bool) -> Any:
    """An intrinsic that writes at any address, cutting the number to its width."""

    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            number = arguments[1]
            if floating and bits == 32:
                number = builder.fptrunc(number, ir.FloatType())
            elif not floating and bits < 64:
                number = builder.trunc(number, ir.IntType(bits))
            pointer = builder.inttoptr(arguments[0], number.type.as_pointer())
            builder.store(number, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.float64 if floating else types.int64), codegen

    return intrinsic(store)


load_u8 = _loader(8, floating=False)
load_i32 = _loader(32, floating=False)
load_i64 = _loader(64, floating=False)
load_f32 = _loader(32, floating=True)
load_f64 = _loader(64, floating=True)
store_u8 = _storer(8, floating=False)
store_i32 = _storer(32, floating=False)
store_i64 = _storer(64, floating=False)
store_f32 = _storer(32, floating=True)
store_f64 = _storer(64, floating=True)


@intrinsic
def _copy_many(typingctx: Any, to: Any, source: Any, size: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(one, byte) for one in arguments[:2])
        cgutils.raw_memcpy(builder, to, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@compiled(STAMP)
def _copy(to: int, source: int, size: int) -> None:
    if size >= 16:
        _copy_many(to, source, size)
    else:  # a call costs more than a few bytes
        for place in range(size):
            store_u8(to + place, load_u8(source + place))


@compiled(STAMP)
def _read_long(pos: int, end: int) -> tuple[int, int]:
    """(number, next position); the position is -code for a varint that is cut short or too long."""
    number = 0
    shift = 0
    while pos < end:
        byte = load_u8(pos)
        pos += 1
        if shift == 63 and byte > 1:
            return 0, -TOO_LARGE
        number |= (byte & 127) << shift
        if byte < 128:
            return ((number >> 1) & LOW63) ^ -(number & 1), pos
        shift += 7
    return 0, -TRUNCATED


@compiled(STAMP)
def _read_length(pos: int, end: int) -> tuple[int, int]:
    """(length, next position) of text or bytes; that many bytes are there."""
    length, pos = _read_long(pos, end)
    if pos < 0:
        return 0, pos
    if length < 0 or length > end - pos:
        return 0, -TOO_LARGE if length < 0 or length > LONGEST else -TRUNCATED
    return length, pos


@compiled(STAMP)
def _is_utf8(pos: int, end: int) -> bool:
    """Whether the bytes are UTF-8: shortest forms only, no surrogates, up to U+10FFFF."""
    while pos < end:
        if end - pos >= 8 and load_i64(pos) & HIGH_BITS == 0:
            pos += 8
            continue
        lead = load_u8(pos)
        pos += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if end - pos < more:
            return False
        second = load_u8(pos)
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if second < low or second > high:
            return False
        for place in range(1, more):
            if load_u8(pos + place) & 0xC0 != 0x80:
                return False
        pos += more
    return True


@compiled(STAMP)
def _is_infinite(pos: int, end: int) -> bool:
    """Whether the bytes from pos are 'nan', 'inf' or 'infinity' in any case."""
    if end - pos != 3 and end - pos != 8:
        return False
    nan, infinity = end - pos == 3, True
    for place in range(end - pos):
        letter = load_u8(pos + place) & ~32
        infinity = infinity and letter == INFINITY[place]
        nan = nan and letter == NAN[place % 3]
    return nan or infinity


@compiled(STAMP)
def _read_text_number(pos: int, end: int) -> tuple[float, int]:
    """(number, NUMBER_...) of decimal text: sign, digits with at most one point, exponent; no spaces.

    Exact for up to 15 or so digits with a power of ten that a double holds exactly; the rest is left to Python.
    """
    negative = False
    if pos < end and load_u8(pos) in (0x2B, 0x2D):
        negative = load_u8(pos) == 0x2D
        pos += 1
    if _is_infinite(pos, end):
        return 0.0, NUMBER_INFINITE
    mantissa = 0
    digits = 0
    power = 0
    point = False
    slow = False
    while pos < end:
        byte = load_u8(pos)
        if byte == 0x2E and not point:
            point = True
        elif 0x30 <= byte <= 0x39:
            digits += 1
            if mantissa >= EXACT // 10:
                slow = True
            else:
                mantissa = mantissa * 10 + (byte - 0x30)
                power -= point
        else:
            break
        pos += 1
    if digits == 0:
        return 0.0, NUMBER_NOT
    if pos < end:
        if load_u8(pos) | 32 != 0x65:
            return 0.0, NUMBER_NOT
        pos += 1
        below = False
        if pos < end and load_u8(pos) in (0x2B, 0x2D):
            below = load_u8(pos) == 0x2D
            pos += 1
        if pos == end:
            return 0.0, NUMBER_NOT
        exponent = 0
        while pos < end:
            byte = load_u8(pos)
            if byte < 0x30 or byte > 0x39:
                return 0.0, NUMBER_NOT
            exponent = min(exponent * 10 + (byte - 0x30), 100_000)
            pos += 1
        power += -exponent if below else exponent
    if slow or power < -22 or power > 22:
        return 0.0, NUMBER_SLOW
    number = float(mantissa)
    number = number * POWERS[power] if power >= 0 else number / POWERS[-power]
    return -number if negative else number, NUMBER_EXACT


@compiled(STAMP)
def _quick_text(pos: int, end: int) -> tuple[float, int]:
    """(number, next position) of text; the position is below zero for all that is not simply a number."""
    if end - pos >= 2 and load_u8(pos) == 2 and 0x30 <= load_u8(pos + 1) <= 0x39:  # a class
        return float(load_u8(pos + 1) - 0x30), pos + 2
    length, pos = _read_length(pos, end)
    if pos < 0:
        return 0.0, pos
    number, how = _read_text_number(pos, pos + length)
    return number, pos + length if how == NUMBER_EXACT else -1


@compiled(STAMP)
def _read_digits(pos: int, length: int, precision: int) -> tuple[bool, int, int]:
    """(good, high, low): big-endian bytes as two halves of 128 bits; not good if empty or of too many digits."""
    if length == 0:
        return False, 0, 0
    sign = -1 if load_u8(pos) >= 128 else 0
    while length > 16:
        if load_u8(pos) != sign & 255:
            return False, 0, 0
        pos += 1
        length -= 1
    high, low = sign, sign
    for place in range(length):
        high = (high << 8) | ((low >> 56) & 255)
        low = (low << 8) | load_u8(pos + place)
    if (high < 0) != (sign < 0):
        return False, 0, 0
    order = low ^ TOP_BIT
    above = high > HALVES[-precision, 0] or (
        high == HALVES[-precision, 0] and order > HALVES[-precision, 1]
    )
    below = high < HALVES[precision, 0] or (
        high == HALVES[precision, 0] and order < HALVES[precision, 1]
    )
    return above and below, high, low


@compiled(STAMP)
def _read_decimal(pos: int, length: int, scale: int, precision: int) -> float:
    """Those bytes divided by 10**scale, to the nearest double or the one beside it; NaN where they are not good."""
    good, high, low = _read_digits(pos, length, precision)
    if not good:
        return np.nan
    number = float(low)
    if high != low >> 63:  # more than 64 bits
        number = float(high) * TWO_TO_64 + (number if low >= 0 else number + TWO_TO_64)
    return number / POWERS[scale]


@compiled(STAMP)
def _read_branch(written: int, pos: int, end: int) -> tuple[int, int]:
    """(0 null or 1 value, next position) of a union of null and another type."""
    if pos < end and load_u8(pos) in (0, 2):
        index = load_u8(pos) >> 1
        pos += 1
    else:
        index, pos = _read_long(pos, end)
        if pos < 0:
            return 0, pos
        if index < 0 or index > 1:
            return 0, -BAD_UNION
    return (index if written == NULL_FIRST else 1 - index), pos


@compiled(STAMP)
def _skip(kind: int, size: int, pos: int, end: int) -> int:
    """Pass over one value of a simple type; text is not looked at."""
    if kind == DOUBLE:
        return pos + 8 if end - pos >= 8 else -TRUNCATED
    if kind == FLOAT:
        return pos + 4 if end - pos >= 4 else -TRUNCATED
    if kind in (STRING, BYTES, DECIMAL):
        length, pos = _read_length(pos, end)
        return pos if pos < 0 else pos + length
    if kind in (INT, LONG, ENUM):
        number, pos = _read_long(pos, end)
        if pos >= 0:
            if kind == INT and (number < INT_MIN or number > INT_MAX):
                return -OUT_OF_RANGE
            if kind == ENUM and (number < 0 or number >= size):
                return -BAD_ENUM
        return pos
    if kind == BOOLEAN:
        if pos >= end:
            return -TRUNCATED
        return pos + 1 if load_u8(pos) <= 1 else -BAD_BOOLEAN
    if kind in (FIXED, DECIMAL_FIXED):
        return pos + size if end - pos >= size else -TRUNCATED
    return pos  # null


@compiled(STAMP)
def _check_simple(ops: Any, row: int, pos: int, end: int) -> int:
    """Pass over one value that holds no others and is not null, checking all of it; next position or -code."""
    kind = ops[row, KIND]
    start = pos
    pos = _skip(kind, ops[row, SIZE], pos, end)
    if pos < 0:
        return pos
    if kind == STRING:
        _, start = _read_length(start, end)
        if not _is_utf8(start, pos):
            return -BAD_UTF8
    if kind in (DECIMAL, DECIMAL_FIXED):
        length = pos - start
        if kind == DECIMAL:
            length, start = _read_length(start, end)
        good, _, _ = _read_digits(start, length, ops[row, PRECISION])
        if not good:
            return -BAD_DECIMAL
    if kind in (INT, LONG) and ops[row, PRECISION]:
        number, _ = _read_long(start, end)
        if number < 0 or number >= ops[row, PRECISION]:
            return -OUT_OF_RANGE
    return pos


@compiled(STAMP)
def _read_block(pos: int, end: int) -> tuple[int, int]:
    """(items, next position) of the next block of an array or map; no items: it ends here."""
    count, pos = _read_long(pos, end)
    if pos >= 0 and count < 0:
        count = -count
        _, pos = _read_long(
            pos, end
        )  # the block's bytes, by which others skip it: ours are counted as they are read
    if pos < 0:
        return 0, pos
    # Every item takes a byte at least (avro_schema sees to that; a map's key does).
    if count < 0 or count > end - pos:
        return 0, -TOO_MANY_ITEMS if count < 0 or count > LONGEST else -TRUNCATED
    return count, pos


@compiled(STAMP)
def _read_key(pos: int, end: int) -> int:
    """Pass over a map's key; next position or -code."""
    length, pos = _read_length(pos, end)
    if pos < 0:
        return pos
    return pos + length if _is_utf8(pos, pos + length) else -BAD_UTF8


@compiled(STAMP)
def _next_inside(ops: Any, open_: Any, depth: int, pos: int, end: int) -> tuple[int, int, int]:
    """(row of what is read next or -1, depth, next position) after a value has ended inside records, arrays and maps."""
    while depth > 0:
        outer, state = open_[depth - 1, 0], open_[depth - 1, 1]
        if ops[outer, KIND] == RECORD:
            if state < ops[outer, NEXT]:
                open_[depth - 1, 1] = ops[state, NEXT]
                return state, depth, pos
            depth -= 1
            continue
        if state == 0:
            state, pos = _read_block(pos, end)
            if pos < 0:
                return outer, depth, pos
            if state == 0:
                depth -= 1
                continue
        open_[depth - 1, 1] = state - 1
        if ops[outer, KIND] == MAP:
            pos = _read_key(pos, end)
            if pos < 0:
                return outer, depth, pos
        return outer + 1, depth, pos
    return -1, 0, pos


@compiled(STAMP)
def check_value(ops: Any, row: int, pos: int, end: int) -> int:
    """Pass over one value of any type, checking all of it.

    Not recursive: Numba leaves calls of a function by itself unresolved where its machine code came from the disk.
    """
    # Row and state of each record, array or map that we are in: next field, or items left in the block.
    open_ = np.empty((ops[row, NEXT] - row, 2), np.int64)
    depth = 0
    while row >= 0:
        kind = ops[row, KIND]
        present = 1
        if ops[row, WRITTEN] != PLAIN:
            present, pos = _read_branch(ops[row, WRITTEN], pos, end)
            if pos < 0:
                return pos - row * 256
        if present and kind == UNION:
            index, pos = _read_long(pos, end)
            if pos < 0:
                return pos - row * 256
            child = row + 1
            while index > 0 and child < ops[row, NEXT]:
                child = ops[child, NEXT]
                index -= 1
            if index < 0 or child >= ops[row, NEXT]:
                return -BAD_UNION - row * 256
            row = child
            continue
        if present and kind in (RECORD, ARRAY, MAP):
            open_[depth, 0] = row
            open_[depth, 1] = row + 1 if kind == RECORD else 0
            depth += 1
        elif present:
            pos = _check_simple(ops, row, pos, end)
            if pos < 0:
                return pos - row * 256
        row, depth, pos = _next_inside(ops, open_, depth, pos, end)
        if pos < 0:
            return pos - row * 256
    return pos


@compiled(STAMP, nogil=True)
def spans(n: int, offsets: int, data: int, valid: int, first: int, begins: int, ends: int) -> None:
    """Where each value of an Arrow binary array lies.

    Args:
        offsets, data, valid: addresses of the array's buffers, valid 0 if none is null.
        first: the array's offset into them.
        begins, ends: addresses of int64 (n,), written: each value's first byte, 0 for null, and the one after its last.
    """
    for i in range(n):
        here = first + i
        begin = data + load_i32(offsets + 4 * here)
        end = data + load_i32(offsets + 4 * here + 4)
        if valid != 0 and (load_u8(valid + (here >> 3)) >> (here & 7)) & 1 == 0:
            begin = end = 0
        store_i64(begins + 8 * i, begin)
        store_i64(ends + 8 * i, end)


@compiled(STAMP, nogil=True)
def frame(n: int, begins: Any, ends: Any, codes: Any, ids: Any) -> int:
    """Judge the five bytes before each value that is still PENDING and note its schema id.

    Args:
        begins, ends: int64 (n,), addresses; 0 for null.
        codes: uint8 (n,), written.
        ids: int64 (n,), written; -1 where there is a code and where the value was not pending.

    Returns:
        -1 if the good values have several ids, else how many are good.
    """
    seen = -1
    good = 0
    several = False
    for i in range(n):
        ids[i] = -1
        if codes[i] != PENDING:
            continue
        pos = begins[i]
        size = ends[i] - pos
        if pos == 0:
            codes[i] = TOMBSTONE
        elif size == 0:
            codes[i] = EMPTY_VALUE
        elif load_u8(pos) != 0:
            codes[i] = BAD_MAGIC
        elif size < 6:
            codes[i] = SHORT_FRAME
        else:
            number = 0
            for place in range(1, 5):
                number = (number << 8) | load_u8(pos + place)
            codes[i] = 0
            ids[i] = number
            several = several or (good > 0 and number != seen)
            seen = number
            good += 1
    return -1 if several else good


@compiled(STAMP)
def _put(out: int, wide: bool, dest: int, number: float, limit: float) -> int:
    """Write one number into the matrix: 0, or the code of a number that does not belong there."""
    if number - number != 0.0:
        return NON_FINITE
    if wide:
        store_f64(out + 8 * dest, number)
    else:
        if abs(number) > limit:
            return OUT_OF_RANGE
        store_f32(out + 4 * dest, number)
    return 0


@compiled(STAMP)
def _read_doubles(
    ops: Any, row: int, pos: int, out: int, wide: bool, limit: float
) -> tuple[int, int]:
    """(rows done, code): the run of doubles that starts at this row; all its bytes are there.

    Stops early, without a code, at a union that is not simply "value".
    """
    run = ops[row, RUN]
    union = ops[row, WRITTEN] != PLAIN
    value = 2 if ops[row, WRITTEN] == NULL_FIRST else 0
    done = 0
    while done < run:
        if union:
            if load_u8(pos) != value:
                break
            pos += 1
        code = _put(out, wide, ops[row + done, DEST], load_f64(pos), limit)
        if code:
            return done, code
        pos += 8
        done += 1
    return done, 0


@compiled(STAMP)
def _read_item(kind: int, pos: int, end: int) -> tuple[float, int]:
    """(number, next position) of a plain number."""
    if kind == DOUBLE:
        return (load_f64(pos), pos + 8) if end - pos >= 8 else (0.0, -TRUNCATED)
    if kind == FLOAT:
        return (load_f32(pos), pos + 4) if end - pos >= 4 else (0.0, -TRUNCATED)
    whole, pos = _read_long(pos, end)
    if pos >= 0 and kind == INT and (whole < INT_MIN or whole > INT_MAX):
        return 0.0, -OUT_OF_RANGE
    return float(whole), pos


@compiled(STAMP)
def _read_vector(ops: Any, row: int, pos: int, end: int, out: int, wide: bool, limit: float) -> int:
    """An array of as many numbers as SIZE says into the matrix; next position or -code."""
    if ops[row, WRITTEN] != PLAIN:
        present, pos = _read_branch(ops[row, WRITTEN], pos, end)
        if pos < 0:
            return pos
        if not present:
            return -NULL_FIELD
    kind, written = ops[row + 1, KIND], ops[row + 1, WRITTEN]
    size, dest = ops[row, SIZE], ops[row, DEST]
    got = 0
    while True:
        count, pos = _read_block(pos, end)
        if pos < 0:
            return pos
        if count == 0:
            return pos if got == size else -WRONG_DIMENSION
        if count > size - got:
            return -WRONG_DIMENSION
        for place in range(got, got + count):
            if written != PLAIN:
                present, pos = _read_branch(written, pos, end)
                if pos < 0:
                    return pos
                if not present:
                    return -NULL_FIELD
            number, pos = _read_item(kind, pos, end)
            if pos < 0:
                return pos
            code = _put(out, wide, dest + place, number, limit)
            if code:
                return -code
        got += count


@compiled(STAMP)
def _read_one_of(ops: Any, row: int, pos: int, end: int) -> tuple[float, int]:
    """(number, next position) of a union of several plain numbers, perhaps with null."""
    index, pos = _read_long(pos, end)
    if pos < 0:
        return 0.0, pos
    if index < 0 or index >= ops[row, NEXT] - row - 1:  # branches have no rows but their own
        return 0.0, -BAD_UNION
    kind = ops[row + 1 + index, KIND]
    if kind == NULL:
        return 0.0, -NULL_FIELD
    return _read_item(kind, pos, end)


@compiled(STAMP)
def _matrix_row(
    ops: Any,
    pos: int,
    end: int,
    out: int,
    wide: bool,
    limit: float,
    i: int,
    slow: Any,
    counter: Any,
) -> int:
    """One record into one row of the matrix: next position, or what is wrong."""
    row = 0
    count = len(ops)
    while row < count:
        kind, written = ops[row, KIND], ops[row, WRITTEN]
        dest, size = ops[row, DEST], ops[row, SIZE]
        run = ops[row, RUN]
        if run > 0:
            width = 8 if written == PLAIN else 9
            if end - pos >= width * run:
                done, code = _read_doubles(ops, row, pos, out, wide, limit)
                row += done
                if code:
                    return -code - row * 256
                pos += done * width
                if done == run:
                    continue
                dest = ops[row, DEST]
        if kind >= ARRAY and kind <= UNION:
            if dest >= 0 and kind == UNION:
                number, pos = _read_one_of(ops, row, pos, end)
                if pos < 0:
                    return pos - row * 256
                code = _put(out, wide, dest, number, limit)
                if code:
                    return -code - row * 256
            elif dest >= 0:
                pos = _read_vector(ops, row, pos, end, out, wide, limit)
                if pos < 0:
                    return pos - row * 256
            else:
                pos = check_value(ops, row, pos, end)
                if pos < 0:
                    return pos
            row = ops[row, NEXT]
            continue
        if written != PLAIN:
            present, pos = _read_branch(written, pos, end)
            if pos < 0:
                return pos - row * 256
            if not present:
                if dest >= 0:
                    return -NULL_FIELD - row * 256
                row = ops[row, NEXT]
                continue
        if dest < 0 or kind == RECORD:
            pos = _skip(kind, size, pos, end)
            if pos < 0:
                return pos - row * 256
            row += 1
            continue
        number = 0.0
        if kind == DOUBLE:
            if end - pos < 8:
                return -TRUNCATED - row * 256
            number = load_f64(pos)
            pos += 8
        elif kind == FLOAT:
            if end - pos < 4:
                return -TRUNCATED - row * 256
            number = load_f32(pos)
            pos += 4
        elif kind in (INT, LONG):
            whole, pos = _read_long(pos, end)
            if pos < 0:
                return pos - row * 256
            if kind == INT and (whole < INT_MIN or whole > INT_MAX):
                return -OUT_OF_RANGE - row * 256
            number = float(whole)
        elif kind == DECIMAL_FIXED:
            if end - pos < size:
                return -TRUNCATED - row * 256
            number = _read_decimal(pos, size, ops[row, SCALE], ops[row, PRECISION])
            if number != number:
                return -BAD_DECIMAL - row * 256
            pos += size
        else:
            length, pos = _read_length(pos, end)
            if pos < 0:
                return pos - row * 256
            if kind == DECIMAL:
                number = _read_decimal(pos, length, ops[row, SCALE], ops[row, PRECISION])
                if number != number:
                    return -BAD_DECIMAL - row * 256
            else:
                number, how = _read_text_number(pos, pos + length)
                if how == NUMBER_NOT:
                    return -WRONG_TYPE - row * 256
                if how == NUMBER_INFINITE:
                    return -NON_FINITE - row * 256
                if how == NUMBER_SLOW:
                    place = counter[0]
                    slow[place, 0] = i
                    slow[place, 1] = dest
                    slow[place, 2] = pos
                    slow[place, 3] = length
                    slow[place, 4] = row
                    counter[0] = place + 1
            pos += length
        code = _put(out, wide, dest, number, limit)
        if code:
            return -code - row * 256
        row += 1
    return pos if pos == end else -TRAILING_BYTES - count * 256


@compiled(STAMP, nogil=True)
def matrix(
    n: int,
    begins: Any,
    ends: Any,
    want: int,
    ids: Any,
    ops: Any,
    out: int,
    width: int,
    wide: bool,
    limit: float,
    codes: Any,
    where: Any,
    slow: Any,
    counter: Any,
) -> None:
    """The values of one schema into their rows of a row-major float matrix.

    Args:
        begins, ends: int64 (n,), addresses of the values.
        want: schema id of the values to read; the others are left alone.
        out, width: address of the matrix, bytes of one row; wide: float64, else float32 up to ``limit``.
        codes, where: uint8 and int32 (n,), written: what is wrong, and at which row of the table.
        slow: int64 (cells, 5): row, column, address, length, table row of numbers in text that Python must read;
            counter[0] of them.
    """
    for i in range(n):
        if codes[i] != 0 or ids[i] != want:
            continue
        pos, end = begins[i] + 5, ends[i]
        before = counter[0]
        result = _matrix_row(ops, pos, end, out + width * i, wide, limit, i, slow, counter)
        if result < 0:
            codes[i] = -result & 255
            where[i] = -result >> 8
            counter[0] = before


@compiled(STAMP)
def _null_column(ops: Any, row: int, cols: Any, k: int) -> None:
    """Make a column, and those inside it, null at place k."""
    for inner in range(row, ops[row, NEXT]):
        dest = ops[inner, DEST]
        if dest < 0:
            continue
        if cols[dest, 1] != 0:
            store_u8(cols[dest, 1] + k, 0)
        if cols[dest, 2] != 0:
            offset = cols[dest, 0] + 4 * k
            store_i32(offset + 4, load_i32(offset))


@compiled(STAMP)
def _store_column(
    kind: int, size: int, precision: int, pos: int, end: int, values: int, k: int
) -> int:
    """One value of fixed width into its column: next position or -code."""
    if kind == DOUBLE:
        if end - pos < 8:
            return -TRUNCATED
        store_i64(values + 8 * k, load_i64(pos))
        return pos + 8
    if kind == FLOAT:
        if end - pos < 4:
            return -TRUNCATED
        store_i32(values + 4 * k, load_i32(pos))
        return pos + 4
    if kind == BOOLEAN:
        if pos >= end:
            return -TRUNCATED
        if load_u8(pos) > 1:
            return -BAD_BOOLEAN
        store_u8(values + k, load_u8(pos))
        return pos + 1
    if kind == FIXED:
        if end - pos < size:
            return -TRUNCATED
        _copy(values + size * k, pos, size)
        return pos + size
    if kind in (DECIMAL, DECIMAL_FIXED):
        length = size
        if kind == DECIMAL:
            length, pos = _read_length(pos, end)
            if pos < 0:
                return pos
        elif end - pos < size:
            return -TRUNCATED
        good, high, low = _read_digits(pos, length, precision)
        if not good:
            return -BAD_DECIMAL
        store_i64(values + 16 * k, low)
        store_i64(values + 16 * k + 8, high)
        return pos + length
    number, pos = _read_long(pos, end)
    if pos < 0:
        return pos
    if kind != ENUM and precision and (number < 0 or number >= precision):  # a time of day
        return -OUT_OF_RANGE
    if kind == LONG:
        store_i64(values + 8 * k, number)
        return pos
    if kind == ENUM and (number < 0 or number >= size):
        return -BAD_ENUM
    if number < INT_MIN or number > INT_MAX:
        return -OUT_OF_RANGE
    store_i32(values + 4 * k, number)
    return pos


@compiled(STAMP)
def _columns_row(ops: Any, pos: int, end: int, cols: Any, k: int) -> int:
    """One record into place k of every column: next position, or what is wrong."""
    row = 0
    count = len(ops)
    while row < count:
        kind, written, dest = ops[row, KIND], ops[row, WRITTEN], ops[row, DEST]
        if (
            kind == DOUBLE
            and written != PLAIN
            and dest >= 0
            and end - pos >= 9
            and load_u8(pos) == (2 if written == NULL_FIRST else 0)
        ):  # most fields of most records
            store_u8(cols[dest, 1] + k, 1)
            store_i64(cols[dest, 0] + 8 * k, load_i64(pos + 1))
            pos += 9
            row += 1
            continue
        several = kind >= ARRAY and kind <= UNION
        if written != PLAIN and not several:
            present, pos = _read_branch(written, pos, end)
            if pos < 0:
                return pos - row * 256
            if not present:
                _null_column(ops, row, cols, k)
                row = ops[row, NEXT]
                continue
            if dest >= 0:
                store_u8(cols[dest, 1] + k, 1)
        if kind in (RECORD, NULL):
            row += 1
            continue
        start = pos
        if (
            several
        ):  # as it stands, its own union included; fastavro reads it once it is known to be sound
            pos = check_value(ops, row, pos, end)
            if pos < 0:
                return pos
        elif kind in (STRING, BYTES):
            length, start = _read_length(pos, end)
            pos = start if start < 0 else start + length
            if pos >= 0 and dest >= 0 and kind == STRING and not _is_utf8(start, pos):
                pos = -BAD_UTF8
        elif dest < 0:
            pos = _skip(kind, ops[row, SIZE], pos, end)
        else:
            size, precision = ops[row, SIZE], ops[row, PRECISION]
            pos = _store_column(kind, size, precision, pos, end, cols[dest, 0], k)
        if pos < 0:
            return pos - row * 256
        if dest >= 0 and (several or kind in (STRING, BYTES)):
            offset = cols[dest, 0] + 4 * k
            store_i32(offset + 4, load_i32(offset) + (pos - start))
            store_i64(cols[dest, 2] + 8 * k, start)
        row = ops[row, NEXT]
    return pos if pos == end else -TRAILING_BYTES - count * 256


@compiled(STAMP, nogil=True)
def columns(
    n: int,
    begins: Any,
    ends: Any,
    want: int,
    ids: Any,
    ops: Any,
    cols: Any,
    rows: Any,
    codes: Any,
    where: Any,
) -> int:
    """The values of one schema into columns, the good rows close together.

    Args:
        begins, ends, want, ids, codes, where: as for ``matrix``.
        cols: int64 (columns, 3), addresses: values (of text, bytes, arrays, maps, unions: int32 offsets, the first of
            which is 0), one byte of validity per row (0: never null), and for those of varying length the int64
            address at which each row's bytes lie.
        rows: int64 (n,), written: the positions of the good rows.

    Returns:
        How many rows are good.
    """
    k = 0
    for i in range(n):
        if codes[i] != 0 or ids[i] != want:
            continue
        pos, end = begins[i] + 5, ends[i]
        result = _columns_row(ops, pos, end, cols, k)
        if result < 0:
            codes[i] = -result & 255
            where[i] = -result >> 8
        else:
            rows[k] = i
            k += 1
    return k


@compiled(STAMP, nogil=True)
def gather(k: int, offsets: int, starts: int, out: int) -> None:
    """Copy k pieces to ``out``, each from its start to its offset."""
    for i in range(k):
        begin = load_i32(offsets + 4 * i)
        _copy(out + begin, load_i64(starts + 8 * i), load_i32(offsets + 4 * i + 4) - begin)


@compiled(STAMP, nogil=True)
def lists(
    k: int,
    offsets: int,
    starts: int,
    ops: Any,
    row: int,
    ends: int,
    valid: int,
    items: int,
    item_valid: int,
) -> int:
    """Arrays of plain numbers, which have been checked, into a list column.

    Args:
        offsets, starts: addresses of the column's pieces, as ``columns`` left them; an empty one is null.
        ops, row: the array's place in the table.
        ends, valid: addresses of int32 (k + 1,) and uint8 (k,), written: offsets into the items, 0 for null.
        items, item_valid: addresses of the numbers and of their uint8 validity (0: never null), with room for all.

    Returns:
        how many items there are.
    """
    kind, written = ops[row + 1, KIND], ops[row + 1, WRITTEN]
    wide = kind in (DOUBLE, LONG)
    total = 0
    store_i32(ends, 0)
    for i in range(k):
        pos = load_i64(starts + 8 * i)
        end = pos + load_i32(offsets + 4 * i + 4) - load_i32(offsets + 4 * i)
        present = 1 if end > pos else 0
        if present and ops[row, WRITTEN] != PLAIN:
            present, pos = _read_branch(ops[row, WRITTEN], pos, end)
        count = 0
        if present:
            count, pos = _read_block(pos, end)
        while count > 0:
            for _ in range(count):
                there = 1
                if written != PLAIN:
                    there, pos = _read_branch(written, pos, end)
                    store_u8(item_valid + total, there)
                if there:
                    pos = _store_column(kind, 0, 0, pos, end, items, total)
                elif wide:
                    store_i64(items + 8 * total, 0)
                else:
                    store_i32(items + 4 * total, 0)
                total += 1
            count, pos = _read_block(pos, end)
        store_u8(valid + i, present)
        store_i32(ends + 4 * i + 4, total)
    return total


@compiled(STAMP)
def _write_long(out: int, number: int) -> int:
    """A zigzag varint; returns the address after it."""
    left = (number << 1) ^ (number >> 63)
    while left & ~127 != 0:
        store_u8(out, (left & 127) | 128)
        out += 1
        left = (left >> 7) & (LOW63 >> 6)
    store_u8(out, left)
    return out + 1


@compiled(STAMP)
def _decimal_length(values: int) -> int:
    """Bytes that a decimal128 needs in two's complement, as Java's BigInteger counts."""
    fill = 255 if load_u8(values + 15) >= 128 else 0
    length = 16
    while (
        length > 1
        and load_u8(values + length - 1) == fill
        and (load_u8(values + length - 2) >= 128) == (fill == 255)
    ):
        length -= 1
    return length


@compiled(STAMP)
def _write_value(kind: int, size: int, values: int, data: int, i: int, out: int) -> int:
    """One value that is there; returns the address after it, or -code."""
    if kind == DOUBLE:
        store_i64(out, load_i64(values + 8 * i))
        return out + 8
    if kind == FLOAT:
        store_i32(out, load_i32(values + 4 * i))
        return out + 4
    if kind == LONG:
        return _write_long(out, load_i64(values + 8 * i))
    if kind in (INT, ENUM):
        return _write_long(out, load_i32(values + 4 * i))
    if kind == BOOLEAN:
        store_u8(out, (load_u8(values + (i >> 3)) >> (i & 7)) & 1)
        return out + 1
    if kind == FIXED:
        _copy(out, values + size * i, size)
        return out + size
    if kind in (DECIMAL, DECIMAL_FIXED):
        length = _decimal_length(values + 16 * i)
        fill = 255 if load_u8(values + 16 * i + 15) >= 128 else 0
        if kind == DECIMAL:
            out = _write_long(out, length)
        elif length > size:
            return -BAD_DECIMAL
        else:
            for _ in range(size - length):
                store_u8(out, fill)
                out += 1
        for place in range(length):
            store_u8(out + place, load_u8(values + 16 * i + length - 1 - place))
        return out + length
    begin = load_i32(values + 4 * i)
    length = load_i32(values + 4 * i + 4) - begin
    if kind in (STRING, BYTES):
        out = _write_long(out, length)
    _copy(out, data + begin, length)
    return out + length


@compiled(STAMP)
def _write_list(ops: Any, row: int, cols: Any, begin: int, end: int, out: int) -> int:
    """The items from begin to before end as an array; returns the address after it, or -code."""
    item, dest = row + 1, ops[row + 1, DEST]
    kind, written, valid = ops[item, KIND], ops[item, WRITTEN], cols[dest, 1]
    if end > begin:
        out = _write_long(out, end - begin)
    for place in range(begin + cols[dest, 2], end + cols[dest, 2]):
        null = valid != 0 and (load_u8(valid + (place >> 3)) >> (place & 7)) & 1 == 0
        if written != PLAIN:
            store_u8(out, 2 if null != (written == NULL_FIRST) else 0)
            out += 1
        elif null:
            return -NULL_FIELD
        if not null:
            out = _write_value(kind, 0, cols[dest, 0], 0, place, out)
    store_u8(out, 0)
    return out + 1


@compiled(STAMP)
def _write_row(ops: Any, cols: Any, i: int, out: int) -> int:
    """One record; returns the address after it, or what is wrong."""
    row = 0
    count = len(ops)
    while row < count:
        kind, written, dest = ops[row, KIND], ops[row, WRITTEN], ops[row, DEST]
        there = i + cols[dest, 2]
        valid = cols[dest, 1]
        if kind == DOUBLE and valid == 0:  # most columns of most records
            if written != PLAIN:
                store_u8(out, 2 if written == NULL_FIRST else 0)
                out += 1
            store_i64(out, load_i64(cols[dest, 0] + 8 * there))
            out += 8
            row += 1
            continue
        null = valid != 0 and (load_u8(valid + (there >> 3)) >> (there & 7)) & 1 == 0
        several = kind >= ARRAY and kind <= UNION and ops[row, RUN] == 0
        if written != PLAIN and not several:
            store_u8(out, 2 if null != (written == NULL_FIRST) else 0)
            out += 1
            if null:
                row = ops[row, NEXT]
                continue
        elif null and kind != NULL:
            return -NULL_FIELD - row * 256
        if kind in (RECORD, NULL):
            row += 1
            continue
        if kind == ARRAY and not several:
            offset = cols[dest, 0] + 4 * there
            out = _write_list(ops, row, cols, load_i32(offset), load_i32(offset + 4), out)
        else:
            out = _write_value(kind, ops[row, SIZE], cols[dest, 0], cols[dest, 3], there, out)
        if out < 0:
            return out - row * 256
        row = ops[row, NEXT]
    return out


@compiled(STAMP, nogil=True)
def encode(n: int, schema_id: int, ops: Any, cols: Any, out: int, offsets: Any) -> int:
    """n records with their five bytes of framing, one after the other.

    Args:
        cols: int64 (columns, 4), addresses of Arrow buffers: values (or offsets), validity bits (0: none null), the
            array's offset into both, and the bytes of those of varying length. An array's RUN is 1 where its column is
            a list of numbers, which are the next column; else its values are pieces that are Avro already.
        out: address of memory that is large enough.
        offsets: int64 (n + 1,), written.

    Returns:
        0, or what is wrong with the row whose offset was written last: -(row of the table * 256 + code).
    """
    begin = out
    offsets[0] = 0
    for i in range(n):
        offsets[i + 1] = -1
        store_u8(out, 0)
        for place in range(4):
            store_u8(out + 1 + place, schema_id >> (24 - 8 * place))
        out = _write_row(ops, cols, i, out + 5)
        if out < 0:
            return out
        offsets[i + 1] = out - begin
    return 0
