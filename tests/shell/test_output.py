"""Rows and answers as tables, CSV and JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import httpx2
import pytest
from rich.console import Console

from gradstream import console
from gradstream.shell.client import RefusedStatementError, Rows
from gradstream.shell.output import BUFFERED, FORMATS, AsTables, lines

STREAMS = {
    "@type": "streams",
    "statementText": "SHOW STREAMS;",
    "warnings": [],
    "streams": [{"name": "A", "topic": "a", "keyFormat": "KAFKA", "valueFormat": "JSON"}],
}
DONE = {"@type": "currentStatus", "commandStatus": {"status": "SUCCESS", "message": "Stream created"}}  # fmt: skip


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 80 columns shows."""
    file = io.StringIO()
    made = Console(file=file, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(console, "results", made)
    return file


def rows(*groups: list[Any]) -> Rows:
    """An answer of the server: each group of rows arrives at once; one that is no list is an error."""
    sent: Iterator[list[bytes]] = ([json.dumps(row).encode() for row in group] for group in groups)
    types = ["BIGINT", "STRING", "DECIMAL(20, 2)"]
    return Rows("q", ["ID", "NAME", "D"], types, cast(httpx2.Response, None), sent)


VALUES = [[1, 'a,"b"\nc', None], [2, None, 1.5]]


@pytest.mark.parametrize(
    ("of", "out"),
    [
        ("csv", 'ID,NAME,D\n1,"a,""b""\nc",\n2,,1.5\n'),
        ("json", '{"ID":1,"NAME":"a,\\"b\\"\\nc","D":null}\n{"ID":2,"NAME":null,"D":1.5}\n'),
        ("table", 'ID  NAME     D\n1   a,"b" c  null\n2   null     1.5\n'),
    ],
)
def test_rows_in_each_format(of: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert FORMATS[of]().rows(rows(VALUES[:1], VALUES[1:]), pushes=False) == 2
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("of", FORMATS)
def test_a_decimal_keeps_its_digits(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = b"[1, null, 123456789012345678.90]"
    answer = Rows("q", ["A", "B", "C"], ["BIGINT", "STRING", "DECIMAL(20, 2)"], cast(httpx2.Response, None), iter([[line]]))  # fmt: skip
    FORMATS[of]().rows(answer, pushes=False)
    assert str(Decimal("123456789012345678.90")) in capsys.readouterr().out


@pytest.mark.parametrize("of", FORMATS)
@pytest.mark.parametrize("pushes", [False, True])
def test_what_came_before_an_error_is_shown(
    of: str, pushes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {"@type": "generic_error", "error_code": 50000, "message": "it broke"}
    with pytest.raises(RefusedStatementError, match="it broke"):
        FORMATS[of]().rows(rows([[77, "a", 1], failure]), pushes)
    assert "77" in capsys.readouterr().out


def test_rows_that_are_pushed_are_drawn_at_once(screen: io.StringIO) -> None:
    def groups() -> Iterator[list[bytes]]:
        assert screen.getvalue().split()[:3] == ["ID", "NAME", "D"]
        yield [b'[1, "first", 0]']
        assert "first" in screen.getvalue()
        yield [b'[2, "second", 0]']

    answer = Rows("q", ["ID", "NAME", "D"], ["BIGINT", "STRING", "INTEGER"], cast(httpx2.Response, None), groups())  # fmt: skip
    assert AsTables().rows(answer, pushes=True) == 2
    assert screen.getvalue().count("NAME") == 1


def test_rows_that_are_there_wait_only_for_a_screenful_of_columns(screen: io.StringIO) -> None:
    def groups() -> Iterator[list[bytes]]:
        yield [b'[1, "x", 0]'] * (BUFFERED - 1)
        assert not screen.getvalue()
        yield [b'[2, "wider than the others", 0]']
        assert "wider than the others" in screen.getvalue()
        yield [b'[3, "last", 0]']

    answer = Rows("q", ["ID", "NAME", "D"], ["BIGINT", "STRING", "INTEGER"], cast(httpx2.Response, None), groups())  # fmt: skip
    assert AsTables().rows(answer, pushes=False) == BUFFERED + 1
    assert screen.getvalue().count("NAME") == 1


@pytest.mark.parametrize(
    ("of", "out"),
    [
        ("csv", "name,topic,key,value\nA,a,KAFKA,JSON\n"),
        ("json", json.dumps(STREAMS, separators=(",", ":")) + "\n"),
        ("table", "name  topic  key    value\nA     a      KAFKA  JSON\n"),
    ],
)
def test_answers_in_each_format(of: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    FORMATS[of]().entity(STREAMS)
    FORMATS[of]().entity(DONE)  # has nothing to read
    assert capsys.readouterr().out == out


def test_csv_has_all_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    text = {"type": "STRING"}
    explained = {
        "id": "CSAS_B_1", "queryType": "PERSISTENT", "state": "RUNNING",
        "fields": [{"name": "K", "schema": text, "type": "KEY"}, {"name": "V", "schema": text}],
        "executionPlan": " > [ SINK ] | Schema: K STRING KEY, V STRING | Logger: x\n\t\t > [ SOURCE ] | of A\n",
    }  # fmt: skip
    FORMATS["csv"]().entity({"@type": "queryDescription", "queryDescription": explained})
    assert capsys.readouterr().out == (
        '"CSAS_B_1: persistent query, RUNNING"\n\n'
        "field,type,role\nK,STRING,KEY\nV,STRING,\n\n"
        'level,step\n0,"SINK  Schema: K STRING KEY, V STRING"\n1,SOURCE  of A\n'
    )


def test_records_that_would_steer_a_terminal_are_written_out_there_only(
    screen: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lines(["value: \x1b[2J"]) == 1
    assert capsys.readouterr().out == "value: \\x1b[2J\n"
    monkeypatch.setattr(console, "results", Console(file=io.StringIO()))
    lines(["value: \x1b[2J"])
    assert capsys.readouterr().out == "value: \x1b[2J\n"
