"""Tables and reports of the sql command: one line a row, values whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradstream.shell import tables
from gradstream.shell.apply import Report, _headline, _path, _shortened

QUERY = {
    "id": "CSAS_A_1",
    "queryType": "PERSISTENT",
    "state": "RUNNING",
    "queryString": "CREATE STREAM A AS\n  SELECT\n    *\n  FROM B;",
}


def test_columns_are_as_wide_as_their_cells() -> None:
    assert tables.lines(("a", "b"), [("1", "22"), ("333", "4")], 80) == [
        "a    b",
        "1    22",
        "333  4",
    ]


def test_what_is_too_wide_for_the_terminal_stands_below_each_other_and_is_whole() -> None:
    row = [str(number) * 9 for number in range(9)]
    shown = tables.lines([f"c{number}" for number in range(9)], [row], 80)
    assert shown[0] == "─ 1 ─"
    assert shown[1:] == [f"c{number}  {cell}" for number, cell in enumerate(row)]


def test_no_terminal_no_limit() -> None:
    assert tables.lines(["a"], [["x" * 500]], None) == ["a", "x" * 500]


@pytest.mark.parametrize("width", [60, 80])
def test_the_statement_of_a_query_is_one_line_that_fits(width: int) -> None:
    _, headings, row, elastic = tables.LISTS["queries"]
    cells = [[tables.text(value) for value in row(QUERY)]]
    heading, line = tables.lines(headings, cells, width, elastic)
    assert heading.split() == ["query", "type", "state", "statement"]
    assert line.startswith("CSAS_A_1  PERSISTENT  RUNNING  CREATE STREAM A AS SELECT")
    assert len(line) <= width


def test_lists_of_names_are_names() -> None:
    assert tables.text(["A", "B"]) == "A, B"
    assert tables.text([1, None]) == "[1,null]"
    assert tables.text([]) == "[]"


def test_topics_have_partitions_and_replicas() -> None:
    _, _, row, _ = tables.LISTS["kafka_topics"]
    assert row({"name": "t", "replicaInfo": [3, 3]}) == ["t", 2, 3]


def test_the_report_is_one_line_a_statement_within_the_width() -> None:
    report = Report(quiet=False)
    for name in ("regression_source", "regression_training"):
        report.add(
            _headline(f"CREATE STREAM IF NOT EXISTS {name} (ID BIGINT, SENSOR STRING, X1 DOUBLE);"),
            _shortened("Created query with ID CSAS_REGRESSION_TRAINING_1"),
        )
    told = report.told(80)
    assert [line.split(" (")[0] for line in told] == [
        "CREATE STREAM regression_source",
        "CREATE STREAM regression_training",
    ]
    assert all(len(line) <= 80 and line.endswith("TRAINING_1 runs") for line in told)


def test_what_exists_is_told_in_few_words() -> None:
    message = "Cannot add stream `A`: A stream with the same name already exists."
    assert _shortened(message) == "exists already, left as it is"
    assert _shortened("Stream created") == "Stream created"


def test_a_bare_name_falls_back_to_the_files_that_come_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "CREATE STREAM" in _path("regression.sql").read_text("utf-8")
    assert _path("folder/regression.sql") == Path("folder/regression.sql")
    Path("regression.sql").write_text("SHOW STREAMS;")
    assert _path("regression.sql").read_text() == "SHOW STREAMS;"
    assert not _path("nothing.sql").exists()
