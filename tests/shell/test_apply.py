"""The report of the sql command, and the files that it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradstream.shell.apply import Report, _headline
from gradstream.shell.flags import path_of


def test_the_report_is_one_line_a_statement_within_the_width() -> None:
    report = Report(quiet=False)
    for name in ("regression_source", "regression_training"):
        report.add(
            _headline(f"CREATE STREAM IF NOT EXISTS {name} (ID BIGINT, SENSOR STRING, X1 DOUBLE);"),
            "query CSAS_REGRESSION_TRAINING_1 runs",
        )
    told = report.told(80)
    assert [line.split(" (")[0] for line in told] == [
        "CREATE STREAM regression_source",
        "CREATE STREAM regression_training",
    ]
    assert all(len(line) <= 80 and line.endswith("TRAINING_1 runs") for line in told)


def test_a_bare_name_falls_back_to_the_files_that_come_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "CREATE STREAM" in path_of("regression.sql").read_text("utf-8")
    assert path_of("folder/regression.sql") == Path("folder/regression.sql")
    Path("regression.sql").write_text("SHOW STREAMS;")
    assert path_of("regression.sql").read_text() == "SHOW STREAMS;"
    assert not path_of("nothing.sql").exists()
