"""Cutting a file into statements that know their place."""

from __future__ import annotations

import pytest

from gradstream.errors import SqlError
from gradstream.shell.script import excerpt, split


def test_semicolons_count_only_outside_quotes_and_comments() -> None:
    text = "-- a; b\nSELECT 'x;''y' FROM \"a;b\"; /* c; */ SHOW `q;`;\n\n  LIST TOPICS ;"
    assert [piece.text for piece in split(text)] == [
        "SELECT 'x;''y' FROM \"a;b\";",
        "SHOW `q;`;",
        "LIST TOPICS ;",
    ]


def test_pieces_know_line_and_column() -> None:
    text = "SHOW STREAMS;\n\n  -- about\n  SHOW TABLES; SHOW TOPICS;"
    assert [(piece.line, piece.column) for piece in split(text)] == [(1, 1), (4, 3), (4, 16)]


def test_a_placed_statement_stands_where_the_file_has_it() -> None:
    text = "SHOW STREAMS;\n   SHOW\nTABLES;"
    piece = split(text)[1]
    lines = piece.placed.splitlines()
    assert lines[1].index("SHOW") == 3
    assert lines[2] == "TABLES;"


def test_a_missing_semicolon_is_told_with_its_place() -> None:
    with pytest.raises(SqlError, match="line 2:2") as caught:
        split("SHOW STREAMS;\n SHOW TABLES")
    assert caught.value.code == "MISSING_SEMICOLON"
    assert caught.value.excerpt == " SHOW TABLES\n ^^^^"
    assert split("SHOW TABLES", finish=True)[0].text == "SHOW TABLES;"


@pytest.mark.parametrize("text", ["", "  \n", "-- only a comment", "/* a */ ;;", "'open"])
def test_texts_without_statements_or_with_open_quotes_end(text: str) -> None:
    assert len(split(text, finish=True)) <= 1


def test_excerpts_underline_a_word_or_a_sign() -> None:
    assert excerpt("a\nSELECT FOO FROM", 2, 8) == "SELECT FOO FROM\n       ^^^"
    assert excerpt("x = )", 1, 5) == "x = )\n    ^"
    assert excerpt("x", 7, 1) == ""
