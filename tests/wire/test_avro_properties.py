"""The Avro codec against two judges: fastavro, and tests/wire/avro_judge.py, which knows every fault's code.

Damage and neighbours, slices and schemas are drawn by Hypothesis; ``pytest --hypothesis-profile thorough`` draws many
times as many examples as the suite does (tests/examples.py).
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradstream.wire import codec_avro
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, Schema, UnknownSchema
from tests.wire import avro_judge as judge
from tests.wire.avro_cases import (
    HOSTILE,
    HOSTILE_VARINTS,
    Case,
    body,
    cases,
    damage,
    pieces,
    varint,
)
from tests.wire.avro_examples import FLAT, NESTED
from tests.wire.avro_judge import Avro, Fault, Types

ID = 258
BLOCKS = st.sampled_from(["one", "sized", "single"])
Value = bytes | None


class Known(Registry):
    """Knows some schemas and asks nobody for others."""

    def __init__(self, *schemas: Avro, kind: str = "AVRO", members: Sequence[int] = ()) -> None:
        super().__init__("http://127.0.0.1:9")
        for i, schema in enumerate(schemas):
            self.remember(Schema(ID + i, kind, json.dumps(schema)))
        self.members = members

    def remember_text(self, text: str) -> None:
        self.remember(Schema(ID, "AVRO", text))

    def schema(self, schema_id: int) -> Schema:
        if (found := self._schemas.get(schema_id)) is None:
            raise UnknownSchema("UNKNOWN_SCHEMA_ID", f"no schema {schema_id}")
        return found

    def has(self, subject: str, schema_id: int) -> bool:
        return schema_id in self.members


def framed(record: bytes, schema_id: int = ID) -> bytes:
    return b"\0" + struct.pack(">I", schema_id) + record


def words(codes: Any) -> list[str]:
    return [CODES[code] for code in codes]


def without_logical(schema: Avro) -> Avro:
    """The schema as fastavro has to read it to give what is stored."""
    if isinstance(schema, list):
        return [without_logical(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: [without_logical(one) for one in inner]
        if key == "fields"
        else without_logical(inner)
        if key in ("type", "items", "values")
        else inner
        for key, inner in schema.items()
        if key != "logicalType"
    }


def read_by_fastavro(schema: Avro, record: bytes) -> Any:
    """What fastavro makes of a record, all of whose bytes it must have used; any of its errors."""
    stream = io.BytesIO(record)
    found = fastavro.schemaless_reader(stream, fastavro.parse_schema(without_logical(schema)), None)
    assert stream.tell() == len(record)
    return found


def rows_of(batch: pa.RecordBatch) -> list[Any]:
    """Rows in the judge's words: dates and times as numbers."""
    plain = pa.schema([pa.field(one.name, _stored(one.type)) for one in batch.schema])
    columns = [column.cast(one.type) for column, one in zip(batch.columns, plain, strict=True)]
    rows: list[Any] = pa.RecordBatch.from_arrays(columns, schema=plain).to_pylist()
    return rows


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_stored(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _stored(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, _stored(one.type)) for one in kind])
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    return kind


def verdict(types: Types, value: Value) -> tuple[str, Any]:
    """The judge's: the code, and the row where it is good."""
    try:
        schema_id, record = judge.unframed(value)
        if schema_id != ID:
            return "UNKNOWN_SCHEMA_ID", None
        return "OK", judge.columns(types, record)
    except Fault as fault:
        return fault.code, None


def array_of(values: list[Value], before: list[Value], after: list[Value]) -> pa.BinaryArray:
    """The values as a slice of a longer array."""
    whole = pa.array([*before, *values, *after], pa.binary())
    return whole.slice(len(before), len(values))


STRANGERS = st.sampled_from(
    [None, b"", b"\0", b"\0\0\0\1\2", b'{"a": 1}', b"\1" + framed(b"\2\2"), framed(b"\2\2", 7)]
)


@st.composite
def chunks(draw: st.DrawFn, case: Case) -> pa.BinaryArray:
    """Good and damaged records of a case among strangers, as a slice of a longer array."""

    def value() -> Value:
        if draw(st.integers(0, 9)) == 0:
            return draw(STRANGERS)
        row = draw(st.sampled_from(case.rows))
        written = list(pieces(case.types, case.schema, row, draw(BLOCKS)))
        if draw(st.booleans()):
            return framed(b"".join(piece.data for piece in written))
        return framed(draw(damage(written)))

    def some(most: int) -> list[Value]:
        return [value() for _ in range(draw(st.integers(0, most)))]

    return array_of(some(8), some(2), some(2))


# --- The judge is judged, too -----------------------------------------------------------------------------------


@given(cases(), BLOCKS)
def test_the_judge_reads_as_fastavro_does(case: Case, blocks: str) -> None:
    for row in case.rows:
        record = body(case.types, row, blocks)
        assert repr(judge.stored(case.types, record)) == repr(row)
        assert repr(read_by_fastavro(case.schema, record)) == repr(judge.bare(row))


# --- Columns ----------------------------------------------------------------------------------------------------


@given(st.data())
def test_columns_are_as_the_judge_says_and_fastavro_agrees(data: st.DataObject) -> None:
    case = data.draw(cases())
    values = data.draw(chunks(case))
    decoded = AvroDecoder(Known(case.schema)).columns(values)
    expected = [verdict(case.types, value) for value in values.to_pylist()]
    assert words(decoded.codes) == [code for code, _ in expected]
    good = [i for i, (code, _) in enumerate(expected) if code == "OK"]
    assert decoded.rows.tolist() == good
    decoded.batch.validate(full=True)
    if good:
        assert repr(rows_of(decoded.batch)) == repr([expected[i][1] for i in good])
        assert decoded.batch.schema == codec_avro.arrow_schema(case.schema)
    for i, value in enumerate(values.to_pylist()):
        if value is not None and value[:5] == framed(b""):
            assert_fastavro_agrees(case, value[5:], expected[i][0])


def assert_fastavro_agrees(case: Case, record: bytes, code: str) -> None:
    """What we call good it reads the same; what it cannot read has a code."""
    if code == "OK":
        found = read_by_fastavro(case.schema, record)
        assert repr(found) == repr(judge.bare(judge.stored(case.types, record)))


@given(st.data())
def test_what_fastavro_writes_is_read(data: st.DataObject) -> None:
    case = data.draw(cases(depth=1))
    parsed = fastavro.parse_schema(without_logical(case.schema))
    records = []
    for row in case.rows:
        into = io.BytesIO()
        fastavro.schemaless_writer(into, parsed, judge.bare(row))
        records.append(into.getvalue())
    decoded = AvroDecoder(Known(case.schema)).columns(pa.array(map(framed, records), pa.binary()))
    expected = [judge.columns(case.types, record) for record in records]
    assert words(decoded.codes) == ["OK"] * len(records)
    assert repr(rows_of(decoded.batch)) == repr(expected)


@given(cases(depth=1, most=1), BLOCKS)
def test_a_record_cut_short_at_every_byte(case: Case, blocks: str) -> None:
    whole = framed(body(case.types, case.rows[0], blocks))
    values: list[Value] = [whole[:size] for size in range(len(whole) + 1)]
    expected = [verdict(case.types, value)[0] for value in values]
    raw = pa.array(values, pa.binary())
    decoded = AvroDecoder(Known(case.schema)).columns(raw)
    assert words(decoded.codes) == expected
    assert set(expected[6:-1]) <= {"TRUNCATED"} or "OK" in expected
    backwards = pa.array(values[::-1], pa.binary())
    assert words(AvroDecoder(Known(case.schema)).columns(backwards).codes) == expected[::-1]


@given(st.data())
def test_only_some_columns(data: st.DataObject) -> None:
    case = data.draw(cases(depth=1))
    names = [one["name"] for one in case.schema["fields"]]
    only = data.draw(st.sets(st.sampled_from(names)))
    values = pa.array([framed(body(case.types, row)) for row in case.rows], pa.binary())
    batch = AvroDecoder(Known(case.schema)).columns(values, only=only).batch
    assert batch.schema.names == [name for name in names if name in only]
    whole = AvroDecoder(Known(case.schema)).columns(values).batch
    assert repr(rows_of(batch)) == repr(rows_of(whole.select(batch.schema.names)))


# --- A matrix ---------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_matrix_is_as_the_judge_says(data: st.DataObject) -> None:
    case = data.draw(cases(depth=1))
    values = data.draw(chunks(case))
    leaves = judge.leaves(case.types)
    numeric = [name for name, kind in leaves if judge.is_number(case.types, kind)]
    numeric += [
        f"{name}[0:{size}]"
        for name, kind in leaves
        if judge.is_vector(case.types, kind)
        for size in data.draw(st.lists(st.integers(1, 3), max_size=1))
    ]
    wanted = data.draw(st.lists(st.sampled_from(numeric), max_size=6) if numeric else st.just([]))
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))
    matrix, codes = AvroDecoder(Known(case.schema)).matrix(values, wanted, dtype)
    assert matrix.shape == (len(values), len(codec_avro.expanded(wanted)))
    assert matrix.dtype == dtype
    assert_matrix(case.types, values.to_pylist(), wanted, matrix, codes)


def assert_matrix(
    types: Types, values: list[Value], wanted: list[str], matrix: Any, codes: Any
) -> None:
    wide = matrix.dtype == np.float64
    for value, row, code in zip(values, matrix, words(codes), strict=True):
        expected, numbers = numbers_of(types, value, wanted, wide)
        assert code == expected
        for number, exact in zip(row.tolist(), numbers, strict=code == "OK"):
            assert_number(number, exact, wide)


def numbers_of(types: Types, value: Value, wanted: list[str], wide: bool) -> tuple[str, list[Any]]:
    """The judge's code, and the exact numbers where it is good."""
    try:
        schema_id, record = judge.unframed(value)
        if schema_id != ID:
            return "UNKNOWN_SCHEMA_ID", []
        called = judge.selected(types, wanted)
        found = judge.numbers(types, record, called, wide=wide)
        flat: list[Any] = []
        for name in called:
            flat += found[name] if isinstance(found[name], list) else [found[name]]
        return "OK", flat
    except Fault as fault:
        return fault.code, []


def assert_number(found: float, exact: Any, wide: bool) -> None:
    """Doubles and integers to the bit, decimals to the nearest or the one beside it."""
    nearest = float(exact)
    if not wide:
        nearest = float(np.float32(nearest))
    if isinstance(exact, Fraction):
        step = math.ulp(nearest) if wide else float(np.spacing(np.float32(abs(nearest))))
        assert abs(found - nearest) <= step
    else:
        assert struct.pack("d", found) == struct.pack("d", nearest)


@given(st.data())
def test_schemas_side_by_side_in_a_matrix(data: st.DataObject) -> None:
    one, other = data.draw(cases(depth=1)), data.draw(cases(depth=1))
    names = [name for name, _ in judge.leaves(one.types)]
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))
    reader = AvroDecoder(Known(one.schema, other.schema))
    mine = [framed(body(one.types, row)) for row in one.rows]
    others = [framed(body(other.types, row), ID + 1) for row in other.rows]
    order = data.draw(st.permutations(mine + others))
    matrix, codes = reader.matrix(pa.array(order, pa.binary()), wanted)
    for place, value in enumerate(order):
        case = one if value in mine else other
        here = slice(place, place + 1)
        assert_matrix(case.types, [framed(value[5:])], wanted, matrix[here], codes[here])


# --- A reader's schema ------------------------------------------------------------------------------------------

PROMOTED = {
    "int": ["int", "long", "double"],
    "long": ["long", "double"],
    "float": ["float", "double"],
}


@st.composite
def readers(draw: st.DrawFn, case: Case) -> Avro:
    """A reader's schema: some of the writer's fields in another order, wider or nullable, and new ones by default."""
    fields = []
    for one in case.schema["fields"]:
        kind = one["type"]
        if isinstance(kind, str):
            kind = draw(st.sampled_from(PROMOTED.get(kind, [kind])))
        if not isinstance(kind, list) and draw(st.booleans()):
            kind = ["null", kind]
        if draw(st.integers(0, 3)):
            fields.append({"name": one["name"], "type": kind})
    fields.append({"name": "new", "type": "double", "default": 1.5})
    fields.append({"name": "none", "type": ["null", "string"], "default": None})
    return case.schema | {"fields": draw(st.permutations(fields))}


@given(st.data())
def test_a_reader_s_schema_gives_what_it_gives_fastavro(data: st.DataObject) -> None:
    case = data.draw(cases(depth=1, mixed=False))
    wanted = data.draw(readers(case))
    records = [body(case.types, row) for row in case.rows]
    raw = pa.array([framed(one) for one in [records[0][:-1], *records]], pa.binary())
    decoder = AvroDecoder(Known(case.schema), reader_schema=wanted)
    decoded = decoder.columns(raw)
    short, _ = verdict(case.types, raw[0].as_py())
    assert words(decoded.codes) == [short] + ["OK"] * len(records)
    assert decoded.batch.schema.names == [one["name"] for one in wanted["fields"]]
    matrix, codes = decoder.matrix(raw, ["new"])
    assert words(codes)[1:] == ["OK"] * len(records)
    assert matrix[1:, 0].tolist() == [1.5] * len(records)
    writer, reader = without_logical(case.schema), without_logical(wanted)
    found = [fastavro.schemaless_reader(io.BytesIO(one), writer, reader) for one in records]
    types = Types(wanted)
    expected = [judge.shown(types, wanted, row) for row in found]
    assert repr(rows_of(decoded.batch)[short == "OK" :]) == repr(expected)


# --- Encoding ---------------------------------------------------------------------------------------------------


@given(st.data())
def test_columns_written_are_what_fastavro_reads(data: st.DataObject) -> None:
    case = data.draw(cases(mixed=False))
    values = pa.array([framed(body(case.types, row)) for row in case.rows], pa.binary())
    batch = AvroDecoder(Known(case.schema)).columns(values).batch
    start = data.draw(st.integers(0, len(case.rows) - 1))
    written = encode(batch.slice(start), case.schema, ID).to_pylist()
    assert written == values.to_pylist()[start:]
    for row, value in zip(case.rows[start:], written, strict=True):
        assert repr(read_by_fastavro(case.schema, value[5:])) == repr(row)


# --- Every code -------------------------------------------------------------------------------------------------

# Codes that belong to other parts: labels and control records to the trainer, text to DELIMITED and JSON.
ELSEWHERE = frozenset(
    """DUPLICATE_ID BAD_LABEL BAD_TIMESTAMP NULL_KEY HEADER_TOO_LARGE UNKNOWN_CONTROL BAD_TEXT""".split()
)
RECURSIVE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}


def broken(codec: Case) -> list[Value]:
    """A record with each of its pieces replaced by each hostile one, with and without the length in front of it."""
    parts = list(pieces(codec.types, codec.schema, codec.rows[0]))
    made: list[Value] = []
    for place, piece in enumerate(parts):
        for new in HOSTILE.get(piece.what) or HOSTILE_VARINTS:
            data = [part.data for part in parts]
            data[place] = new
            made.append(framed(b"".join(data)))
            if place and parts[place - 1].what == "length":
                data[place - 1] = varint(len(new))
                made.append(framed(b"".join(data)))
    whole = framed(b"".join(part.data for part in parts))
    return [whole, *made, *(whole[:size] for size in range(len(whole))), whole + b"\0", None]


@pytest.mark.parametrize("place", range(len(FLAT) + len(NESTED)))
def test_every_piece_of_a_record_broken_in_every_way(place: int) -> None:
    schema, row = [*FLAT, *NESTED][place]
    case = Case(schema, [row])
    values = broken(case)
    decoded = AvroDecoder(Known(schema)).columns(pa.array(values, pa.binary()))
    expected = [verdict(case.types, value) for value in values]
    assert words(decoded.codes) == [code for code, _ in expected]
    assert repr(rows_of(decoded.batch)) == repr([row for code, row in expected if code == "OK"])
    names = numbers_and_vectors(case)
    for prepared in (False, True):
        reader = AvroDecoder(Known(schema))
        if prepared:
            assert reader.prepare(ID, names, np.float32)
        matrix, codes = reader.matrix(pa.array(values, pa.binary()), names, np.float32)
        assert_matrix(case.types, values, names, matrix, codes)


def numbers_and_vectors(case: Case) -> list[str]:
    """All that a matrix can take of a schema, arrays with as many items as the first row has."""
    found = []
    for name, kind in judge.leaves(case.types):
        if judge.is_number(case.types, kind):
            found.append(name)
        elif judge.is_vector(case.types, kind):
            found.append(f"{name}[0:{len(case.rows[0][name])}]")
    return found


def test_every_code_is_reached() -> None:
    reached: Counter[str] = Counter()
    for schema, row in [*FLAT, *NESTED]:
        case = Case(schema, [row])
        reader = AvroDecoder(Known(schema))
        values = pa.array(broken(case), pa.binary())
        reached.update(words(reader.columns(values).codes))
        leaves = [name for name, _ in judge.leaves(case.types)]
        for name in ["nowhere", *leaves, *numbers_and_vectors(case)]:
            reached.update(words(reader.matrix(values, [name], np.float32)[1]))
    one = pa.array([framed(b"\2\2"), framed(b"\2\2", 7), b"{}"], pa.binary())
    for registry in (Known(RECURSIVE), Known(RECURSIVE, kind="JSON")):
        reached.update(words(AvroDecoder(registry).columns(one).codes))
    reached.update(words(AvroDecoder(Known(FLAT[0][0]), subject="other").columns(one).codes))
    assert set(reached) == set(CODES) - ELSEWHERE
