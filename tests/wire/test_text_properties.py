"""DELIMITED and JSON against Python's own readers, and the codes of both."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gradstream.wire import codec_delimited, codec_json
from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import CODES

PAIR = pa.schema([("I", pa.int64()), ("X", pa.float64())])
TEXTS = pa.schema([("A", pa.string()), ("B", pa.string()), ("C", pa.string())])
# What Python's float and Java's parseDouble read alike: digits, a point, an exponent.
DIGITS = st.tuples(st.integers(), st.integers(0), st.integers(-330, 330)).map(
    lambda one: f"{one[0]}.{one[1]}E{one[2]}"
)
SEVENTEEN = st.floats(allow_nan=False, allow_infinity=False).map("{:.17g}".format)
HALFWAY = st.tuples(st.integers(2**53, 2**54), st.integers(-300, 300)).map(
    lambda one: f"{one[0]}5e{one[1]}"  # one digit more than a double holds
)
NUMBERS = st.lists(DIGITS | SEVENTEEN | HALFWAY, min_size=1, max_size=30)
FIELDS = st.text(max_size=8) | st.text('",\n\r;ab ', max_size=6)


def bits(number: float | None) -> bytes:
    return struct.pack("d", number)


@given(NUMBERS)
def test_doubles_of_delimited_text_are_python_s_to_the_bit(texts: list[str]) -> None:
    raw = pa.array([f"{i},{text}".encode() for i, text in enumerate(texts)], pa.binary())
    decoded = codec_delimited.decode(raw, PAIR)
    assert not decoded.codes.any()
    assert decoded.batch.column("I").to_pylist() == list(range(len(texts)))
    found = decoded.batch.column("X").to_pylist()
    assert list(map(bits, found)) == [bits(float(text)) for text in texts]


@given(NUMBERS)
def test_doubles_of_json_are_python_s_but_for_the_sign_of_zero(texts: list[str]) -> None:
    sound = [text for text in texts if _is_json(text)]
    raw = pa.array([f'{{"I": 1, "X": {text}}}'.encode() for text in sound], pa.binary())
    decoded = codec_json.decode(raw, PAIR)
    assert not decoded.codes.any()
    found = decoded.batch.column("X").to_pylist()
    assert list(map(bits, found)) == [bits(float(text) + 0.0) for text in sound]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@given(
    st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([",", ";", "|", "\t"]),
)
def test_what_python_s_csv_writes_is_read(
    rows: list[tuple[str, str, str]], quoting: Any, delimiter: str
) -> None:
    raw = []
    for row in rows:
        into = io.StringIO()
        csv.writer(into, quoting=quoting, delimiter=delimiter).writerow(row)
        raw.append(into.getvalue().removesuffix("\r\n").encode("utf-8", "replace"))
    decoded = codec_delimited.decode(pa.array(raw, pa.binary()), TEXTS, delimiter)
    assert not decoded.codes.any()
    expected = [[text.encode("utf-8", "replace").decode() or None for text in row] for row in rows]
    assert [list(row.values()) for row in decoded.batch.to_pylist()] == expected


# --- Neighbours and codes ---------------------------------------------------------------------------------------

EVERY = pa.schema(
    [("B", pa.bool_()), ("I", pa.int32()), ("X", pa.float64()), ("S", pa.string()), ("M", pa.decimal128(6, 2)), ("T", pa.time32("ms"))]
)  # fmt: skip
ROWS = [
    b"true,1,2.5,x,1.25,5", b',,,"quo""ted",,', b"x,y", b"true,1.5,2,x,1,1", b"", b'"open,1', b"true,1,1e5,x,123456,1",
    b"true,1,1,x,1,86400001", b"\xff,1,1,\xff,1,1", b"true,1,0x1p3,x,1,1", b"true,2147483648,1,x,1,1", b'a,1,1,"x"y,1,1',
]  # fmt: skip
OBJECTS = [
    b'{"B":true,"I":1,"X":2.5,"S":"x","M":1.25,"T":5}', b'{"i":1}', b"{}", b"null", b"[]", b"{", b"", b'{"S":"\xff"}',
    b'{"B":1}', b'{"I":"x"}', b'{"I":1e99999}', b'{"M":12345678}', b'{"T":-1}', b'{"S":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"I":4294967297,"X":"1d","S":{"a":[1,null]}}', b'{"X":1e999}',
]  # fmt: skip


def by_row(decoded: Decoded) -> list[tuple[str, str]]:
    """(code, values) of each row."""
    rows: list[tuple[str, str]] = [(CODES[code], "") for code in decoded.codes]
    times = decoded.batch.column("T").cast(pa.int32())  # Python's calendar ends before ksqlDB's
    batch = decoded.batch.set_column(5, "T", times)
    for place, row in zip(decoded.rows.tolist(), batch.to_pylist(), strict=True):
        rows[place] = ("OK", repr(row))
    return rows


@given(st.permutations(ROWS), st.permutations(OBJECTS), st.integers(0, 4), st.data())
def test_a_row_is_read_alike_whatever_stands_beside_it(
    rows: list[bytes], objects: list[bytes], start: int, data: st.DataObject
) -> None:
    for texts, decode in ((rows, codec_delimited.decode), (objects, codec_json.decode)):
        place = data.draw(st.integers(start, len(texts) - 1))
        raw = pa.array([*texts[:place], None, *texts[place:]], pa.binary())
        beside = by_row(decode(raw.slice(start), EVERY))
        assert beside == [alone(decode, value) for value in raw.slice(start).to_pylist()]


@cache
def alone(decode: Callable[..., Decoded], value: bytes | None) -> tuple[str, str]:
    return by_row(decode(pa.array([value], pa.binary()), EVERY))[0]


def test_every_code_of_text_is_reached() -> None:
    delimited = codec_delimited.decode(pa.array(ROWS, pa.binary()), EVERY)
    objects = codec_json.decode(pa.array(OBJECTS, pa.binary()), EVERY)
    reached = Counter(CODES[code] for code in np.concatenate([delimited.codes, objects.codes]))
    expected = "OK EMPTY_VALUE BAD_TEXT BAD_UTF8 WRONG_DIMENSION WRONG_TYPE BAD_DECIMAL OUT_OF_RANGE TOO_DEEP"
    assert set(reached) == set(expected.split())
