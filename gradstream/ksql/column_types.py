"""Types of columns as a KSQL server writes them, and values of its JSON as values of Python.

Whole columns become NumPy arrays in ``columns.py``; here are single values, also those inside of lists, maps and structs.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

Convert: TypeAlias = Callable[[Any], Any]

_TOKENS = re.compile(r"`(?:[^`]|``)*`|\w+|[<>(),]")
_EPOCH = datetime.datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type such as ``DECIMAL(4, 2)`` or ``MAP<STRING, ARRAY<INTEGER>>``.

    Attributes:
        kind: its first word.
        inner: an array's item; a map's value; a struct's fields.
        names: of a struct's fields.
    """

    kind: str
    inner: tuple[ColumnType, ...] = ()
    names: tuple[str, ...] = ()


def column_type(text: str) -> ColumnType:
    """The type that a text tells.

    >>> column_type("ARRAY<DECIMAL(4, 2)>")
    ColumnType(kind='ARRAY', inner=(ColumnType(kind='DECIMAL', inner=(), names=()),), names=())
    """
    return _Reader(text).type()


def named_types(schema: str) -> list[tuple[str, ColumnType]]:
    """Names and types of the schema in the first line of /query.

    >>> [(name, type_.kind) for name, type_ in named_types("`V1` DOUBLE, `a b` STRUCT<`X` STRING, `Y` DATE>")]
    [('V1', 'DOUBLE'), ('a b', 'STRUCT')]
    """
    return list(_Reader(schema).fields())


class _Reader:
    """Recursive descent over the tokens of a type."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKENS.findall(text), ""]
        self._at = 0

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip_to(self, *ends: str) -> None:
        while self._tokens[self._at] not in (*ends, ""):
            self._at += 1

    def type(self) -> ColumnType:
        kind = self._take().upper()
        if self._tokens[self._at] == "(":  # precision and scale, which the values show
            self._skip_to(")")
            self._at += 1
        if self._tokens[self._at] != "<":
            return ColumnType(kind)
        self._at += 1
        names: tuple[str, ...] = ()
        if kind == "STRUCT":
            fields = list(self.fields())
            names, inner = tuple(name for name, _ in fields), tuple(type_ for _, type_ in fields)
        else:
            if kind == "MAP":
                self._skip_to(",")  # the key is a STRING
                self._at += 1
            inner = (self.type(),)
        self._at += 1
        return ColumnType(kind, inner, names)

    def fields(self) -> Iterator[tuple[str, ColumnType]]:
        while (name := self._tokens[self._at]) not in (">", ""):
            self._at += 1
            yield _unquoted(name), self.type()
            self._skip_to(",", ">")  # the word KEY, in pull queries on tables
            if self._tokens[self._at] == ",":
                self._at += 1


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name[0] == "`" else name


def converter(type_: ColumnType, floats: bool, inside: bool = False) -> Convert | None:
    """Makes a value of the JSON, NULL excepted, one of Python; None where it is one already.

    Args:
        floats: decimals as floats instead of Decimal.
        inside: of a list, map or struct, where the server writes times as numbers.
    """
    match type_.kind:
        case "DOUBLE":
            return float  # NaN and infinities are text
        case "DECIMAL":
            return float if floats else lambda value: Decimal(str(value))
        case "BYTES":
            return base64.b64decode
        case "TIMESTAMP" | "DATE" | "TIME":
            return (_NUMBERS if inside else _TEXTS)[type_.kind]
        case "ARRAY":
            return _each_item(_or_null(converter(type_.inner[0], floats, True)))
        case "MAP":
            return _each_entry(_or_null(converter(type_.inner[0], floats, True)))
        case "STRUCT":
            found = [converter(each, floats, True) for each in type_.inner]
            return _each_field(dict(zip(type_.names, map(_or_null, found), strict=True)))
    return None


def _or_null(convert: Convert | None) -> Convert:
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _each_item(convert: Convert) -> Convert:
    return lambda items: [convert(item) for item in items]


def _each_entry(convert: Convert) -> Convert:
    return lambda entries: {key: convert(value) for key, value in entries.items()}


def _each_field(converts: dict[str, Convert]) -> Convert:
    return lambda struct: {name: converts[name](value) for name, value in struct.items()}


_TEXTS: dict[str, Convert] = {
    "TIMESTAMP": datetime.datetime.fromisoformat,
    "DATE": datetime.date.fromisoformat,
    "TIME": datetime.time.fromisoformat,
}
_NUMBERS: dict[str, Convert] = {
    "TIMESTAMP": lambda ms: _EPOCH + datetime.timedelta(milliseconds=ms),
    "DATE": lambda days: _EPOCH.date() + datetime.timedelta(days=days),
    "TIME": lambda ms: (_EPOCH + datetime.timedelta(milliseconds=ms)).time(),
}
