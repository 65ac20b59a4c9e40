"""DELIMITED as ksqlDB reads and writes it; the fast path gives what the exact path gives."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.wire.codec_delimited import decode, encode

TYPES: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DECIMAL": pa.decimal128(6, 4),
    "TIME": pa.time32("ms"),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("ms"),
}
PAIR = pa.schema([("K", pa.int32()), ("V", pa.string())])


def values(*texts: str | bytes | None) -> pa.BinaryArray:
    return pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.binary())


def one(kind: str, text: str | bytes | None) -> Any:
    """What a single field reads as, on both paths; the code where it cannot be read."""
    schema = pa.schema([("A", pa.string()), ("V", TYPES[kind])])
    raw = values(
        None if text is None else b"a," + (text.encode() if isinstance(text, str) else text)
    )
    results = []
    for exact in (False, True):
        decoded = decode(raw, schema, exact=exact)
        good = decoded.batch.num_rows == 1
        results.append(decoded.batch.column(1)[0].as_py() if good else decoded.code(0))
    assert repr(results[0]) == repr(results[1])
    return results[0]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "TrUe", True),
        ("BOOLEAN", '"true"', True),
        ("BOOLEAN", "yes", False),
        ("BOOLEAN", " true", False),
        ("INT", "33", 33),
        ("INT", '"22"', 22),
        ("INT", "+5", 5),
        ("INT", "-007", -7),
        ("INT", " 1", "WRONG_TYPE"),
        ("INT", "1 ", "WRONG_TYPE"),
        ("INT", "1.0", "WRONG_TYPE"),
        ("INT", "0x10", "WRONG_TYPE"),
        ("INT", "2147483647", 2147483647),
        ("INT", "2147483648", "WRONG_TYPE"),
        ("BIGINT", "998877665544332211", 998877665544332211),
        ("BIGINT", "9223372036854775808", "WRONG_TYPE"),
        ("BIGINT", "٣", 3),
        ("DOUBLE", "654.321", 654.321),
        ("DOUBLE", " 1.5\t", 1.5),
        ("DOUBLE", "1d", 1.0),
        ("DOUBLE", "+.5e1", 5.0),
        ("DOUBLE", "Infinity", float("inf")),
        ("DOUBLE", "-1e999", float("-inf")),
        ("DOUBLE", "NaN", float("nan")),
        ("DOUBLE", "nan", "WRONG_TYPE"),
        ("DOUBLE", "inf", "WRONG_TYPE"),
        ("DOUBLE", "nan(1)", "WRONG_TYPE"),
        ("DOUBLE", "  ", "WRONG_TYPE"),
        ("DOUBLE", "0x1p3", 8.0),
        ("DOUBLE", "0x10", "WRONG_TYPE"),
        ("STRING", " padded ", " padded "),
        ("STRING", '"a,b"', "a,b"),
        ("STRING", '"say ""hi"""', 'say "hi"'),
        ("STRING", '"two\nlines"', "two\nlines"),
        ("STRING", '"x" ', "x"),
        ("STRING", 'in "the" middle', 'in "the" middle'),
        ("STRING", '"x"y', "BAD_TEXT"),
        ("STRING", '"open', "BAD_TEXT"),
        ("STRING", "x\nrest,of,another", "x"),
        ("STRING", 'x\n"broken', "BAD_TEXT"),
        ("STRING", b"\xff\xfe!", "\ufffd\ufffd!"),
        ("STRING", "nul\0", "nul\0"),
        ("STRING", "NULL", "NULL"),
        ("STRING", "x,y", "WRONG_DIMENSION"),
        ("BYTES", "dmFyaWF0aW9ucw==", b"variations"),
        ("BYTES", "dmFyaWF0aW9ucw", b"variations"),
        ("BYTES", "%", "WRONG_TYPE"),
        ("BYTES", "ä", "WRONG_TYPE"),
        ("BYTES", "dmE=x", "WRONG_TYPE"),
        ("BYTES", "====", "WRONG_TYPE"),
        ("DECIMAL", "12.3650", Decimal("12.3650")),
        ("DECIMAL", '"12.0"', Decimal("12.0000")),
        ("DECIMAL", "-0.5", Decimal("-0.5000")),
        ("DECIMAL", "1.5e1", Decimal("15.0000")),
        ("DECIMAL", "0012", Decimal("12.0000")),
        ("DECIMAL", "123", "BAD_DECIMAL"),
        ("DECIMAL", "1.23456", "BAD_DECIMAL"),
        ("DECIMAL", "1.23450", Decimal("1.2345")),
        ("DECIMAL", " 1", "BAD_DECIMAL"),
        ("TIME", "1000", dt.time(0, 0, 1)),
        ("TIME", "-1", "WRONG_TYPE"),
        ("TIME", "86400001", "WRONG_TYPE"),
        ("DATE", "10", dt.date(1970, 1, 11)),
        ("DATE", "-10", dt.date(1969, 12, 22)),
        ("TIMESTAMP", "-1", dt.datetime(1969, 12, 31, 23, 59, 59, 999000)),
        *[(kind, "", None) for kind in TYPES],
        *[(kind, '""', None) for kind in TYPES],
        *[(kind, None, None) for kind in TYPES],
    ],
)
def test_fields_read_as_in_ksqldb(kind: str, text: str | bytes | None, expected: Any) -> None:
    assert repr(one(kind, text)) == repr(expected)


def test_bad_rows_leave_the_others_alone() -> None:
    raw = values("1,a", "x,b", None, "", "4,d,e", '"5","e"', "6,f", "\n7,g")
    decoded = decode(raw, PAIR)
    assert decoded.rows.tolist() == [0, 2, 5, 6, 7]
    assert decoded.batch.to_pydict() == {
        "K": [1, None, 5, 6, 7],
        "V": ["a", None, "e", "f", "g"],
    }
    assert [decoded.code(int(row)) for row in decoded.faults] == [
        "WRONG_TYPE",
        "EMPTY_VALUE",
        "WRONG_DIMENSION",
    ]
    assert "field 1" in decoded.reason(1)
    assert "No fields in record" in decoded.reason(3)
    assert "expected: 2, got: 3" in decoded.reason(4)
    assert decoded.reason(0) == ""


def test_reasons_hold_no_value_of_the_record() -> None:
    decoded = decode(values("secret,a", '1,"secret'), PAIR)
    assert decoded.faults.tolist() == [0, 1]
    assert all("secret" not in decoded.reason(row) for row in (0, 1))


def test_a_row_that_is_given_up_leaves_no_null_behind() -> None:
    raw = values("1,a", ",b,c", "2,", ",", None, ',"d', "3,e")
    decoded = decode(raw, PAIR)
    assert decoded.rows.tolist() == [0, 2, 3, 4, 6]
    assert decoded.batch.to_pydict() == {
        "K": [1, 2, None, None, 3],
        "V": ["a", None, None, None, "e"],
    }
    assert [column.null_count for column in decoded.batch.columns] == [2, 3]


@pytest.mark.parametrize("exact", [False, True])
def test_columns_that_are_not_wanted_are_checked_all_the_same(exact: bool) -> None:
    schema = pa.schema([("K", pa.int32()), ("V", pa.string()), ("D", pa.decimal128(4, 1))])
    raw = values("1,a,1.5", "x,b,2", '3,"c",3', "4,d", "5,e,5.55", ",,")
    decoded = decode(raw, schema, only=["V"], exact=exact)
    assert decoded.batch.to_pydict() == {"V": ["a", "c", None]}
    assert [decoded.code(row) for row in range(6)] == [
        *("OK", "WRONG_TYPE", "OK", "WRONG_DIMENSION", "BAD_DECIMAL", "OK")
    ]
    nothing = decode(raw, schema, only=[], exact=exact)
    assert (nothing.batch.num_rows, nothing.batch.num_columns) == (3, 0)


DIGITS = st.text("0123456789", max_size=22)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.floats().map(repr),
            st.integers(0, 2**64 - 1)
            .map(lambda bits: struct.unpack("d", bits.to_bytes(8))[0])
            .map(repr),
            # Half-way between two doubles, and next to it.
            st.builds(
                lambda m, e, by: str((2 * (2**52 + m) + 1 << e) + by),
                st.integers(0, 2**52 - 1),
                st.integers(0, 11),
                st.integers(-1, 1),
            ),
            st.builds(
                lambda sign, whole, point, rest, power: sign + whole + point + rest + power,
                st.sampled_from(["", "-", "+"]),
                DIGITS,
                st.sampled_from(["", "."]),
                DIGITS,
                st.sampled_from(["", "e", "E-"]) | st.integers(-345, 330).map("e{}".format),
            ),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_doubles_are_read_to_the_last_bit(texts: list[str]) -> None:
    schema = pa.schema([("A", pa.string()), ("V", pa.float64())])
    raw = values(*("a," + text for text in texts))
    fast, exact = decode(raw, schema), decode(raw, schema, exact=True)
    assert fast.codes.tolist() == exact.codes.tolist()
    assert repr(fast.batch.column("V").to_pylist()) == repr(exact.batch.column("V").to_pylist())


def test_random_doubles_of_17_digits_read_to_the_last_bit() -> None:
    numbers = np.random.default_rng(444)
    sizes = 10.0 ** numbers.uniform(-300, 300, 50_000)
    finite = np.concatenate([numbers.standard_normal(50_000), -sizes])
    decoded = decode(
        pa.array([b"%.17g" % number for number in finite.tolist()]),
        pa.schema([("V", pa.float64())]),
    )
    assert np.array_equal(decoded.batch.column("V").to_numpy(), finite)


def test_a_byte_order_mark_belongs_to_its_field() -> None:
    schema = pa.schema([("V", pa.string()), ("W", pa.string())])
    raw = values("\ufeffa,b", "\ufeffc,d")
    assert decode(raw, schema).batch.to_pydict()["V"] == ["\ufeffa", "\ufeffc"]


@pytest.mark.parametrize("delimiter", ["|", " ", "\t", "§", "-"])
def test_other_delimiters(delimiter: str) -> None:
    raw = values(delimiter.join(("7", "x,y")), delimiter.join(("8", '"a' + delimiter + 'b"')))
    decoded = decode(raw, PAIR, delimiter)
    assert decoded.batch.to_pydict() == {"K": [7, 8], "V": ["x,y", f"a{delimiter}b"]}


def test_slices_and_empty_chunks() -> None:
    raw = values("0,z", "1,a", "2,b", "3,c")
    assert decode(raw.slice(1, 2), PAIR).batch.to_pydict() == {"K": [1, 2], "V": ["a", "b"]}
    assert decode(raw.slice(0, 0), PAIR).batch.schema == PAIR


def test_many_rows_with_a_few_bad_ones() -> None:
    n = 30_000
    texts = [f"{i},{i / 7!r},name {i}" for i in range(n)]
    texts[5], texts[17_000], texts[29_999] = "5,oops,name", "17000,1", '29999,"1.5","x"'
    schema = pa.schema([("I", pa.int64()), ("X", pa.float64()), ("S", pa.string())])
    decoded = decode(values(*texts), schema)
    assert decoded.faults.tolist() == [5, 17_000]
    assert decoded.batch.column("I").to_numpy().tolist() == decoded.rows.tolist()
    assert decoded.batch.column("X")[-1].as_py() == 1.5
    assert np.array_equal(
        decoded.batch.column("X").to_numpy()[:-1],
        np.array([i / 7 for i in decoded.rows.tolist()[:-1]]),
    )


@pytest.mark.parametrize("bad", [b"x\xff,", b"oops,"])
def test_text_that_is_not_utf8_among_good_rows(bad: bytes) -> None:
    raw = [b"a,1.5"] * 1000
    raw[500] = bad
    schema = pa.schema([("S", pa.string()), ("X", pa.float64())])
    decoded = decode(pa.array(raw, pa.binary()), schema)
    assert decoded.batch.num_rows == 1000
    assert decoded.batch.column("S")[500].as_py() == bad[:-1].decode(errors="replace")


FIELDS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.floats().map(repr),
    st.text(max_size=6),
    st.text('"\n\r, 1ax.\t\ufeff\0', max_size=5),
    st.sampled_from(
        [
            "",
            '""',
            "true",
            "0x1",
            "1d",
            "1e5",
            "+1",
            " 1",
            "1.",
            ".5",
            "-",
            "NaN",
            "nan",
            "inf",
            "1e999",
            "dGV4dA==",
        ]
    ),
)


@st.composite
def raw_rows(draw: st.DrawFn) -> tuple[list[str], list[bytes | None]]:
    kinds = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4))
    row = st.lists(FIELDS, min_size=len(kinds), max_size=len(kinds)).map(
        lambda fields: ",".join(fields).encode("utf-8", "surrogatepass")
    )
    rows = draw(st.lists(st.one_of(row, row, row, st.none(), st.binary(max_size=8)), max_size=6))
    return kinds, rows


@settings(max_examples=400, deadline=None)
@given(raw_rows())
def test_both_paths_give_the_same(case: tuple[list[str], list[bytes | None]]) -> None:
    kinds, rows = case
    schema = pa.schema([(f"C{i}", TYPES[kind]) for i, kind in enumerate(kinds)])
    raw = pa.array(rows, pa.binary())
    fast, exact = decode(raw, schema), decode(raw, schema, exact=True)
    assert fast.codes.tolist() == exact.codes.tolist()
    assert fast.rows.tolist() == exact.rows.tolist()
    for a, b in zip(fast.batch.columns, exact.batch.columns, strict=True):
        # Bit for bit for doubles, so that -0.0 and NaN count; ints for times outside Python's calendar.
        assert repr(_plain(a)) == repr(_plain(b))


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    result: list[Any] = column.to_pylist()
    return result


def written(type_: pa.DataType, *column: Any) -> list[str]:
    """Each value as the record's second field."""
    batch = pa.record_batch({"A": ["a"] * len(column), "V": pa.array(column, type_)})
    return [text.decode()[2:] for text in encode(batch).to_pylist()]


def test_values_are_written_as_ksqldb_writes_them() -> None:
    assert written(pa.bool_(), True, False, None) == ["true", "false", ""]
    assert written(pa.int32(), 1, -1, None) == ["1", "-1", ""]
    assert written(pa.float64(), 1e7, 1.0, -0.001, float("nan")) == [
        "1.0E7",
        "1.0",
        "-0.001",
        "NaN",
    ]
    assert written(pa.binary(), b"variations", b"", None) == ["dmFyaWF0aW9ucw==", "", ""]
    assert written(pa.decimal128(6, 4), Decimal("12.3"), Decimal(0)) == ["12.3000", "0.0000"]
    assert written(pa.decimal128(20, 12), Decimal("1e-12"), Decimal(0), None) == [
        "0.000000000001",
        "0.000000000000",
        "",
    ]
    assert written(pa.date32(), dt.date(1970, 1, 11)) == ["10"]
    assert written(pa.time32("ms"), dt.time(0, 0, 1)) == ["1000"]
    assert written(pa.timestamp("ms"), dt.datetime(1970, 1, 1, 0, 0, 1)) == ["1000"]


@pytest.mark.parametrize(
    ("text", "first", "later"),
    [
        ("plain", "plain", "plain"),
        ("", '""', ""),
        (None, "", ""),
        ("-1.5", '"-1.5"', "-1.5"),
        ("a,b", '"a,b"', '"a,b"'),
        ('say "hi"', '"say ""hi"""', '"say ""hi"""'),
        ("two\nlines", '"two\nlines"', '"two\nlines"'),
        ("cr\r", '"cr\r"', '"cr\r"'),
        ("#note", '"#note"', '"#note"'),
        ("$1", '"$1"', "$1"),
        ("ends ", '"ends "', '"ends "'),
        (" starts", '" starts"', '" starts"'),
        ("in between", "in between", "in between"),
        ("äh", '"äh"', "äh"),
        ("😀", '"😀"', "😀"),
        ("0", "0", "0"),
        ("_x", '"_x"', "_x"),
    ],
)
def test_quotes_as_commons_csv(text: str | None, first: str, later: str) -> None:
    batch = pa.record_batch(
        {"V": pa.array([text], pa.string()), "W": pa.array([text], pa.string())}
    )
    assert encode(batch).to_pylist() == [f"{first},{later}".encode()]


def test_a_leading_negative_number_is_quoted() -> None:
    batch = pa.record_batch({"V": pa.array([-10, 10, None]), "W": pa.array([-1.5, 1.5, None])})
    assert encode(batch).to_pylist() == [b'"-10",-1.5', b"10,1.5", b","]
    infinite = pa.record_batch({"V": pa.array([float("-inf")]), "W": pa.array([1e-7])})
    assert encode(infinite, "-").to_pylist() == [b'"-Infinity"-"1.0E-7"']


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.binary(min_size=1),
        ),
        max_size=5,
    ),
    st.sampled_from([",", "|", " ", "\t", ";"]),
)
def test_what_is_written_reads_back(rows: list[tuple[Any, ...]], delimiter: str) -> None:
    types = [pa.string(), pa.float64(), pa.int64(), pa.binary()]
    schema = pa.schema([(f"C{i}", type_) for i, type_ in enumerate(types)])
    columns = [pa.array([row[i] for row in rows], type_) for i, type_ in enumerate(types)]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    assert decode(encode(batch, delimiter), schema, delimiter).batch.equals(batch)
