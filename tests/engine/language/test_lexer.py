"""Text to tokens: kinds, places and what cannot be read."""

from __future__ import annotations

import pytest

from gradstream.engine.language.lexer import LONGEST_TEXT, excerpt, place, tokens
from gradstream.errors import SqlError


def kinds(text: str) -> list[tuple[str, str]]:
    return [token[:2] for token in tokens(text)[:-1]]


def test_each_kind_of_token() -> None:
    assert kinds(
        "Select `a``b`, \"C d\", 'it''s', 1, 1.50, .5, 2e-3, ${ x } -- rest\n/* more */ !="
    ) == [
        ("word", "SELECT"),
        ("quoted", "a`b"),
        ("symbol", ","),
        ("quoted", "C d"),
        ("symbol", ","),
        ("string", "it's"),
        ("symbol", ","),
        ("integer", "1"),
        ("symbol", ","),
        ("decimal", "1.50"),
        ("symbol", ","),
        ("decimal", ".5"),
        ("symbol", ","),
        ("double", "2e-3"),
        ("symbol", ","),
        ("variable", "x"),
        ("symbol", "<>"),
    ]


@pytest.mark.parametrize("symbol", [":=", "->", "=>", "<=", ">=", "||", "<>"])
def test_symbols_of_two_signs_are_one_token(symbol: str) -> None:
    assert kinds(f"a {symbol} b")[1] == ("symbol", symbol)


def test_places_count_from_one() -> None:
    assert place("ab\ncd", 0) == (1, 1)
    assert place("ab\ncd", 4) == (2, 2)


def test_excerpt_underlines_the_token_and_keeps_tabs() -> None:
    assert excerpt("x\n\tab cd\ny", 6, 8) == "\tab cd\n\t   ^^"


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("SELECT 'abc\nFROM x", "OPEN_QUOTE", 1, 8),
        ("SELECT `abc", "OPEN_QUOTE", 1, 8),
        ("a /* never", "OPEN_COMMENT", 1, 3),
        ("SELECT\n  \x00", "BAD_CHARACTER", 2, 3),
        ("SELECT 'a\0b'", "BAD_CHARACTER", 1, 8),
        ("SELECT ä", "BAD_CHARACTER", 1, 8),
        ("a ? b", "BAD_CHARACTER", 1, 3),
        ("x" * (LONGEST_TEXT + 1), "TOO_COMPLEX", 0, 0),
    ],
)
def test_what_cannot_be_read_says_where(text: str, code: str, line: int, column: int) -> None:
    with pytest.raises(SqlError) as caught:
        tokens(text)
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)
