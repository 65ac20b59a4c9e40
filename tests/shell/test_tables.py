"""Tables: one line a row where there is room, values whole, rows as they come."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.console import Console

from gradstream.shell import tables


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def drawn(width: int, names: Sequence[str], rows: list[list[object]], elastic: str = "") -> list[str]:  # fmt: skip
    tables.show(out := terminal(width), names, rows, elastic)
    return shown(out)


def test_columns_are_as_wide_as_their_cells() -> None:
    assert drawn(80, ("a", "b"), [["1", 22], ["333", 4]]) == [
        "a     b",
        "───────",
        "1    22",
        "333   4",
    ]


def test_a_cell_that_is_too_wide_is_folded_and_whole() -> None:
    lines = drawn(40, ("name", "text"), [["a", "0123456789" * 6]])
    assert max(map(len, lines)) <= 40
    assert "".join(line[6:] for line in lines[2:]) == "0123456789" * 6


def test_what_has_too_many_columns_for_the_terminal_stands_below_each_other() -> None:
    row: list[object] = [str(number) * 9 for number in range(9)]
    lines = drawn(80, [f"c{number}" for number in range(9)], [row, row])
    assert lines[0] == "─ 1 ─"
    assert lines[1:10] == [f"c{number}  {cell}" for number, cell in enumerate(row)]
    assert lines[10] == "─ 2 ─"


def test_no_terminal_no_limit() -> None:
    tables.show(out := Console(file=io.StringIO(), width=80), ["a", "b"], [["x" * 500, "y"]])
    assert shown(out) == ["a" + " " * 501 + "b", "x" * 500 + "  y"]


def test_a_column_of_wide_characters_is_as_wide_as_the_terminal_draws_it() -> None:
    plain = tables.lines(("city", "n"), [("東京", "1"), ("Oslo", "2")])
    assert plain == ["city  n", "東京  1", "Oslo  2"]
    assert len({cell_len(line) for line in plain}) == 1


@pytest.mark.parametrize("width", [60, 80])
def test_the_elastic_column_is_cut_to_fit(width: int) -> None:
    heading, _, line = drawn(
        width, ("query", "statement"), [["CSAS_A_1", "SELECT " * 30]], "statement"
    )
    assert heading.split() == ["query", "statement"]
    assert line.startswith("CSAS_A_1  SELECT SELECT")
    assert line.endswith("…")
    assert len(line) <= width


def test_rows_that_come_later_stand_in_the_columns_of_the_first() -> None:
    out = terminal(60)
    table = tables.of_query(out, ["ID", "NAME", "AT"], ["BIGINT", "STRING", "TIMESTAMP"], True)
    table.add([["1", "a", "2020-01-01T00:00:00.000"]])
    table.add([["22", "a name that is much too long", "null"]])
    assert shown(out) == [
        "    ID  NAME                         AT",
        "─" * 60,
        "     1  a                            2020-01-01T00:00:00.000",
        "    22  a name that is much too      null",
        "        long",
    ]
    assert table.count == 2


@pytest.mark.parametrize(("width", "of_name"), [(60, 45), (200, tables.LONGEST)])
def test_texts_that_are_to_come_get_the_room_that_is_left(width: int, of_name: int) -> None:
    table = tables.of_query(out := terminal(width), ["ID", "NAME"], ["BIGINT", "STRING"], True)
    table.add([["1", "x"]])
    table.add([["2", "y" * 70]])
    assert shown(out)[3].count("y") == of_name


def test_rows_that_come_are_numbered_on_where_they_stand_below_each_other() -> None:
    names = [f"V{number}" for number in range(30)]
    table = tables.of_query(out := terminal(80), names, ["DOUBLE"] * 30, True)
    table.add([])
    table.add([["0.5"] * 30])
    table.add([["1.5"] * 30])
    assert [line for line in shown(out) if line.startswith("─")] == ["─ 1 ─", "─ 2 ─"]


def test_what_would_steer_the_terminal_is_written_out() -> None:
    lines = drawn(80, ["a"], [["x\x1b[2J\x07y"]])
    assert lines[2] == r"x\x1b[2J\x07y"


def test_lists_of_names_are_names() -> None:
    assert tables.text(["A", "B"]) == "A, B"
    assert tables.text([1, None]) == "[1,null]"
    assert tables.text([]) == "[]"


def test_no_columns_no_table() -> None:
    assert drawn(80, [], []) == []
