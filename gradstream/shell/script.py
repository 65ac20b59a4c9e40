"""A file of statements, cut into statements that still know their place in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gradstream.errors import SqlError

# What a statement consists of; a semicolon counts only outside of these.
_PIECES = re.compile(
    r"""--[^\n]*
      | /\*.*?\*/
      | '(?:[^']|'')*'
      | "(?:[^"]|"")*"
      | `(?:[^`]|``)*`
      | ;
      | [^-/'"`;]+
      | .""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement of a script.

    Attributes:
        text: from its first token through its semicolon.
        line, column: 1-based place of the first token.
    """

    text: str
    line: int
    column: int

    @property
    def verb(self) -> str:
        """Its first word, upper case."""
        word = _WORD.match(self.text)
        return word[0].upper() if word else ""

    @property
    def placed(self) -> str:
        """The statement behind as much white space as puts it at its place, so that a server's line and column
        are those of the file."""
        return "\n" * (self.line - 1) + " " * (self.column - 1) + self.text

    @property
    def words(self) -> set[str]:
        """Its bare words, upper case: no comments, literals or quoted names."""
        bare = (part[0] for part in _PIECES.finditer(self.text) if part[0][0] not in "-/'\"`")
        return {word.upper() for part in bare for word in re.findall(r"\w+", part)}

    @property
    def pushes(self) -> bool:
        """Whether it is a SELECT that goes on with rows to come, or a PRINT."""
        return self.verb == "PRINT" or (self.verb == "SELECT" and "EMIT" in self.words)

    @property
    def endless(self) -> bool:
        """Whether it ends only when somebody ends it."""
        return self.pushes and "LIMIT" not in self.words


def split(text: str, *, finish: bool = False) -> list[Piece]:
    """The statements of a script.

    Args:
        finish: give a last statement without semicolon one, as people expect on a command line.

    Raises:
        SqlError: MISSING_SEMICOLON.
    """
    pieces = []
    start = -1  # of the statement that is open
    for match in _PIECES.finditer(text):
        part = match[0]
        if part == ";" and start >= 0:
            pieces.append(_piece(text, start, match.end()))
            start = -1
        elif start < 0 and part != ";" and not part.isspace() and not part.startswith(("--", "/*")):
            start = match.start() + len(part) - len(part.lstrip())
    if start >= 0:
        last = _piece(text, start, len(text.rstrip()))
        if not finish:
            place = excerpt(text, last.line, last.column)
            message = "the last statement does not end with a semicolon; add one"
            raise SqlError("MISSING_SEMICOLON", message, last.line, last.column, place)
        pieces.append(Piece(last.text + ";", last.line, last.column))
    return pieces


def is_open(text: str) -> bool:
    """Whether somebody who types this has more to type: a semicolon, or the end of a literal, name or comment."""
    open_ = False
    for match in _PIECES.finditer(text):
        part = match[0]
        if begins_unended(match):
            return True
        if part == ";":
            open_ = False
        elif not part.isspace() and not part.startswith(("--", "/*")):
            open_ = True
    return open_


def parts(text: str) -> Iterator[re.Match[str]]:
    """What a text consists of: comments, literals, quoted names, semicolons, and what is between them."""
    return _PIECES.finditer(text)


def begins_unended(part: re.Match[str]) -> bool:
    """Whether a literal, quoted name or /* comment begins with this part and does not end."""
    return part[0] in ("'", '"', "`") or (
        part[0] == "/" and part.string.startswith("/*", part.start())
    )


def _piece(text: str, start: int, end: int) -> Piece:
    line = text.count("\n", 0, start) + 1
    return Piece(text[start:end], line, start - text.rfind("\n", 0, start))


def excerpt(text: str, line: int, column: int) -> str:
    """The line with carets under the token that begins at the column; empty where there is no such line."""
    lines = text.splitlines()
    if not 0 < line <= len(lines):
        return ""
    shown = lines[line - 1]
    part = re.match(r"\w+|\S|$", shown[column - 1 :])
    width = max(1, len(part[0])) if part else 1
    return shown.replace("\t", " ") + "\n" + " " * (column - 1) + "^" * width


def around(excerpt: str, width: int) -> list[str]:
    """The two lines of an excerpt, of a longer line only what fits into the width around the carets."""
    shown, carets = [*excerpt.split("\n"), ""][:2]
    if len(shown) <= width or not carets.strip():
        return [shown, carets]
    first = carets.index("^")
    begin = max(0, min(first - width // 3, len(shown) - width))
    part = shown[begin : begin + width]
    if begin:
        part = "…" + part[1:]
    if begin + width < len(shown):
        part = part[:-1] + "…"
    return [part, carets[begin : begin + width]]
