"""Functions of texts and bytes. Positions count from 1 in UTF-16 units."""

from __future__ import annotations


def units(value: str) -> int:
    """Length in UTF-16 units, as Java counts."""
    if value.isascii():
        return len(value)
    return len(value) + sum(character > "\uffff" for character in value)


def cut(value: str, start: int, end: int) -> str:
    """``String.substring`` by UTF-16 units."""
    if value.isascii() or max(value) <= "\uffff":
        return value[start:end]
    raw = value.encode("utf-16-le", "surrogatepass")[2 * start : 2 * end]
    return raw.decode("utf-16-le", "surrogatepass").encode("utf-8", "replace").decode()
