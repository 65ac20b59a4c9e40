"""Cutting a file into statements that know their place."""

from __future__ import annotations

import pytest

from gradstream.errors import SqlError
from gradstream.shell.script import around, excerpt, is_open, split


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


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("", False),
        ("  \n", False),
        ("-- a comment", False),
        ("SHOW STREAMS", True),
        ("SHOW STREAMS;", False),
        ("SHOW STREAMS; -- and", False),
        ("SHOW STREAMS; SHOW", True),
        ("SELECT 'a;", True),
        ("SELECT 'a;' FROM `b;", True),
        ("SELECT 'it''s';", False),
        ("/* SHOW STREAMS;", True),
        ("/* a */ SHOW STREAMS;", False),
        ("SELECT 4 / 2;", False),
        ("SELECT a ->b - 1;", False),
    ],
)
def test_whether_there_is_more_to_type(text: str, open_: bool) -> None:
    assert is_open(text) is open_


def test_of_a_long_line_the_faulty_place_is_shown() -> None:
    line = "SELECT " + ", ".join(f"COLUMN_{number}" for number in range(60)) + " FROM S;"
    shown, carets = around(excerpt(line, 1, line.index("COLUMN_40") + 1), 80)
    assert len(shown) == 80
    assert shown[0] == shown[-1] == "…"
    assert shown[carets.index("^") : len(carets)] == "COLUMN_40"
    assert around("SELECT A\n       ^", 80) == ["SELECT A", "       ^"]
