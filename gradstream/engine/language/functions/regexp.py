"""Java's regular expressions, by the ``regex`` package, whose dialect is the nearest to Java's."""

from __future__ import annotations

import functools
import re
from typing import Any

import regex

from gradstream.engine.language.functions.registry import scalar

# A pattern that backtracks without end must not stop a stream.
_SECONDS = 2.0


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The pattern as Java means it.

    Raises:
        ValueError: not a regular expression.
    """
    # \h and \R are spelled out; possessive quantifiers, atomic groups and nested classes are the same in both.
    text = re.sub(
        r"(?<!\\)((?:\\\\)*)\\h",
        r"\1[ \\t\\xA0\\u1680\\u180e\\u2000-\\u200a\\u202f\\u205f\\u3000]",
        pattern,
    )
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\z", r"\1\\Z", text)
    text = text.replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!")
    try:
        # Java's \w, \d and \s are ASCII unless told otherwise; nested classes need version 1.
        return regex.compile(text, regex.ASCII | regex.VERSION1)
    except regex.error as error:
        raise ValueError(f"Invalid regular expression pattern: {pattern}: {error}") from None


@scalar(
    "REGEXP_EXTRACT",
    "STRING, STRING -> STRING",
    "STRING, STRING, INTEGER -> STRING",
    category="REGULAR EXPRESSION",
)
def regexp_extract(pattern: str, value: str, group: int = 0) -> str | None:
    """Returns the first match of a pattern, or one of its groups."""
    found = compiled(pattern)
    match = found.search(value, timeout=_SECONDS) if group <= found.groups else None
    return None if match is None else match[group]


@scalar(
    "REGEXP_EXTRACT_ALL",
    "STRING, STRING -> ARRAY<STRING>",
    "STRING, STRING, INTEGER -> ARRAY<STRING>",
    category="REGULAR EXPRESSION",
)
def regexp_extract_all(pattern: str, value: str, group: int = 0) -> list[str | None] | None:
    """Returns all matches of a pattern, or one group of each."""
    found = compiled(pattern)
    if group > found.groups:
        return None
    return [match[group] for match in found.finditer(value, timeout=_SECONDS)]


@scalar("REGEXP_REPLACE", "STRING, STRING, STRING -> STRING", category="REGULAR EXPRESSION")
def regexp_replace(value: str, pattern: str, replacement: str) -> str:
    """Replaces every match of a pattern; $1 is the first group."""
    found = compiled(pattern)
    replaced = found.sub(lambda match: _expanded(replacement, match), value, timeout=_SECONDS)
    return str(replaced)


def _expanded(replacement: str, match: Any) -> str:
    def value(part: re.Match[str]) -> str:
        if part[1] is not None:
            return part[1]
        group = match[part[3]] if part[3] else match[int(part[2])]
        return group or ""

    return re.sub(r"\\(.)|\$(\d)|\$\{(\w+)\}", value, replacement, flags=re.DOTALL)


@scalar("REGEXP_SPLIT_TO_ARRAY", "STRING, STRING -> ARRAY<STRING>", category="REGULAR EXPRESSION")
def regexp_split_to_array(value: str, pattern: str) -> list[str]:
    """Splits a text where a pattern matches."""
    pieces, last = [], 0
    for match in compiled(pattern).finditer(value, timeout=_SECONDS):
        if match.end() == 0:
            continue  # nothing before the text
        if match.start() == match.end() == len(value):
            continue
        pieces.append(value[last : match.start()])
        last = match.end()
    return [*pieces, value[last:]]
