"""Replaying Kaggle's creditcard.csv: written here as that file is written, quotes and all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from gradstream.errors import DataError
from producers.fraud import FRAUD_SCHEMA
from producers.replay import CreditCards, credit_cards

HEADER = ",".join(
    f'"{name}"' for name in ("Time", *(f"V{n}" for n in range(1, 29)), "Amount", "Class")
)


def line(
    time: str = "0", label: str = '"0"', v1: str = "-1.3598071336738", amount: str = "149.62"
) -> str:
    return ",".join([time, v1, *(f"{n / 7}" for n in range(27)), amount, label])


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "creditcard.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def table(cards: CreditCards) -> pa.Table:
    return pa.Table.from_batches(list(cards.batches()))


def test_the_real_files_quirks_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, line(), line("99999", '"1"'), line("1e+05", '""', "2", "1"))
    cards = credit_cards(path)
    found = table(cards)
    assert found.schema == FRAUD_SCHEMA
    assert cards.rows == 3
    assert found["ID"].to_pylist() == [0, 1, 2]
    assert found["TIME"].to_pylist() == [0, 99_999, 100_000]
    assert found["CLASS"].to_pylist() == ["0", "1", None]
    assert found["V1"].to_pylist() == [-1.3598071336738, -1.3598071336738, 2.0]
    assert found["AMOUNT"].to_pylist() == [149.62, 149.62, 1.0]
    assert found["TIMESTAMP"][2].as_py() == "2013-09-02T03:46:40Z"
    assert all(" " in name for name in found["USER"].to_pylist())


def test_gzip_gives_the_same_rows_and_the_seed_the_same_users(tmp_path: Path) -> None:
    path = written(tmp_path, *(line(str(second)) for second in range(50)))
    packed = tmp_path / "creditcard.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain = table(credit_cards(path, seed=7))
    assert table(credit_cards(packed, seed=7)).equals(plain)
    others = table(credit_cards(path, seed=8))
    assert not others["USER"].equals(plain["USER"])
    assert others.drop_columns(["USER"]).equals(plain.drop_columns(["USER"]))


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ([line(), line(v1="x")], "NOT_A_NUMBER", "line 3: V1 is not a number: 'x'"),
        ([line(), line("")], "NULL_FIELD", "line 3: Time is empty"),
        ([line(label='"2"')], "BAD_LABEL", "line 2: Class is neither 0 nor 1 nor empty: '2'"),
        ([line(label='"yes"')], "BAD_LABEL", "line 2"),
        ([line(), line() + ",1"], "RAGGED_ROW", "line 3 has 32 columns, the header has 31"),
    ],
)
def test_bad_rows_are_told_by_their_line(
    tmp_path: Path, lines: list[str], code: str, words: str
) -> None:
    with pytest.raises(DataError) as raised:
        credit_cards(written(tmp_path, *lines))
    assert raised.value.code == code
    assert words in raised.value.message


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    header = HEADER.replace('"V7"', '"V99"').replace('"Class"', '"Label"')
    with pytest.raises(DataError, match=r"MISSING_COLUMN.*lacks V7, CLASS; it needs Time"):
        credit_cards(written(tmp_path, line(), header=header))
