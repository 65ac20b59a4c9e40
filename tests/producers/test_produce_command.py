"""``gradstream produce`` as people type it, without a broker."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gradstream.errors import ConfigError, DataError, UnavailableError, UsageError
from gradstream.sql_files import sql_file
from producers.__main__ import main


def test_help_of_each_kind_names_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for kind, flag in (("regression", "--features"), ("fraud", "--from"), ("csv", "--target")):
        with pytest.raises(SystemExit) as ended:
            main([kind, "--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert flag in shown
        assert "(default: None)" not in shown


def test_sql_of_the_usual_schemas_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("regression", "fraud"):
        assert main([kind, "--sql", "-", "--dry-run"]) == 0
        assert capsys.readouterr().out == sql_file(kind).read_text()


def test_flags_reach_the_sql(tmp_path: Path) -> None:
    out = tmp_path / "out.sql"
    flags = "--data gaussian --features 12 --topic t_source --format avro --partitions 5"
    assert main(["regression", *flags.split(), "--dry-run", "--sql", str(out)]) == 0
    text = out.read_text()
    for words in ("X12 DOUBLE", "source_format = 'AVRO'", "partitions = '5'", "'t_training'"):
        assert words in text


def test_csv_prints_its_sql_and_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my data.csv"
    path.write_text("name,age,target\nAnna,3,1.5\n")
    flags = ["--topic", "people", "--target", "target", "--mask", "name", "--stream", "People now"]
    assert main(["csv", str(path), *flags, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "NAME VARCHAR, AGE INT, TARGET DOUBLE" in shown.out
    assert "MASK(NAME) AS NAME, AGE, TARGET" in shown.out
    assert "DEFINE source_stream = 'people_now';" in shown.out
    assert "--source people_training --target TARGET" in " ".join(shown.err.split())


def test_tabs_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("a\tb\n1\tx\n")
    for typed in ("tab", "\\t", "\t"):
        assert main(["csv", str(path), "--topic", "t", "--dry-run", "--delimiter", typed]) == 0
        assert "A INT, B VARCHAR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("regression --rate 0", "BAD_RATE"),
        ("regression --rate nan", "BAD_RATE"),
        ("fraud --speed -1", "BAD_RATE"),
        ("fraud --rate 1 --speed 1", "USAGE"),
        ("fraud --from creditcard.csv --rows 10", "USAGE"),
        ("fraud --from creditcard.csv --fraud-share 0.5", "USAGE"),
        ("regression --features 3", "BAD_FEATURES"),
        ("regression --rows x", "BAD_ROWS"),
        ("regression --rows 0", "BAD_ROWS"),
        ("regression --fetaures 3", "USAGE"),
        ("regression --format xml", "USAGE"),
        ("csv file.csv", "USAGE"),
        ("nothing", "USAGE"),
        ("", "USAGE"),
    ],
)
def test_wrong_flags(flags: str, code: str) -> None:
    with pytest.raises(UsageError) as raised:
        main(flags.split())
    assert raised.value.code == code


def test_a_target_or_mask_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    for flag, code in (("--target", "MISSING_COLUMN"), ("--mask", "MISSING_COLUMN")):
        with pytest.raises(DataError) as raised:
            main(["csv", str(path), "--topic", "t", flag, "c"])
        assert raised.value.code == code
    with pytest.raises(DataError, match="MASK_NOT_TEXT"):
        main(["csv", str(path), "--topic", "t", "--mask", "a"])


def test_an_unreachable_broker_is_one_line_with_its_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, nobody answers
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=rf"BROKER_UNREACHABLE.*{address}"):
            main(["regression", "--bootstrap-servers", address])
        with pytest.raises(UnavailableError, match="BROKER_UNREACHABLE"):
            main(["regression", "--bootstrap-servers", address, "--wait", "0.5"])
    with pytest.raises(ConfigError, match="EMPTY_ADDRESS"):
        main(["regression", "--bootstrap-servers", ""])


def test_help_is_quick_to_import() -> None:
    program = "import sys, producers.__main__; print(*(m for m in ('numba', 'httpx2') if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
