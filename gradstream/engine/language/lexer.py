"""Text to tokens, with places, and the errors that point at them.

A token is a tuple ``(kind, text, start, end)``. Kinds: ``word`` (text in upper case), ``quoted`` (an identifier,
text without its quotes), ``string`` (text without its quotes), ``integer``, ``decimal``, ``double``, ``variable``
(text is the name in ``${name}``), ``symbol``, and ``end``, which closes every list.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from gradstream.errors import SqlError

Token: TypeAlias = tuple[str, str, int, int]

LONGEST_TEXT = 1 << 20

# One token with what stands before it, which possessive quantifiers take in one way only.
_TOKEN = re.compile(
    r"""
    (?> \s+ | --[^\r\n]*+ | /\*.*?\*/ )*+
    (?:
        (?P<word> [A-Za-z_][A-Za-z0-9_@]*+ )
      | (?P<comment> /\* )
      | (?P<symbol> := | -> | => | <> | != | <= | >= | \|\| | [-+*/%(),.;<>=\[\]] )
      | (?P<double> (?: \d+(?:\.\d*)? | \.\d+ ) [eE][+-]?\d+ (?![A-Za-z0-9_@]) )
      | (?P<decimal> (?: \d+\.\d* | \.\d+ ) (?![A-Za-z_@]) )
      | (?P<integer> \d+ (?![A-Za-z0-9_@]) )
      | (?P<digits> \d[A-Za-z0-9_@]* )
      | (?P<string> '(?:[^']|'')*' )
      | (?P<quoted> "(?:[^"]|"")*" | `(?:[^`]|``)*` )
      | (?P<variable> \$\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\} )
      | (?P<end> \Z )
      | (?P<unknown> (?s:.) )
    )
""",
    re.VERBOSE | re.DOTALL,
)
# A number that starts with a point would otherwise be taken for the symbol.
_POINT_NUMBER = re.compile(r"\.\d+(?:[eE][+-]?\d+)?(?![A-Za-z0-9_@])")


def place(text: str, offset: int) -> tuple[int, int]:
    """1-based line and column of an offset."""
    line = text.count("\n", 0, offset) + 1
    return line, offset - (text.rfind("\n", 0, offset) + 1) + 1


def excerpt(text: str, start: int, end: int) -> str:
    """The line of ``start`` and below it carets under the part up to ``end`` that lies on that line."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", first)
    line = text[first : len(text) if last < 0 else last].rstrip("\r")
    width = max(1, min(end, first + len(line)) - start)
    padding = "".join("\t" if c == "\t" else " " for c in line[: start - first])
    return f"{line}\n{padding}{'^' * width}"


def error_at(code: str, message: str, text: str, at: tuple[int, int]) -> SqlError:
    """A SqlError that knows its line, its column and what to underline."""
    line, column = place(text, at[0])
    return SqlError(code, message, line, column, excerpt(text, at[0], at[1]))


def tokens(text: str) -> list[Token]:
    """The tokens of a text, without spaces and comments.

    Raises:
        SqlError: TOO_COMPLEX, BAD_CHARACTER, OPEN_QUOTE, OPEN_COMMENT or SYNTAX_ERROR.
    """
    if len(text) > LONGEST_TEXT:
        raise SqlError(
            "TOO_COMPLEX", f"the text has {len(text)} characters; at most {LONGEST_TEXT} are taken"
        )
    found: list[Token] = []
    match_at = _TOKEN.match
    end, length = 0, len(text)
    while True:
        match = match_at(text, end)
        assert match is not None  # any character is a token, if an unknown one
        kind = match.lastgroup or ""
        start, end = match.span(kind)
        value = text[start:end]
        if kind == "word" or kind == "digits":  # ksqlDB takes names such as 1R
            kind, value = "word", value.upper()
        elif kind == "symbol":
            if value == "." and (number := _point_number(text, start, found)):
                kind, value, end = number
            elif value == "!=":
                value = "<>"
        elif kind == "string" or kind == "quoted":
            value = value[1:-1].replace(value[0] * 2, value[0])
            if "\0" in value:
                raise error_at(
                    "BAD_CHARACTER", "NUL may not stand in a text or name", text, (start, end)
                )
        elif kind == "variable":
            value = value[2:-1].strip()
        elif kind == "end":
            found.append(("end", "<EOF>", length, length))
            return found
        elif kind == "unknown" or kind == "comment":
            raise _unreadable(text, start)
        found.append((kind, value, start, end))


def _point_number(text: str, position: int, before: list[Token]) -> tuple[str, str, int] | None:
    """``.5`` is a number unless it follows a name: ``a.5`` is not one."""
    match = _POINT_NUMBER.match(text, position)
    if match is None or (before and before[-1][3] == position and before[-1][0] != "symbol"):
        return None
    value = match.group()
    return ("double" if "e" in value.lower() else "decimal"), value, match.end()


def _unreadable(text: str, position: int) -> SqlError:
    character = text[position]
    if character in "'\"`":
        what = "text" if character == "'" else "name"
        end = text.find("\n", position)
        return error_at(
            "OPEN_QUOTE",
            f"this {what} is never closed; end it with {character}",
            text,
            (position, len(text) if end < 0 else end),
        )
    if text.startswith("/*", position):
        return error_at(
            "OPEN_COMMENT",
            "this comment is never closed; end it with */",
            text,
            (position, position + 2),
        )
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return error_at(
        "BAD_CHARACTER",
        f"Syntax Error\nthe character {shown!r} has no meaning here; quote names that need it",
        text,
        (position, position + 1),
    )
