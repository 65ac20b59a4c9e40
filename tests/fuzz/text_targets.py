"""What is fuzzed of DELIMITED, JSON and Java's numbers: rows alone and beside others, both paths, and Python's float."""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from gradstream.wire import codec_delimited, codec_json, java_text
from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import CODES
from tests.fuzz.guarded import Rooms

LONGEST = 4096
TYPES: dict[str, pa.DataType] = {
    "B": pa.bool_(),
    "I": pa.int32(),
    "L": pa.int64(),
    "D": pa.float64(),
    "S": pa.string(),
    "Y": pa.binary(),
    "M": pa.decimal128(12, 4),
    "T": pa.time32("ms"),
    "A": pa.date32(),
    "U": pa.timestamp("ms"),
}
FLAT = pa.schema(list(TYPES.items()))
PLAIN = pa.schema([("X", pa.float64()), ("S", pa.string()), ("Y", pa.float64())])
DEEP = pa.schema(
    [
        *TYPES.items(),
        ("LIST", pa.list_(pa.int32())),
        ("MAP", pa.map_(pa.string(), pa.float64())),
        ("STRUCT", pa.struct([("X", pa.string()), ("Z", pa.list_(pa.decimal128(6, 2)))])),
    ]
)
ROW = b"true,1,-2,0.30000000000000004,text,dGV4dA==,12.5,1000,10,-1"
OBJECT = (
    b'{"B":true,"I":1,"L":-2,"d":1e5,"S":"t\\u00e4","Y":"dGV4dA==","M":12.5,"T":1000,"A":10,"U":-1,'
    b'"LIST":[1,null],"MAP":{"k":1.5},"STRUCT":{"X":null,"Z":[1,"2.5"]}}'
)


def stored(batch: pa.RecordBatch) -> list[Any]:
    """Rows with numbers for dates and times, which may be out of Python's calendar."""
    columns = []
    for column in batch.columns:
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
        columns.append(column)
    rows: list[Any] = pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
    return rows


def sound(decoded: Decoded, n: int) -> list[str]:
    """That the parts of a result fit each other; its codes."""
    decoded.batch.validate(full=True)
    assert len(decoded.codes) == n
    assert decoded.rows.tolist() == [row for row in range(n) if decoded.codes[row] == 0]
    assert decoded.batch.num_rows == len(decoded.rows)
    return [CODES[code] for code in decoded.codes]


class Delimited:
    """codec_delimited.decode: a row has one result, on either path, alone and beside others."""

    seeds = (b"0" + ROW, b'1"1",a,"2"', b"1nan,1d,0x1p3", b'0"tr""ue",1\n,2', b"1,,", b"1\xef\xbb\xbf,\xff,1")  # fmt: skip

    def __init__(self) -> None:
        self.rooms = Rooms(3, LONGEST)

    def __call__(self, data: bytes) -> Iterable[int]:
        schema, good = (FLAT, ROW) if data[:1] == b"0" else (PLAIN, b"1.5,x,2.5")
        delimiter = "," if len(data) % 5 else "|\t ;-"[len(data) // 5 % 5]
        row = data[1:LONGEST]
        raw = self.rooms.values([row, good.replace(b",", delimiter.encode()), row[: len(row) // 2]])
        whole = codec_delimited.decode(raw, schema, delimiter)  # with nulls between the rows
        exact = codec_delimited.decode(raw, schema, delimiter, exact=True)
        assert sound(whole, 5) == sound(exact, 5)
        assert repr(stored(whole.batch)) == repr(stored(exact.batch))
        alone = codec_delimited.decode(raw.slice(0, 1), schema, delimiter)
        assert sound(alone, 1) == sound(whole, 5)[:1]
        assert repr(stored(alone.batch)) == repr(stored(whole.batch)[: alone.batch.num_rows])
        if alone.batch.num_rows:
            written = codec_delimited.encode(alone.batch, delimiter)
            again = codec_delimited.decode(written, schema, delimiter)
            assert sound(again, 1) == ["OK"]
        assert isinstance(whole.reason(0), str)
        return [int(whole.codes[0]) + 64 * len(delimiter.strip())]


class Json:
    """codec_json.decode: a row has one result, alone and beside others, and is written as it was read."""

    seeds = (b"0" + OBJECT, b"1" + OBJECT, b'0{"D":1e400,"I":1.5,"S":[1,{"a":null}]}', b"0null", b"0[]", b'1"x"', b"0" + b"[" * 300)  # fmt: skip

    def __init__(self) -> None:
        self.rooms = Rooms(1, 2 * LONGEST + 600)

    def __call__(self, data: bytes) -> Iterable[int]:
        wrapped = data[:1] != b"1"
        schema = DEEP if wrapped else pa.schema([DEEP.field(len(data) % len(DEEP))])
        rows = [OBJECT if wrapped else b"null", data[1:LONGEST], None]
        whole = codec_json.decode(self.rooms.together(rows), schema, wrapped=wrapped)
        codes = sound(whole, 3)
        assert codes[0] == codes[2] == "OK"
        alone = codec_json.decode(self.rooms.together(rows[1:2]), schema, wrapped=wrapped)
        assert sound(alone, 1) == codes[1:2]
        assert repr(stored(alone.batch)) == repr(stored(whole.batch)[1:-1])
        written = codec_json.encode(whole.batch, wrapped=wrapped)
        again = codec_json.decode(written, schema, wrapped=wrapped)
        assert set(sound(again, whole.batch.num_rows)) == {"OK"}
        assert repr(stored(again.batch)) == repr(stored(whole.batch))
        assert isinstance(whole.reason(1), str)
        return [int(whole.codes[1]) + 64 * wrapped]


class JavaText:
    """java_text's parsers take a text or raise ValueError; what they take and Python's float takes is the same number."""

    seeds = (b"1.5", b"0x1.8p3", b"1d", b"-Infinity", b"9223372036854775807", b"1e-400", "٣".encode(), b"1" * 300, b" 1 ")  # fmt: skip

    def __call__(self, data: bytes) -> Iterable[int]:
        text = data.decode("utf-8", "replace")
        found = [self._double(text), *(self._integer(text, bits) for bits in (32, 64))]
        found.append(self._decimal(text))
        return [sum(taken << place for place, taken in enumerate(found))]

    def _double(self, text: str) -> bool:
        try:
            number = java_text.parse_double(text)
        except ValueError:
            return False
        assert java_text.parse_double(java_text.double_text(number)) == number or math.isnan(number)
        texts = java_text.double_texts(pa.array([number, None]))
        assert texts.to_pylist() == [java_text.double_text(number), None]
        trimmed = text.strip("".join(map(chr, range(33))))
        if "x" not in trimmed.lower() and trimmed[-1] not in "dDfF":
            assert repr(float(trimmed)) == repr(number)
        return True

    def _integer(self, text: str, bits: int) -> bool:
        try:
            number = java_text.parse_integer(text, bits)
        except ValueError:
            return False
        assert -(1 << bits - 1) <= number < 1 << bits - 1
        assert len(text) > 4000 or number == int(text)
        return True

    def _decimal(self, text: str) -> bool:
        try:
            taken = decimal.Decimal(java_text.parse_decimal(text))
            java_text.fitted(taken, pa.decimal128(12, 4))
        except (ValueError, decimal.InvalidOperation):
            return False
        return True
