"""One CSV record as Apache Commons CSV reads and writes it in its default format, which is what ksqlDB uses.

A record may hold line ends inside quotes. Quotes count only at the start of a field; whitespace is part of a field.
"""

from __future__ import annotations

# Java's Character.isWhitespace: what may stand between a closing quote and the delimiter.
_SPACES = frozenset(
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a\u2028\u2029"
    "\u205f\u3000"
)


def fields(text: str, delimiter: str) -> list[str]:
    """The fields of the first record of a text; empty where there is none.

    Raises:
        ValueError: quotes are wrong anywhere in the text, also after the first record.
    """
    if '"' not in text and "\n" not in text and "\r" not in text:
        return text.split(delimiter) if text else []
    first: list[str] = []
    record: list[str] = []
    at, size = 0, len(text)
    while at < size:
        if not record and text[at] in "\r\n":  # empty lines are no records
            at += 1
            continue
        field, at, more = _field(text, at, delimiter)
        record.append(field)
        while more:
            field, at, more = _field(text, at, delimiter)
            record.append(field)
        first = first or record
        record = []
    return first


def _field(text: str, at: int, delimiter: str) -> tuple[str, int, bool]:
    """A field, where the next one or the next record starts, and whether a delimiter followed."""
    if at < len(text) and text[at] == '"' and delimiter != '"':
        return _quoted(text, at + 1, delimiter)
    end = at
    while end < len(text) and text[end] not in (delimiter, "\n", "\r"):
        end += 1
    return text[at:end], *_after(text, end, delimiter)


def _after(text: str, end: int, delimiter: str) -> tuple[int, bool]:
    if end < len(text) and text[end] == delimiter:
        return end + 1, True
    return end + (2 if text[end : end + 2] == "\r\n" else 1), False


def _quoted(text: str, at: int, delimiter: str) -> tuple[str, int, bool]:
    parts: list[str] = []
    while True:
        end = text.find('"', at)
        if end < 0:
            raise ValueError("EOF reached before encapsulated token finished")
        parts.append(text[at:end])
        if text[end + 1 : end + 2] != '"':
            break
        parts.append('"')
        at = end + 2
    end += 1
    while end < len(text) and text[end] not in (delimiter, "\n", "\r"):
        if text[end] not in _SPACES:
            raise ValueError("invalid char between encapsulated token and delimiter")
        end += 1
    return "".join(parts), *_after(text, end, delimiter)
