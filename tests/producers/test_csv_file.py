"""Any CSV file: types that hold every row, and what is wrong with a file, with the line."""

from __future__ import annotations

import gzip
import weakref
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.errors import DataError, GradstreamError
from producers import csv_file
from producers.csv_file import BLOCK_BYTES, LONGEST_ROW, CsvFile, _Lent, scan

INT, BIGINT, DOUBLE = pa.int32(), pa.int64(), pa.float64()
BOOLEAN, VARCHAR = pa.bool_(), pa.string()


def written(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(file: CsvFile) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pa.Table.from_batches(
        list(file.batches()), file.schema
    ).to_pylist()
    return found


def refused(path: Path, **options: object) -> GradstreamError:
    with pytest.raises(DataError) as raised:
        scan(path, **options)  # type: ignore[arg-type]
    assert path.name in raised.value.message
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["1", "-2", ""], INT, [1, -2, None]),
        ([" 1", "2 "], INT, [1, 2]),
        (["2147483647", "-2147483648"], INT, [2**31 - 1, -(2**31)]),
        (["1", "2147483648"], BIGINT, [1, 2**31]),
        (["1", "9223372036854775808"], DOUBLE, [1.0, 2.0**63]),
        (["1", "2.5"], DOUBLE, [1.0, 2.5]),
        (["1e5", "NA"], DOUBLE, [1e5, None]),
        (["true", "FALSE", ""], BOOLEAN, [True, False, None]),
        (["true", "1"], VARCHAR, ["true", "1"]),
        (["1", "true"], VARCHAR, ["1", "true"]),
        (["007", "12"], VARCHAR, ["007", "12"]),
        (["0", "0.5"], DOUBLE, [0.0, 0.5]),
        (["0x1F"], VARCHAR, ["0x1F"]),
        (["a", "", "NA"], VARCHAR, ["a", None, "NA"]),
        (["", ""], VARCHAR, [None, None]),
        (["", "7"], INT, [None, 7]),
        (["2020-01-01"], VARCHAR, ["2020-01-01"]),
        (["1,5"], VARCHAR, ["1,5"]),
    ],
)
def test_a_column_gets_the_narrowest_type_that_holds_it(
    tmp_path: Path, values: list[str], kind: pa.DataType, found: list[object]
) -> None:
    text = "key,value\n" + "".join(f'k,"{value}"\n' for value in values)
    file = scan(written(tmp_path, text))
    assert file.schema.field("VALUE").type == kind
    assert [row["VALUE"] for row in rows(file)] == found
    assert file.rows == len(values)


@pytest.mark.parametrize(
    ("surprise", "kind"), [("2.5", DOUBLE), ("word", VARCHAR), (str(2**40), BIGINT)]
)
def test_a_late_surprise_widens_the_type(tmp_path: Path, surprise: str, kind: pa.DataType) -> None:
    count = 3 * BLOCK_BYTES // 8
    text = "a,b\n" + "1,12345\n" * count + f"1,{surprise}\n"
    file = scan(written(tmp_path, text))
    assert file.schema.types == [INT, kind]
    batches = list(file.batches())
    assert sum(map(len, batches)) == file.rows == count + 1
    assert len(batches) > 1
    last = batches[-1].column("B")[-1].as_py()
    assert str(last) == surprise


def test_names_become_identifiers_that_avro_takes_too(tmp_path: Path) -> None:
    header = "sepal length (cm),x,X,,group,2nd,ROWTIME,_ok\n"
    file = scan(written(tmp_path, header + "1,2,3,4,5,6,7,8\n"))
    assert file.schema.names == [
        *("SEPAL_LENGTH_CM", "X", "X_2", "COLUMN_4", "GROUP", "_2ND", "ROWTIME_", "_OK")
    ]
    assert file.column("sepal length (cm)") == "SEPAL_LENGTH_CM"
    assert file.column("sepal_length_cm") == "SEPAL_LENGTH_CM"
    assert file.column("X") == "X_2"


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    file = scan(written(tmp_path, "age,target\n1,2\n"))
    with pytest.raises(DataError, match=r"MISSING_COLUMN.*'targte'.*did you mean 'target'"):
        file.column("targte")
    with pytest.raises(DataError, match=r"it has age, target"):
        file.column("zzz")


def test_quotes_newlines_blank_lines_and_marks_are_no_trouble(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf\n\nname,n\n"a ""b"",\nc",1\n\n"d",2'
    file = scan(written(tmp_path, text))
    assert rows(file) == [{"NAME": 'a "b",\nc', "N": 1}, {"NAME": "d", "N": 2}]


def test_gzip_is_told_by_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"a,b\n1,2\n"), "data.csv")
    assert rows(scan(path)) == [{"A": 1, "B": 2}]


def test_another_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path, "a;b\n1;2\n")
    assert "--delimiter ';'" in refused(path).message
    assert rows(scan(path, delimiter=";")) == [{"A": 1, "B": 2}]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**31), 2**31 - 1),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none()
            | st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_python_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[object, ...]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["i", "f", "s"])
        writer.writerows([*data, (1, 0.5, "word")])
    found = [tuple(row.values()) for row in rows(scan(path))]
    assert found == [*data, (1, 0.5, "word")]


# Bad input -----------------------------------------------------------------------------------------------


def test_no_thread_holds_the_file_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it may ask for Python's lock while the interpreter ends, and abort the process.
    lent: list[weakref.ref[_Lent]] = []

    class Watched(_Lent):
        def readable(self) -> bool:
            lent.append(weakref.ref(self))
            return super().readable()

    monkeypatch.setattr(csv_file, "_Lent", Watched)
    whole, ragged = written(tmp_path, "a,b\n1,2\n", "whole.csv"), written(tmp_path, "a,b\n1\n")
    for _ in range(200):
        refused(ragged)
        assert lent[-1]() is None
        next(scan(whole).batches())
        assert lent[-1]() is None


def test_a_ragged_row_is_told_by_its_line(tmp_path: Path) -> None:
    ragged = 'a,b\n1,"x\ny"\n2,3\n4\n5,6\n'
    error = refused(written(tmp_path, ragged))
    assert error.code == "RAGGED_ROW"
    assert "line 5 has 1 columns, the header has 2" in error.message
    long = refused(written(tmp_path, "a,b\n" + "1,2\n" * 300_000 + "1,2,3\n"))
    assert "line 300002 has 3 columns, the header has 2" in long.message


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"", "EMPTY_FILE", "empty"),
        (b"\n\n  \n", "EMPTY_FILE", "empty"),
        (b"a,b\n", "EMPTY_FILE", "no rows"),
        (b"1,2\n3,4\n", "NO_HEADER", "line 1"),
        (b"a,b,a\n1,2,3\n", "DUPLICATE_COLUMN", "columns 1, 3 are all called 'a'"),
        ("a,b\n1,2\n".encode("utf-16"), "BAD_ENCODING", "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), "BAD_ENCODING", "UTF-16"),
        ("a,b\n1,2\n".encode("utf-32"), "BAD_ENCODING", "UTF-32"),
        (b"a,b\n1,2\n3,\xe4\n", "BAD_UTF8", "line 3"),
        (b"a\xff,b\n1,2\n", "BAD_UTF8", "line 1"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "BAD_CSV", "line 3"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-12], "TRUNCATED", "fetch it again"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + b"\0" * 8, "BAD_GZIP", "damaged"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:10] + b"\xff" * 20, "BAD_GZIP", "damaged"),
    ],
)
def test_bad_files(tmp_path: Path, text: bytes, code: str, words: str) -> None:
    error = refused(written(tmp_path, text))
    assert error.code == code
    assert words in error.message
    assert error.exit_code == 65


def test_a_quote_inside_an_unquoted_value_is_text(tmp_path: Path) -> None:
    assert rows(scan(written(tmp_path, 'a,b\n3.5" disk,1\n'))) == [{"A": '3.5" disk', "B": 1}]


def test_missing_files_and_directories(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.csv").code == "NO_FILE"
    assert refused(tmp_path).code == "NOT_A_FILE"


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 2_000_000)
    path = written(tmp_path, bomb, "bomb.csv.gz")
    error = refused(path, max_expanded=1_000_000)
    assert error.code == "EXPANDS_TOO_LARGE"
    assert f"{len(bomb):,} bytes" in error.message
    assert "more than 1,000,000 bytes" in error.message
    assert "--max-expanded" in error.message
    exact = written(tmp_path, gzip.compress(b"a,b\n1,2\n"))
    assert scan(exact, max_expanded=8).rows == 1
    assert refused(exact, max_expanded=7).code == "EXPANDS_TOO_LARGE"


@pytest.mark.parametrize("size", [LONGEST_ROW + 1, 3 * BLOCK_BYTES])
def test_a_row_too_long_for_a_message_shows_both_sizes(tmp_path: Path, size: int) -> None:
    error = refused(written(tmp_path, f"a,b\n1,2\n\n,{'x' * size}\n"))
    assert error.code == "RECORD_TOO_LARGE"
    assert "line 4" in error.message
    assert f"{size:,} bytes" in error.message
    assert f"{LONGEST_ROW:,}" in error.message
