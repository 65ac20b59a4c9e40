"""Numbers as Java prints and reads them: ``Double.toString``, ``Double.parseDouble``, ``Integer.parseInt``."""

from __future__ import annotations

import pyarrow as pa


def double_text(value: float) -> str:
    """``Double.toString(value)``: the shortest digits that read back as the same number (JDK 19 and later).

    >>> double_text(1e7), double_text(0.001), double_text(1.0)
    ('1.0E7', '0.001', '1.0')
    """
    raise NotImplementedError


def double_texts(column: pa.DoubleArray) -> pa.StringArray:
    """double_text of a whole column; nulls stay."""
    raise NotImplementedError


def parse_double(text: str) -> float:
    """``Double.parseDouble``; ValueError where Java throws."""
    raise NotImplementedError


def parse_integer(text: str, bits: int) -> int:
    """``Integer.parseInt`` (32 bits) or ``Long.parseLong`` (64); ValueError where Java throws."""
    raise NotImplementedError
