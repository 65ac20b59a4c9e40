"""Avro columns and matrices against fastavro, and every fault between two good records."""

from __future__ import annotations

import datetime
import io
import json
import logging
import struct
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradstream.errors import DataError, UnavailableError
from gradstream.wire import codec_avro
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, Schema

ID = 258  # two bytes of it are not zero
Avro = Any


def decoder(*schemas: Avro, kind: str = "AVRO") -> AvroDecoder:
    """Knows the schemas as ID, ID + 1, …; asks no registry."""
    registry = Registry("http://127.0.0.1:9")
    for i, schema in enumerate(schemas):
        registry.remember(Schema(ID + i, kind, json.dumps(schema)))
    return AvroDecoder(registry)


def framed(body: bytes, schema_id: int = ID) -> bytes:
    return b"\0" + struct.pack(">I", schema_id) + body


def written(schema: Avro, value: object, schema_id: int = ID) -> bytes:
    """As fastavro writes it."""
    into = io.BytesIO()
    fastavro.schemaless_writer(into, fastavro.parse_schema(schema), value)
    return framed(into.getvalue(), schema_id)


def record(*fields: tuple[str, Avro]) -> Avro:
    return {
        "type": "record",
        "name": "R",
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }


def values(*given: bytes | None) -> pa.BinaryArray:
    return pa.array(given, pa.binary())


def words(codes: np.ndarray[Any, Any]) -> list[str]:
    return [CODES[code] for code in codes]


# --- Round trips ------------------------------------------------------------------------------------------------

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70)
INTS = st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70)
DOUBLES = st.floats(allow_nan=False)
FLOATS = st.floats(width=32, allow_nan=False)
TEXT = st.text(max_size=12)


def minimal(number: int) -> bytes:
    return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


# Each: the type, the type without its logical type, and values for the latter, which fastavro writes as they are.
SIMPLE: list[tuple[Avro, Avro, st.SearchStrategy[Any]]] = [
    ("boolean", "boolean", st.booleans()),
    ("int", "int", INTS),
    ("long", "long", LONGS),
    ("float", "float", FLOATS),
    ("double", "double", DOUBLES),
    ("string", "string", TEXT),
    ("bytes", "bytes", st.binary(max_size=20)),
    ({"type": "int", "logicalType": "date"}, "int", st.integers(-1000, 100_000)),
    ({"type": "int", "logicalType": "time-millis"}, "int", st.integers(0, 86_399_999)),
    ({"type": "long", "logicalType": "timestamp-millis"}, "long", LONGS),
    ({"type": "long", "logicalType": "timestamp-micros"}, "long", LONGS),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        "bytes",
        st.integers(-(10**9) + 1, 10**9 - 1).map(minimal),
    ),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0},
        "bytes",
        st.integers(-(10**38) + 1, 10**38 - 1).map(minimal),
    ),
]


@st.composite
def types(draw: st.DrawFn, depth: int, names: Any) -> tuple[Avro, Avro, st.SearchStrategy[Any]]:
    """A type, the same without logical types, and its values."""
    kinds = ["simple"] * 6 + ["enum", "fixed", "decimal"] + ["record", "array", "map"] * (depth > 0)
    kind = draw(st.sampled_from(kinds))
    name = f"N{next(names)}"
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=5, unique=True))
        plain: Avro = {"type": "enum", "name": name, "symbols": symbols}
        found = (plain, plain, st.sampled_from(symbols))
    elif kind == "fixed":
        size = draw(st.integers(1, 20))
        plain = {"type": "fixed", "name": name, "size": size}
        found = (plain, plain, st.binary(min_size=size, max_size=size))
    elif kind == "decimal":
        plain = {"type": "fixed", "name": name, "size": 5}
        numbers = st.integers(-(10**9) + 1, 10**9 - 1).map(
            lambda number: number.to_bytes(5, "big", signed=True)
        )
        found = ({**plain, "logicalType": "decimal", "precision": 9, "scale": 3}, plain, numbers)
    elif kind == "record":
        rich, plain, of = draw(records(depth - 1, names))
        found = (rich, plain, of)
    elif kind in ("array", "map"):
        rich, plain, of = draw(types(depth - 1, names))
        key = "items" if kind == "array" else "values"
        many = (
            st.lists(of, max_size=3) if kind == "array" else st.dictionaries(TEXT, of, max_size=3)
        )
        found = ({"type": kind, key: rich}, {"type": kind, key: plain}, many)
    else:
        found = draw(st.sampled_from(SIMPLE))
    match draw(st.sampled_from(["plain", "first", "second"])):
        case "first":
            return ["null", found[0]], ["null", found[1]], st.none() | found[2]
        case "second":
            return [found[0], "null"], [found[1], "null"], found[2] | st.none()
    return found


@st.composite
def records(draw: st.DrawFn, depth: int, names: Any) -> tuple[Avro, Avro, st.SearchStrategy[Any]]:
    name = f"R{next(names)}"
    fields = draw(st.lists(types(depth, names), min_size=1, max_size=5))

    def schema(which: int) -> Avro:
        made = [{"name": f"f{i}", "type": one[which]} for i, one in enumerate(fields)]
        return {"type": "record", "name": name, "fields": made}

    of = st.fixed_dictionaries({f"f{i}": one[2] for i, one in enumerate(fields)})
    return schema(0), schema(1), of


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> tuple[Avro, Avro, list[Any]]:
    rich, plain, of = draw(records(depth, iter(range(10_000))))
    return rich, plain, draw(st.lists(of, min_size=1, max_size=6))


QUIET = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUIET
@given(cases())
def test_columns_of_what_fastavro_wrote_encode_to_the_same_bytes(
    case: tuple[Avro, Avro, list[Any]],
) -> None:
    rich, plain, rows = case
    raw = values(*(written(plain, row) for row in rows))
    decoded = decoder(rich).columns(raw)
    assert words(decoded.codes) == ["OK"] * len(rows)
    assert decoded.rows.tolist() == list(range(len(rows)))
    decoded.batch.validate(full=True)
    assert decoded.batch.schema == codec_avro.arrow_schema(rich)
    assert encode(decoded.batch, rich, ID).to_pylist() == raw.to_pylist()


@QUIET
@given(cases())
def test_columns_hold_the_values_that_were_written(case: tuple[Avro, Avro, list[Any]]) -> None:
    _, plain, rows = case
    raw = values(*(written(plain, row) for row in rows))
    batch = decoder(plain).columns(raw).batch
    expected = pa.array(rows, pa.struct(codec_avro.arrow_schema(plain)))
    assert batch.to_struct_array().equals(expected)


@QUIET
@given(cases(depth=1), st.data())
def test_encode_writes_what_fastavro_reads(
    case: tuple[Avro, Avro, list[Any]], data: st.DataObject
) -> None:
    _, plain, rows = case
    batch = pa.RecordBatch.from_struct_array(
        pa.array(rows, pa.struct(codec_avro.arrow_schema(plain)))
    )
    start = data.draw(st.integers(0, len(rows) - 1))  # a slice starts inside Arrow's buffers
    encoded = encode(batch.slice(start), plain, ID).to_pylist()
    parsed = fastavro.parse_schema(plain)
    read = []
    for one in encoded:
        stream = io.BytesIO(one)
        assert stream.read(5) == framed(b"")
        read.append(fastavro.schemaless_reader(stream, parsed, None))
        assert stream.read() == b""
    assert read == rows[start:]


NUMERIC = st.sampled_from(["int", "long", "float", "double"])


@QUIET
@given(
    st.lists(
        st.tuples(NUMERIC, st.sampled_from(["plain", "first", "second"])), min_size=1, max_size=7
    ),
    st.data(),
)
def test_matrix_holds_the_numbers_of_the_wanted_columns(
    fields: list[tuple[str, str]], data: st.DataObject
) -> None:
    def union(kind: str, how: str) -> Avro:
        return {"plain": kind, "first": ["null", kind], "second": [kind, "null"]}[how]

    schema = record(*((f"f{i}", union(*one)) for i, one in enumerate(fields)), ("t", "string"))
    of = {
        "int": INTS,
        "long": LONGS,
        "float": st.floats(width=32),
        "double": st.floats(),
    }
    row = st.fixed_dictionaries(
        {
            f"f{i}": of[kind] if how == "plain" else st.none() | of[kind]
            for i, (kind, how) in enumerate(fields)
        }
        | {"t": TEXT}
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    wanted = data.draw(st.lists(st.sampled_from([f"f{i}" for i in range(len(fields))]), max_size=8))
    raw = values(*(written(schema, one) for one in rows))
    matrix, codes = decoder(schema).matrix(raw, wanted)
    assert matrix.shape == (len(rows), len(wanted))
    for i, one in enumerate(rows):
        numbers = [one[name] for name in sorted(set(wanted))]
        problems = [
            "NULL_FIELD" if number is None else "NON_FINITE"
            for number in numbers
            if number is None or not np.isfinite(number)
        ]
        assert CODES[codes[i]] == (problems[0] if problems else "OK")
        if not problems:
            assert matrix[i].tolist() == [float(one[name]) for name in wanted]


# --- Faults -----------------------------------------------------------------------------------------------------

WIDE = record(
    ("b", "boolean"),
    ("i", "int"),
    ("d", ["null", "double"]),
    ("s", ["string", "null"]),
    ("e", {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
    ("m", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
    ("a", {"type": "array", "items": "long"}),
)
ROW = {"b": True, "i": 3, "d": 1.5, "s": "2.5", "e": "B", "m": Decimal("12.34"), "a": [1, 2, 3]}
GOOD = written(WIDE, ROW)
# b 01, i 06, d 02 + 8, s 00 06 "2.5", e 02, m 04 04d2, a 06 02 04 06 00
PARTS = {
    "b": b"\x01",
    "i": b"\x06",
    "d": b"\x02" + struct.pack("<d", 1.5),
    "s": b"\x00\x062.5",
    "e": b"\x02",
    "m": b"\x04\x04\xd2",
    "a": b"\x06\x02\x04\x06\x00",
}
LONG_VARINT = b"\xff" * 10 + b"\x01"


def with_part(**other: bytes) -> bytes:
    return framed(b"".join((PARTS | other).values()))


def test_the_parts_are_what_fastavro_writes() -> None:
    assert with_part() == GOOD


FAULTS: dict[str, tuple[bytes | None, str, str]] = {
    "tombstone": (None, "TOMBSTONE", "null"),
    "empty": (b"", "EMPTY_VALUE", "no bytes"),
    "short": (b"\0\0\0", "SHORT_FRAME", "3 bytes"),
    "frame only": (framed(b""), "SHORT_FRAME", "5 bytes"),
    "json": (b'{"a": 1}', "BAD_MAGIC", "looks like JSON"),
    "magic": (b"\x01" + GOOD[1:], "BAD_MAGIC", "0x01"),
    "wrong boolean": (with_part(b=b"\x02"), "BAD_BOOLEAN", "field b"),
    "int of 33 bits": (with_part(i=b"\x80\x80\x80\x80\x20"), "OUT_OF_RANGE", "field i"),
    "long varint": (with_part(i=LONG_VARINT), "TOO_LARGE", "field i"),
    "branch 2": (with_part(d=b"\x04"), "BAD_UNION", "field d"),
    "branch -1": (with_part(s=b"\x01"), "BAD_UNION", "field s"),
    "negative length": (with_part(s=b"\x00\x01"), "TOO_LARGE", "field s"),
    "huge length": (with_part(s=b"\x00\xfe\xff\xff\xff\x0f"), "TOO_LARGE", "field s"),
    "longest length": (with_part(s=b"\x00" + b"\xfe" + b"\xff" * 8 + b"\x01"), "TOO_LARGE", "s"),
    "length beyond the end": (with_part(s=b"\x00\x90\x03"), "TRUNCATED", "field s"),
    "unknown symbol": (with_part(e=b"\x04"), "BAD_ENUM", "field e"),
    "negative symbol": (with_part(e=b"\x01"), "BAD_ENUM", "field e"),
    "more bytes": (GOOD + b"\0", "TRAILING_BYTES", "bytes are left"),
    "items that are not there": (with_part(a=b"\x90\x03\x02"), "TRUNCATED", "field a"),
    "item bomb": (with_part(a=b"\x80\x80\x80\x80\x80\x80\x01"), "TOO_MANY_ITEMS", "field a"),
    "least count": (with_part(a=b"\xff" * 9 + b"\x01"), "TRUNCATED", "field a"),
    "array without end": (GOOD[:-1], "TRUNCATED", "field a"),
    "inside a double": (GOOD[:12], "TRUNCATED", "field d"),
    "after the boolean": (GOOD[:6], "TRUNCATED", "field i"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_record_harms_no_other(name: str) -> None:
    bad, code, why = FAULTS[name]
    raw = values(GOOD, bad, GOOD)
    reader = decoder(WIDE)
    decoded = reader.columns(raw)
    assert words(decoded.codes) == ["OK", code, "OK"]
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.batch.to_pylist() == [ROW, ROW]
    assert why in decoded.reason(1)
    assert decoded.reason(0) == ""
    matrix, codes = reader.matrix(raw, ["i", "d", "s", "m"])
    assert words(codes) == ["OK", code, "OK"]
    assert matrix[[0, 2]].tolist() == [[3, 1.5, 2.5, 12.34]] * 2
    assert why in reader.reasons(raw, 1, int(codes[1]))


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"s": b"\x00\x04\xc3\x28"}, "BAD_UTF8"),
        ({"s": b"\x00\x06\xed\xa0\x80"}, "BAD_UTF8"),
        ({"s": b"\x00\x04\xc0\x80"}, "BAD_UTF8"),
        ({"s": b"\x00\x08\xf4\x90\x80\x80"}, "BAD_UTF8"),
        ({"s": b"\x00\x0421"[:2] + b"\xe2\x82"}, "BAD_UTF8"),
        ({"m": b"\x00"}, "BAD_DECIMAL"),
        ({"m": b"\x04\x27\x10"}, "BAD_DECIMAL"),  # 10000 has five digits
        ({"m": b"\x22\x01" + b"\0" * 16}, "BAD_DECIMAL"),  # 17 bytes
    ],
)
def test_faults_of_columns_alone(parts: dict[str, bytes], code: str) -> None:
    decoded = decoder(WIDE).columns(values(GOOD, with_part(**parts), GOOD))
    assert words(decoded.codes) == ["OK", code, "OK"]
    assert decoded.batch.to_pylist() == [ROW, ROW]
    assert next(iter(parts)) in decoded.reason(1)


@pytest.mark.parametrize(
    ("parts", "columns", "code"),
    [
        ({"d": b"\x00"}, ["d"], "NULL_FIELD"),
        ({"s": b"\x02"}, ["s"], "NULL_FIELD"),
        ({"d": b"\x02" + struct.pack("<d", np.nan)}, ["d"], "NON_FINITE"),
        ({"d": b"\x02" + struct.pack("<d", -np.inf)}, ["d"], "NON_FINITE"),
        ({"d": b"\x02" + struct.pack("<d", 1e300)}, ["d"], "OUT_OF_RANGE"),
        ({"s": b"\x00\x06abc"}, ["s"], "WRONG_TYPE"),
        ({"s": b"\x00\x00"}, ["s"], "WRONG_TYPE"),
        ({"s": b"\x00\x06nan"}, ["s"], "NON_FINITE"),
        ({"s": b"\x00\x081e99"}, ["s"], "OUT_OF_RANGE"),
        ({"m": b"\x00"}, ["m"], "BAD_DECIMAL"),
    ],
)
def test_faults_of_a_matrix_alone(parts: dict[str, bytes], columns: list[str], code: str) -> None:
    raw = values(GOOD, with_part(**parts), GOOD)
    reader = decoder(WIDE)
    _, codes = reader.matrix(raw, columns, np.float32)
    assert words(codes) == ["OK", code, "OK"]
    assert f"field {columns[0]}" in reader.reasons(raw, 1, int(codes[1]))
    _, codes = reader.matrix(raw, ["i"], np.float32)  # not wanted, so not judged
    assert words(codes) == ["OK", "OK", "OK"]


@pytest.mark.parametrize(
    ("columns", "code", "why"),
    [
        (["i", "nowhere"], "MISSING_FIELD", "column nowhere is missing"),
        (["b"], "WRONG_TYPE", "column b is boolean"),
        (["e"], "WRONG_TYPE", "column e is enum"),
        (["a"], "WRONG_TYPE", "column a is array"),
    ],
)
def test_a_column_that_no_record_of_the_schema_can_give(
    columns: list[str], code: str, why: str
) -> None:
    other = written(record(("i", "int"), ("nowhere", "double")), {"i": 1, "nowhere": 2.0}, ID + 1)
    reader = decoder(WIDE, record(("i", "int"), ("nowhere", "double")))
    raw = values(GOOD, other)
    _, codes = reader.matrix(raw, columns)
    assert CODES[codes[0]] == code
    assert why in reader.reasons(raw, 0, int(codes[0]))
    if "nowhere" in columns:
        assert CODES[codes[1]] == "OK"


def test_a_schema_of_another_type() -> None:
    raw = values(GOOD)
    reader = decoder({"type": "object"}, kind="JSON")
    decoded = reader.columns(raw)
    assert words(decoded.codes) == ["WRONG_SCHEMA_TYPE"]
    assert "JSON" in decoded.reason(0)


NODE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
DEEP: Avro = "int"
for _ in range(60):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        (NODE, "TOO_DEEP"),
        (record(("x", DEEP)), "TOO_DEEP"),
        (record(("x", {"type": "array", "items": "null"})), "TOO_MANY_ITEMS"),
        (record(("x", {"type": "array", "items": record() | {"name": "E"}})), "TOO_MANY_ITEMS"),
    ],
)
def test_a_schema_that_could_hang_or_crash_us_is_a_fault_of_its_records(
    schema: Avro, code: str
) -> None:
    good = record(("x", "int"))
    raw = values(framed(b"\x02" * 20, ID), framed(b"\x02", ID + 1))
    decoded = decoder(schema, good).columns(raw)
    assert words(decoded.codes) == [code, "OK"]
    assert "schema 258" in decoded.reason(0)


def test_a_schema_that_doubles_with_each_level_is_refused() -> None:
    schema: Avro = "int"
    for level in range(28):
        name = f"L{level}"
        schema = {
            "type": "record",
            "name": name,
            "fields": [
                {"name": "a", "type": schema},
                {"name": "b", "type": f"L{level - 1}" if level else "int"},
            ],
        }
    decoded = decoder(schema).columns(values(framed(b"\x02" * 20)))
    assert words(decoded.codes) == ["TOO_LARGE"]


def test_reasons_hold_no_value_of_the_record() -> None:
    canary = b"CANARY"
    for bad in (
        with_part(s=b"\x00\x0c" + canary),
        with_part(s=b"\x00\x0e" + canary + b"\xff"),
        canary,
        framed(b"\x01" + canary),
    ):
        raw = values(bad)
        reader = decoder(WIDE)
        for reason in (
            reader.columns(raw).reason(0),
            reader.reasons(raw, 0, int(reader.matrix(raw, ["s"])[1][0])),
        ):
            assert "CANARY" not in reason


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_bytes_and_mutations_never_crash_and_agree_with_fastavro(
    data: st.DataObject,
) -> None:
    body = bytearray(GOOD[5:])
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(body)))
    body = body[:cut] + data.draw(st.binary(max_size=6))
    raw = values(GOOD, framed(bytes(body)), GOOD)
    reader = decoder(WIDE)
    decoded = reader.columns(raw)
    assert decoded.codes[[0, 2]].tolist() == [0, 0]
    decoded.batch.validate(full=True)
    _, codes = reader.matrix(raw, ["i", "d", "s", "m"])
    assert codes[[0, 2]].tolist() == [0, 0]
    if decoded.codes[1] == 0:
        read = fastavro.schemaless_reader(
            io.BytesIO(bytes(body)), fastavro.parse_schema(WIDE), None
        )
        mine = decoded.batch.to_pylist()[1]
        assert repr(mine) == repr(read)


def test_a_flood_of_random_bytes() -> None:
    rng = np.random.default_rng(7)
    raw = values(
        *(
            framed(GOOD[5 : 5 + int(sound)] + rng.bytes(int(size)))
            for sound, size in rng.integers([0, 1], [24, 60], (4000, 2))
        ),
        *(b"{" + rng.bytes(int(size)) for size in rng.integers(0, 60, 1000)),
    )
    reader = decoder(WIDE)
    decoded = reader.columns(raw)
    decoded.batch.validate(full=True)
    assert len(decoded.rows) == decoded.batch.num_rows == int((decoded.codes == 0).sum())
    _, codes = reader.matrix(raw, ["i", "d", "s", "m"])
    assert len(set(words(codes))) > 8


# --- Several schemas, selection, kinds --------------------------------------------------------------------------


def test_several_schemas_in_one_chunk_keep_their_order_and_widen() -> None:
    old, new = (
        record(("a", "int"), ("gone", "string")),
        record(("new", ["null", "long"]), ("a", "double")),
    )
    raw = values(
        written(new, {"new": 5, "a": 0.5}, ID + 1),
        written(old, {"a": 1, "gone": "x"}, ID),
        framed(b"\x02", ID)[:6],
        written(new, {"new": None, "a": 2.5}, ID + 1),
    )
    reader = decoder(old, new)
    decoded = reader.columns(raw)
    assert words(decoded.codes) == ["OK", "OK", "TRUNCATED", "OK"]
    assert decoded.rows.tolist() == [0, 1, 3]
    assert decoded.batch.schema.field("a").type == pa.float64()
    assert decoded.batch.to_pylist() == [
        {"a": 0.5, "gone": None, "new": 5},
        {"a": 1.0, "gone": "x", "new": None},
        {"a": 2.5, "gone": None, "new": None},
    ]
    matrix, codes = reader.matrix(raw, ["a"])
    assert matrix[[0, 1, 3], 0].tolist() == [0.5, 1.0, 2.5]
    _, codes = reader.matrix(raw, ["new", "a"])
    assert words(codes) == ["OK", "MISSING_FIELD", "MISSING_FIELD", "NULL_FIELD"]


def test_a_column_that_changes_beyond_widening_is_wrong_for_the_older_rows() -> None:
    old, new = record(("a", "string")), record(("a", "int"))
    raw = values(
        written(old, {"a": "x"}),
        written(new, {"a": 1}, ID + 1),
    )
    decoded = decoder(old, new).columns(raw)
    assert words(decoded.codes) == ["WRONG_TYPE", "OK"]
    assert decoded.batch.to_pylist() == [{"a": 1}]
    assert "other schemas" in decoded.reason(0)


def test_columns_are_chosen_by_name_exactly_and_then_in_any_case() -> None:
    schema = record(("Ab", "int"), ("AB", "long"), ("Time", "double"))
    raw = values(written(schema, {"Ab": 1, "AB": 2, "Time": 3.0}))
    reader = decoder(schema)
    matrix, _ = reader.matrix(raw, ["AB", "TIME", "Ab", "AB"])
    assert matrix.tolist() == [[2, 3, 1, 2]]
    assert words(reader.matrix(raw, ["ab"])[1]) == ["MISSING_FIELD"]


def test_nested_records_are_flat_in_a_matrix() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "float"}]}
    schema = record(("p", ["null", inner]), ("q", "I"), ("y", "double"))
    raw = values(
        written(schema, {"p": {"x": 0.5}, "q": {"x": 1.5}, "y": 2.0}),
        written(schema, {"p": None, "q": {"x": 1.5}, "y": 2.0}),
    )
    reader = decoder(schema)
    matrix, codes = reader.matrix(raw, ["y", "p.x", "q.x"])
    assert matrix[0].tolist() == [2.0, 0.5, 1.5]
    assert words(codes) == ["OK", "NULL_FIELD"]
    assert words(reader.matrix(raw, ["q.x"])[1]) == ["OK", "OK"]
    assert codec_avro.numeric_columns(schema) == ["p.x", "q.x", "y"]


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "1",
        "-1",
        "+2",
        "0.5",
        ".5",
        "5.",
        "1e3",
        "1E-3",
        "123456789012345",
        "9007199254740993",
        "0.1",
        "1.7976931348623157e308",
        "3.14159265358979323846",
        "1e-320",
        "1e22",
        "1e23",
        "00012",
        "0.30000000000000004",
        "-0",
    ],
)
def test_numbers_in_text_are_read_to_the_last_bit(text: str) -> None:
    schema = record(("s", ["null", "string"]))
    matrix, codes = decoder(schema).matrix(values(written(schema, {"s": text})), ["s"])
    assert words(codes) == ["OK"]
    assert struct.pack("d", matrix[0, 0]) == struct.pack("d", float(text))


@pytest.mark.parametrize(
    "text", ["", "+", ".", "e5", "1e", "1e+", "1 ", " 1", "1_0", "0x1", "1.2.3", "١"]
)
def test_text_that_is_no_number(text: str) -> None:
    schema = record(("s", "string"))
    _, codes = decoder(schema).matrix(values(written(schema, {"s": text})), ["s"])
    assert words(codes) == ["WRONG_TYPE"]


def test_dates_and_times_become_arrows_own() -> None:
    schema = record(
        ("d", {"type": "int", "logicalType": "date"}),
        ("t", {"type": "int", "logicalType": "time-millis"}),
        ("ms", {"type": "long", "logicalType": "timestamp-millis"}),
        ("us", {"type": "long", "logicalType": "timestamp-micros"}),
    )
    when = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
    row = {"d": when.date(), "t": when.time(), "ms": when, "us": when}
    batch = pa.RecordBatch.from_pylist([row], codec_avro.arrow_schema(schema))
    zoned = batch.set_column(2, "ms", batch.column("ms").cast(pa.timestamp("ms", "Asia/Tokyo")))
    raw = encode(batch, schema, ID)
    utc = {
        key: one.replace(tzinfo=datetime.UTC) if key in ("ms", "us") else one
        for key, one in row.items()
    }
    assert raw[0].as_py() == written(schema, utc)
    assert decoder(schema).columns(raw).batch.to_pylist() == [row]
    shifted = decoder(schema).columns(encode(zoned, schema, ID)).batch.to_pylist()[0]["ms"]
    assert shifted == zoned.column("ms").cast(pa.timestamp("ms", "UTC"))[0].as_py().replace(
        tzinfo=None
    )


def test_a_time_outside_its_day_is_out_of_range() -> None:
    """Arrow has no place for one, so the record is at fault and the others stay."""
    millis, micros = (
        {"type": "int", "logicalType": "time-millis"},
        {"type": "long", "logicalType": "time-micros"},
    )
    schema = record(
        ("m", millis), ("u", ["null", micros]), ("a", {"type": "array", "items": millis})
    )
    plain = record(("m", "int"), ("u", ["null", "long"]), ("a", {"type": "array", "items": "int"}))
    day = 24 * 60 * 60 * 1000
    good = [(0, None, []), (day - 1, day * 1000 - 1, [0, day - 1])]
    bad = [(day, None, []), (-1, None, []), (0, -1, []), (0, day * 1000, []), (0, 0, [5, day])]
    rows = [dict(zip("mua", row, strict=True)) for row in (good[0], *bad, good[1])]
    raw = values(*(written(plain, row) for row in rows))
    decoded = decoder(schema).columns(raw)
    decoded.batch.validate(full=True)
    assert words(decoded.codes) == ["OK", *["OUT_OF_RANGE"] * len(bad), "OK"]
    assert decoded.batch.column("m").cast(pa.int32()).to_pylist() == [0, day - 1]
    numbers, codes = decoder(schema).matrix(raw, ["m"])
    assert words(codes) == [*["OK"] * 5, "OUT_OF_RANGE", "OK"]
    assert numbers[:3, 0].tolist() == [0, day, -1]


def test_a_bare_type_is_one_column() -> None:
    for schema, given_ in (("long", 7), (["null", "string"], None), ("string", "key")):
        raw = values(written(schema, given_))
        batch = decoder(schema).columns(raw if given_ is not None else values(framed(b"\0"))).batch
        assert batch.to_pylist() == [{"value": given_}]
        renamed = batch.rename_columns(["ROWKEY"])
        assert encode(renamed, schema, ID).to_pylist() == raw.to_pylist()


def test_unions_of_several_types(caplog: pytest.LogCaptureFixture) -> None:
    schema = record(
        ("n", ["null", "int", "double"]),
        ("x", ["string", "null", "boolean", "bytes"]),
        ("k", "int"),
    )
    rows = [
        {"n": 1, "x": "a", "k": 1},
        {"n": 2.5, "x": None, "k": 2},
        {"n": None, "x": True, "k": 3},
    ]
    raw = values(*(written(schema, row) for row in rows))
    reader = decoder(schema)
    with caplog.at_level(logging.INFO):
        reader.columns(raw)
        decoded = reader.columns(raw)
    said = [one.message for one in caplog.records if "value by value" in one.message]
    assert len(said) == 2  # once for each of the two columns
    assert decoded.batch.to_pylist() == [
        {"n": 1.0, "x": "a", "k": 1},
        {"n": 2.5, "x": None, "k": 2},
        {"n": None, "x": "true", "k": 3},
    ]
    assert reader.matrix(raw, ["k"])[0].tolist() == [[1], [2], [3]]
    matrix, codes = reader.matrix(raw, ["k", "n"])
    assert words(codes) == ["OK", "OK", "NULL_FIELD"]
    assert matrix[:2].tolist() == [[1, 1.0], [2, 2.5]]
    assert words(reader.matrix(values(framed(b"\x06\x00")), ["n"])[1]) == ["BAD_UNION"]
    assert words(reader.matrix(raw, ["x"])[1]) == ["WRONG_TYPE"] * 3


def test_only_the_wanted_columns() -> None:
    decoded = decoder(WIDE).columns(values(GOOD), only=["s", "i"])
    assert decoded.batch.to_pylist() == [{"i": 3, "s": "2.5"}]


def test_no_values_at_all() -> None:
    reader = decoder(WIDE)
    assert reader.columns(values()).batch.num_rows == 0
    matrix, codes = reader.matrix(values(), ["i", "d"])
    assert matrix.shape == (0, 2)
    assert codes.shape == (0,)
    assert words(reader.columns(values(None, b"")).codes) == ["TOMBSTONE", "EMPTY_VALUE"]
    assert len(encode(pa.RecordBatch.from_pylist([], codec_avro.arrow_schema(WIDE)), WIDE, ID)) == 0


def test_a_slice_of_values_is_read_from_its_start() -> None:
    raw = values(None, GOOD, with_part(i=b"\x08"), None, GOOD).slice(2)
    matrix, codes = decoder(WIDE).matrix(raw, ["i"])
    assert words(codes) == ["OK", "TOMBSTONE", "OK"]
    assert matrix[[0, 2], 0].tolist() == [4, 3]
    decoded = decoder(WIDE).columns(raw)
    assert decoded.batch.column("i").to_pylist() == [4, 3]


def test_a_registry_that_is_down_judges_no_record_but_frames_are_judged_first() -> None:
    reader = decoder()
    assert words(reader.columns(values(b"{}", None)).codes) == ["BAD_MAGIC", "TOMBSTONE"]
    with pytest.raises(UnavailableError, match="REGISTRY_UNREACHABLE"):
        reader.matrix(values(GOOD), ["i"])


# --- Encoding: what cannot be written ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind", "code", "why"),
    [
        (pa.array([1, None]), "long", "NULL_FIELD", "row 1"),
        (pa.array(["a"]), "long", "WRONG_TYPE", "column x"),
        (pa.array([1]), "string", "WRONG_TYPE", "column x"),
        (pa.array([2**40]), "int", "WRONG_TYPE", "column x"),
        (pa.array([1.5]), "int", "WRONG_TYPE", "column x"),
        (
            pa.array(["A", "Z"]),
            {"type": "enum", "name": "E", "symbols": ["A"]},
            "BAD_ENUM",
            "row 1",
        ),
        (
            pa.array([[1], ["b"]][:1]),
            {"type": "array", "items": "string"},
            "WRONG_TYPE",
            "column x",
        ),
    ],
)
def test_what_the_schema_cannot_hold(column: pa.Array, kind: Avro, code: str, why: str) -> None:
    with pytest.raises(DataError, match=why) as error:
        encode(pa.record_batch({"x": column}), record(("x", kind)), ID)
    assert error.value.code == code


def test_missing_and_unknown_columns() -> None:
    schema = record(("x", "int"), ("y", ["null", "int"]))
    only_x = pa.record_batch({"X": pa.array([1], pa.int32())})
    assert encode(only_x, schema, ID).to_pylist() == [framed(b"\x02\x00")]
    with pytest.raises(DataError, match="MISSING_FIELD"):
        encode(pa.record_batch({"y": pa.array([1])}), schema, ID)
    with pytest.raises(DataError, match="UNKNOWN_COLUMN"):
        encode(pa.record_batch({"x": pa.array([1]), "z": pa.array([1])}), schema, ID)


def test_a_schema_that_is_none() -> None:
    for text in (
        "{",
        '{"type": "recod"}',
        '{"type":"record","name":"R","fields":[{"name":"x"}]}',
        "[]",
    ):
        with pytest.raises(DataError, match="INVALID_SCHEMA"):
            codec_avro.numeric_columns(text)


def test_default_features_are_the_numbers() -> None:
    assert codec_avro.numeric_columns(WIDE) == ["i", "d", "m"]
    kinds = codec_avro.schema_columns(WIDE)
    assert kinds["s"] == "string"
    assert kinds["m"] == "decimal"
