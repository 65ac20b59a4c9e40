"""MASK and its family: hide what a text says, keep what it looks like.

Upper-case letters become ``X``, lower-case ones ``x``, digits ``n``, everything else ``-``; four further arguments
replace these, and NULL leaves a class alone. The unit is Java's: UTF-16, so a character beyond U+FFFF counts twice
and becomes two signs. A text mostly of ASCII is masked by one ``str.translate``; a whole column of it in one pass
over its bytes.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from gradstream.engine.language.functions.registry import scalar

Masks: TypeAlias = tuple[str | None, str | None, str | None, str | None]
DEFAULTS: Masks = ("X", "x", "n", "-")
_CLASS = {"Lu": 0, "Ll": 1, "Nd": 2}
# How many units at the left and right of a text of that length are masked: (from, to).
Span: TypeAlias = Callable[[int, int], tuple[int, int]]


class _Table(dict[int, str]):
    """What each character becomes, found out when it is first seen."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.masks = masks

    def __missing__(self, code: int) -> str:
        character = chr(code)
        mask = self.masks[_CLASS.get(unicodedata.category(character), 3)]
        found = self[code] = character if mask is None else mask
        return found


@functools.lru_cache(maxsize=128)
def _table(masks: Masks) -> _Table:
    return _Table(masks)


@functools.lru_cache(maxsize=128)
def _byte_table(masks: Masks) -> bytes | None:
    """For ASCII texts and masks: each byte's replacement."""
    table = _table(masks)
    found = [table[code] for code in range(128)]
    if not all(character.isascii() for character in found):
        return None
    return bytes([*map(ord, found), *range(128, 256)])


def _checked(masks: tuple[str | None, ...]) -> Masks:
    """The four masks; each must be one UTF-16 unit or NULL."""
    if not masks:
        return DEFAULTS
    for mask in masks:
        if mask is not None and (len(mask) != 1 or ord(mask) > 0xFFFF):
            raise ValueError(f"Invalid mask character, must be exactly one character: '{mask}'")
    upper, lower, digit, other = masks
    return upper, lower, digit, other


def _count(n: int | None) -> int:
    if n is None or n < 0:
        raise ValueError(f"function requires a non-negative number of characters, got {n}")
    return n


def _mask_units(value: str, start: int, end: int, masks: Masks) -> str:
    """The slow way, unit by unit, for texts with characters beyond U+FFFF.

    Java looks at the code point that starts at each unit: the first half of a pair stands for the character, the
    second half is a surrogate and so belongs to "everything else".
    """
    raw = value.encode("utf-16-le", "surrogatepass")
    out = []
    for at in range(len(raw) // 2):
        unit = chr(int.from_bytes(raw[2 * at : 2 * at + 2], "little"))
        pair = raw[2 * at : 2 * at + 4].decode("utf-16-le", "ignore")
        seen = pair if len(pair) == 1 and pair > "\uffff" else unit
        mask = masks[_CLASS.get(unicodedata.category(seen), 3)]
        out.append(mask if start <= at < end and mask is not None else unit)
    joined = "".join(out).encode("utf-16-le", "surrogatepass")
    # Half a pair cannot be written as UTF-8; Java writes a question mark.
    return joined.decode("utf-16-le", "surrogatepass").encode("utf-8", "replace").decode()


def _masked(value: str, span: Span, n: int, masks: Masks) -> str:
    table = _table(masks)
    if not value.isascii() and max(value) > "\uffff":
        size = len(value.encode("utf-16-le", "surrogatepass")) // 2
        return _mask_units(value, *span(size, n), masks)
    start, end = span(len(value), n)
    if start == 0:
        return value[:end].translate(table) + value[end:]
    return value[:start] + value[start:end].translate(table) + value[end:]


def _all(size: int, n: int) -> tuple[int, int]:
    return 0, size


def _left(size: int, n: int) -> tuple[int, int]:
    return 0, min(n, size)


def _right(size: int, n: int) -> tuple[int, int]:
    return max(0, size - n), size


def _after(size: int, n: int) -> tuple[int, int]:
    return min(n, size), size


def _before(size: int, n: int) -> tuple[int, int]:
    return 0, max(0, size - n)


def _on_column(span: Span) -> Callable[..., pa.Array | None]:
    """The function for a whole column, or None where it holds more than ASCII."""

    def column(values: pa.StringArray, *arguments: Any) -> pa.Array | None:
        n = 0 if span is _all else _count(arguments[0])
        table = _byte_table(_checked(arguments if span is _all else arguments[1:]))
        if table is None or len(values) == 0:
            return None
        validity, offsets_buffer, data = values.buffers()
        if data is None:
            return None
        offsets = np.frombuffer(offsets_buffer, np.int32)[
            values.offset : values.offset + len(values) + 1
        ]
        low, high = int(offsets[0]), int(offsets[-1])
        plain = np.frombuffer(data, np.uint8)[low:high]
        if plain.size and plain.max() > 127:
            return None
        masked = np.frombuffer(plain.tobytes().translate(table), np.uint8)
        if span is not _all:
            inside = _inside(span, n, offsets - low)
            masked = np.where(inside, masked, plain)
        return pa.StringArray.from_buffers(
            len(values),
            pa.py_buffer((offsets - low).astype(np.int32)),
            pa.py_buffer(masked.tobytes()),
            _shifted(validity, values),
        )

    return column


def _shifted(validity: pa.Buffer | None, values: pa.Array) -> pa.Buffer | None:
    """The validity bits without the array's offset."""
    if validity is None or values.null_count == 0:
        return None
    bits = np.packbits(values.is_valid().to_numpy(zero_copy_only=False), bitorder="little")
    return pa.py_buffer(bits.tobytes())


def _inside(span: Span, n: int, offsets: Any) -> Any:
    """For each byte: does the mask touch it?"""
    sizes = np.diff(offsets)
    position = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], sizes)
    if span is _left:
        return position < n
    if span is _after:
        return position >= n
    rest = np.repeat(sizes, sizes) - position
    return rest <= n if span is _right else rest > n


_FOUR = "STRING, STRING, STRING, STRING"


@scalar(
    "MASK", "STRING -> STRING", f"STRING, {_FOUR} -> STRING",
    category="STRING", nulls="see", column=_on_column(_all),
)  # fmt: skip
def mask(value: str | None, *masks: str | None) -> str | None:
    """Returns a version of the input string with every character replaced by a mask character."""
    checked = _checked(masks)
    return None if value is None else _masked(value, _all, 0, checked)


def _counted(name: str, span: Span, description: str) -> None:
    def body(value: str | None, n: int | None, *masks: str | None) -> str | None:
        count, checked = _count(n), _checked(masks)
        return None if value is None else _masked(value, span, count, checked)

    scalar(
        name, "STRING, INTEGER -> STRING", f"STRING, INTEGER, {_FOUR} -> STRING",
        category="STRING", nulls="see", column=_on_column(span), description=description,
    )(body)  # fmt: skip


_counted("MASK_LEFT", _left, "Masks the first n characters.")
_counted("MASK_RIGHT", _right, "Masks the last n characters.")
_counted("MASK_KEEP_LEFT", _after, "Masks all but the first n characters.")
_counted("MASK_KEEP_RIGHT", _before, "Masks all but the last n characters.")
