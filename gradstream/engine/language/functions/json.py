"""Functions of JSON texts. Numbers keep their digits."""

from __future__ import annotations

import base64
import decimal
import json
import re
from collections.abc import Callable
from typing import Any

from gradstream.engine.language import iso_time
from gradstream.engine.language.casts import or_null, same
from gradstream.engine.language.functions.registry import scalar
from gradstream.engine.types import DATE, TIME, TIMESTAMP, Array, Map, SqlType, Struct
from gradstream.wire.java_text import double_text


class _Number(decimal.Decimal):
    """A number with a point, as it was written."""


def _strict(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def read(text: str) -> Any:
    """The value of a text.

    Raises:
        ValueError: not JSON.
    """
    return json.loads(text, parse_float=_Number, parse_constant=_strict)


def write(value: Any) -> str:
    """A value as Jackson writes it, without blanks."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _Number():
            return str(value)
        case float():
            return double_text(value)
        case decimal.Decimal():
            return f"{value:f}"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return json.dumps(base64.b64encode(value).decode())
        case list():
            return "[" + ",".join(map(write, value)) + "]"
        case dict():
            return "{" + ",".join(f"{write(str(k))}:{write(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"no JSON for {value!r}")


def _shaper(type_: SqlType | None) -> Callable[[Any], Any]:
    """Times within a value as the texts that JSON gets; all else as it is."""
    match type_:
        case Array(item):
            inner = or_null(_shaper(item))
            return lambda values: [inner(value) for value in values]
        case Map(_, value):
            of_value = or_null(_shaper(value))
            return lambda entries: {k: of_value(v) for k, v in sorted(entries.items())}
        case Struct(members):
            shapers = [(name, or_null(_shaper(member))) for name, member in sorted(members)]
            return lambda value: {name: shape(value.get(name)) for name, shape in shapers}
    if type_ == DATE:
        return iso_time.date_text
    if type_ == TIME:
        return iso_time.time_text
    return iso_time.timestamp_text if type_ == TIMESTAMP else same


@scalar("TO_JSON_STRING", "T -> STRING", category="JSON", nulls="see", typed=True)
def to_json_string(type_: SqlType | None) -> Callable[[Any], str]:
    """Returns a value as JSON."""
    shape = or_null(_shaper(type_))
    return lambda value: write(shape(value))


def _text_of(value: Any) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else write(value)


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]")


def _steps(path: str) -> list[str | int]:
    if not path.startswith("$"):
        raise ValueError(f"Invalid JSON path: {path}. JSON paths start with $")
    found: list[str | int] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise ValueError(f"Invalid JSON path: {path}")
        found.append(int(match[2]) if match[2] else match[1] or match[3])
        at = match.end()
    return found


@scalar("EXTRACTJSONFIELD", "STRING, STRING -> STRING", category="JSON")
def extract_json_field(text: str, path: str) -> str | None:
    """Returns what stands at a path such as $.a[0].b within a JSON text."""
    value = read(text)
    for step in _steps(path):
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and (isinstance(step, int) or step.isdigit()):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return _text_of(value)


@scalar("IS_JSON_STRING", "STRING -> BOOLEAN", category="JSON", nulls="see")
def is_json_string(text: str | None) -> bool:
    """Is the text JSON?"""
    if text is None:
        return False
    try:
        read(text)
    except ValueError:
        return False
    return True


def _same(item: Any, value: Any) -> bool:
    if item is None or value is None:
        return item is value
    if isinstance(item, bool) or isinstance(value, bool):
        return item is value
    if isinstance(value, int) and isinstance(item, _Number):
        return False
    if isinstance(value, float):
        return isinstance(item, _Number) and float(item) == value
    return (
        type(item) in (str, int, _Number)
        and not (isinstance(item, str) ^ isinstance(value, str))
        and item == value
    )


@scalar("JSON_ARRAY_CONTAINS", "STRING, T -> BOOLEAN", category="JSON", nulls="see")
def json_array_contains(text: str | None, value: Any) -> bool:
    """Does a JSON array contain a value?"""
    if text is None:
        return False
    try:
        items = read(text)
    except ValueError:
        return False
    return isinstance(items, list) and any(_same(item, value) for item in items)


@scalar("JSON_ARRAY_LENGTH", "STRING -> INTEGER", category="JSON")
def json_array_length(text: str) -> int | None:
    """Returns the length of a JSON array."""
    value = read(text)
    return len(value) if isinstance(value, list) else None


@scalar("JSON_KEYS", "STRING -> ARRAY<STRING>", category="JSON")
def json_keys(text: str) -> list[str] | None:
    """Returns the names of a JSON object."""
    value = read(text)
    return list(value) if isinstance(value, dict) else None


@scalar("JSON_RECORDS", "STRING -> MAP<STRING, STRING>", category="JSON")
def json_records(text: str) -> dict[str, str | None] | None:
    """Returns the fields of a JSON object as a map of texts."""
    value = read(text)
    return {key: _text_of(of) for key, of in value.items()} if isinstance(value, dict) else None


@scalar("JSON_ITEMS", "STRING -> ARRAY<STRING>", category="JSON")
def json_items(text: str) -> list[str] | None:
    """Returns the items of a JSON array, each as JSON."""
    value = read(text)
    return [write(item) for item in value] if isinstance(value, list) else None


@scalar("JSON_CONCAT", "STRING... -> STRING", category="JSON")
def json_concat(*texts: str) -> str | None:
    """Merges JSON objects, or appends JSON arrays and values."""
    if not texts:
        return None
    values = [read(text) for text in texts]
    if all(isinstance(value, dict) for value in values):
        merged: dict[str, Any] = {}
        for value in values:
            merged.update(value)
        return write(merged)
    joined: list[Any] = []
    for value in values:
        joined += value if isinstance(value, list) else [value]
    return write(joined)
