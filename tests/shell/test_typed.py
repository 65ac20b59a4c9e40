"""The shell's own statements, which ask no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradstream.errors import SqlError
from gradstream.shell.client import KsqlClient
from gradstream.shell.output import AsCsv, AsTables
from gradstream.shell.typed import DEEPEST, Exit, Typed, is_whole

NOBODY = "http://127.0.0.1:9"  # no server is asked


def shell() -> tuple[Typed, list[str]]:
    said: list[str] = []
    client = KsqlClient(NOBODY)
    return Typed(client=client, output=AsTables(), hint=said.append, say=said.append), said


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True),
        ("exit", True),
        (" HELP ", True),
        ("output csv", True),
        ("run script 'a.sql'", True),
        ("run script 'a", False),
        ("SHOW STREAMS", False),
        ("SHOW STREAMS;", True),
        ("SELECT *\nFROM a\nEMIT CHANGES;", True),
        ("exit;", True),
        ("exit; SHOW", False),
        ("exits", False),
    ],
)
def test_what_can_be_run_when_enter_is_pressed(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


@pytest.mark.parametrize("text", ["exit", "QUIT;", "DEFINE a='1'; exit; SHOW NONSENSE;"])
def test_exit_leaves_without_what_follows(text: str) -> None:
    with pytest.raises(Exit):
        shell()[0].run_text(text)


def test_help_tells_the_statements() -> None:
    typed, said = shell()
    typed.run_text("help")
    (told,) = said
    assert "RUN SCRIPT" in told
    assert max(map(len, told.splitlines())) <= 80


def test_output_is_another_from_there_on() -> None:
    typed, _ = shell()
    typed.run_text("OUTPUT csv")
    assert isinstance(typed.output, AsCsv)
    typed.run_text("output 'table';")
    assert isinstance(typed.output, AsTables)
    with pytest.raises(SqlError, match=r"^BAD_OUTPUT: line 1:1: OUTPUT is one of table, csv, json"):
        typed.run_text("OUTPUT xml;")


def test_a_script_runs_where_it_is_named_and_leaves_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outer.sql").write_text("DEFINE name = 'inner';\nRUN SCRIPT '${name}.sql';")
    Path("inner.sql").write_text("DEFINE a = '1';\nUNDEFINE name;")
    typed, _ = shell()
    typed.run_text("RUN SCRIPT 'outer.sql'")
    assert typed.variables == {"a": "1"}


@pytest.mark.parametrize(
    ("files", "told", "excerpt"),
    [
        ({}, "NO_FILE: line 1:1: cannot read a.sql: No such file", "RUN SCRIPT 'a.sql';\n^^^"),
        ({"a.sql": "DEFINE b = '1';\n SHOW"}, "MISSING_SEMICOLON: line 2:2: a.sql: ", " SHOW\n ^^^^"),
        ({"a.sql": "\nRUN SCRIPT b.sql;"}, "SYNTAX_ERROR: line 2:1: a.sql: write RUN SCRIPT 'file.sql';", "RUN SCRIPT b.sql;\n^^^"),
        ({"a.sql": "RUN SCRIPT 'a.sql';"}, f"TOO_DEEP: line 1:1: a.sql: {DEEPEST} scripts run each other: a.sql →", "RUN SCRIPT 'a.sql';\n^^^"),
    ],
)  # fmt: skip
def test_errors_of_scripts_tell_file_and_place(
    files: dict[str, str],
    told: str,
    excerpt: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(SqlError) as caught:
        shell()[0].run_text("RUN SCRIPT 'a.sql';")
    assert str(caught.value).startswith(told)
    assert caught.value.excerpt == excerpt
