"""Records of one schema read as another says: the same values as fastavro's resolution, and a code for what has none."""

from __future__ import annotations

import io
import json
import struct
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradstream.errors import DataError
from gradstream.wire.codec_avro import AvroDecoder, arrow_schema
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, Schema

ID = 9
Avro = Any


def record(*fields: Any, name: str = "R") -> Avro:
    """Fields as (name, type) or (name, type, what else)."""
    made = [
        {"name": field, "type": kind} | (more[0] if more else {}) for field, kind, *more in fields
    ]
    return {"type": "record", "name": name, "fields": made}


def decoder(reader: Avro, *writers: Avro) -> AvroDecoder:
    registry = Registry("http://127.0.0.1:9")
    for place, writer in enumerate(writers):
        registry.remember(Schema(ID + place, "AVRO", json.dumps(writer)))
    return AvroDecoder(registry, reader_schema=reader)


def body(schema: Avro, row: Any) -> bytes:
    into = io.BytesIO()
    fastavro.schemaless_writer(into, fastavro.parse_schema(schema), row)
    return into.getvalue()


def framed(*bodies: bytes, schema_id: int = ID) -> pa.BinaryArray:
    return pa.array([struct.pack(">BI", 0, schema_id) + one for one in bodies], pa.binary())


def words(codes: Any) -> list[str]:
    return [CODES[code] for code in codes]


# --- Beside fastavro --------------------------------------------------------------------------------------------

WIDER = {
    "int": ["int", "long", "float", "double"],
    "long": ["long", "float", "double"],
    "float": ["float", "double"],
    "double": ["double"],
    "string": ["string", "bytes"],
    "bytes": ["bytes", "string"],
    "boolean": ["boolean"],
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**23), 2**23),
    "long": st.integers(-(2**23), 2**23),
    "float": st.sampled_from([0.5, -2.25, 1e10]),
    "double": st.sampled_from([0.5, -2.25, 1e10]),
    "string": st.text(max_size=4),
    "bytes": st.sampled_from([b"", b"abc", b"\xff"]),
    "boolean": st.booleans(),
}
DEFAULTS = {"int": 3, "long": 4, "float": 1.5, "double": 2.5, "string": "x", "boolean": True}
SYMBOLS = ["A", "B", "C", "D"]


@st.composite
def pairs(draw: st.DrawFn, names: Any, depth: int = 2) -> tuple[Avro, Avro, Any]:
    """A writer's type, a reader's that can mostly be resolved with it, and the writer's values."""
    kind = draw(
        st.sampled_from(
            ["simple"] * 5 + ["enum", "fixed"] + ["record", "array", "map"] * (depth > 0)
        )
    )
    name = f"N{next(names)}"
    if kind == "simple":
        writer: Avro = draw(st.sampled_from(sorted(WIDER)))
        reader: Avro = draw(st.sampled_from(WIDER[writer] * 4 + ["int", "string"]))
        values = VALUES[writer]
    elif kind == "enum":
        symbols = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
        others = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
        writer = {"type": "enum", "name": name, "symbols": symbols}
        reader = {"type": "enum", "name": name, "symbols": others}
        if draw(st.booleans()):
            reader["default"] = others[0]
        values = st.sampled_from(symbols)
    elif kind == "fixed":
        writer = {"type": "fixed", "name": name, "size": 2}
        reader = {"type": "fixed", "name": name, "size": draw(st.sampled_from([2, 2, 2, 3]))}
        values = st.binary(min_size=2, max_size=2)
    elif kind == "record":
        writer, reader, values = draw(records(names, depth - 1))
    else:
        one, other, inner = draw(pairs(names, depth - 1))
        key = "items" if kind == "array" else "values"
        writer, reader = {"type": kind, key: one}, {"type": kind, key: other}
        many = st.lists(inner, max_size=3)
        values = (
            many if kind == "array" else st.dictionaries(st.text(max_size=2), inner, max_size=2)
        )
    if draw(st.integers(0, 2)) == 0:
        writer, values = (
            draw(st.sampled_from([["null", writer], [writer, "null"]])),
            st.none() | values,
        )
    if draw(st.integers(0, 2)) == 0:
        reader = draw(st.sampled_from([["null", reader], [reader, "null"]]))
    return writer, reader, values


@st.composite
def records(draw: st.DrawFn, names: Any, depth: int = 2) -> tuple[Avro, Avro, Any]:
    name, values = f"R{next(names)}", {}
    written: list[Any] = []
    wanted: list[Any] = []
    for place in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["both", "both", "both", "alias", "writer", "reader"])):
            case "reader":
                kind = draw(st.sampled_from(sorted(DEFAULTS)))
                more = {"default": DEFAULTS[kind]} if draw(st.integers(0, 9)) else {}
                wanted.append((f"f{place}", kind, more))
                continue
            case "writer":
                one, _, of = draw(pairs(names, depth))
            case how:
                one, other, of = draw(pairs(names, depth))
                if how == "alias":
                    wanted.append((f"g{place}", other, {"aliases": [f"f{place}"]}))
                else:
                    wanted.append((f"f{place}", other))
        written.append((f"f{place}", one))
        values[f"f{place}"] = of
    if not written:
        written, values = [("f", "int")], {"f": st.just(1)}
    wanted = draw(st.permutations(wanted)) or [("f", "int", {"default": 1})]
    return record(*written, name=name), record(*wanted, name=name), st.fixed_dictionaries(values)


def by_fastavro(writer: Avro, reader: Avro, raw: bytes, kinds: pa.DataType) -> Any:
    """The value as Arrow has it, None where fastavro finds none or Arrow could hold none."""
    try:
        found = fastavro.schemaless_reader(
            io.BytesIO(raw), fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        )
    except (SchemaResolutionError, UnicodeDecodeError):
        return None
    return pa.array([_maps(found, kinds)], kinds)[0].as_py()


def _maps(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(key, _maps(one, kind.item_type)) for key, one in value.items()]
    if pa.types.is_list(kind):
        return [_maps(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {one.name: _maps(value[one.name], one.type) for one in kind}
    return float(value) if pa.types.is_floating(kind) else value


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_columns_are_what_fastavro_resolves(data: st.DataObject) -> None:
    writer, reader, of = data.draw(records(iter(range(1000))))
    rows = data.draw(st.lists(of, min_size=1, max_size=4))
    raw = [body(writer, row) for row in rows]
    kinds = pa.struct(list(arrow_schema(reader)))
    expected = [by_fastavro(writer, reader, one, kinds) for one in raw]
    decoded = decoder(reader, writer).columns(framed(*raw))
    decoded.batch.validate(full=True)
    found = dict(zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True))
    for place, value in enumerate(expected):
        code = CODES[decoded.codes[place]]
        if value is None:
            assert code != "OK"
            assert decoded.reason(place)
        elif code in (
            "WRONG_TYPE",
            "MISSING_FIELD",
        ):  # fastavro looks at schemas only as far as values go
            assert any(isinstance(one, None | list | dict) for one in rows[place].values())
        else:
            assert (code, found[place]) == ("OK", value)
    if found:
        assert decoded.batch.schema == arrow_schema(reader)


# --- By hand ----------------------------------------------------------------------------------------------------


def test_several_writers_and_one_reader() -> None:
    old = record(("b", "int"), ("gone", "string"), ("a", "float"))
    new = record(("a", "double"), ("b", ["null", "long"]), ("c", "string"))
    reader = record(("a", "double"), ("b", "long"), ("c", "string", {"default": "none"}))
    raw = pa.concat_arrays(
        [
            framed(body(old, {"b": 1, "gone": "x", "a": 0.5})),
            framed(body(new, {"a": 1.5, "b": 2, "c": "y"}), schema_id=ID + 1),
            framed(body(new, {"a": 1.5, "b": None, "c": "y"}), schema_id=ID + 1),
            framed(body(old, {"b": 3, "gone": "x", "a": 2.5})),
        ]
    )
    both = decoder(reader, old, new)
    decoded = both.columns(raw)
    assert words(decoded.codes) == ["OK", "OK", "NULL_FIELD", "OK"]
    assert "field b (long) is null" in decoded.reason(2)
    assert decoded.batch.to_pylist() == [
        {"a": 0.5, "b": 1, "c": "none"},
        {"a": 1.5, "b": 2, "c": "y"},
        {"a": 2.5, "b": 3, "c": "none"},
    ]
    assert both.columns(raw, only=["c"]).batch.to_pylist()[0] == {"c": "none"}
    matrix, codes = both.matrix(raw, ["b", "a"])
    assert words(codes) == ["OK", "OK", "NULL_FIELD", "OK"]
    assert matrix[[0, 1, 3]].tolist() == [[1, 0.5], [2, 1.5], [3, 2.5]]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_matrix_by_aliases_and_defaults(prepared: bool) -> None:
    writer = record(("p", ["null", record(("x", "int"), name="I")]), ("t", "bytes"))
    inner = record(("y", "double", {"aliases": ["x"]}), ("z", "int", {"default": 7}), name="I")
    reader = record(
        ("p", ["null", inner]),
        ("text", "string", {"aliases": ["t"]}),
        ("flag", "string", {"default": "1"}),
        ("v", {"type": "array", "items": "int"}, {"default": [4, 5]}),
        (
            "m",
            {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
            {"default": "\x00\xff"},
        ),
        ("n", ["null", "int"], {"default": None}),
    )
    raw = framed(body(writer, {"p": {"x": 3}, "t": b"2.5"}), body(writer, {"p": None, "t": b"1"}))
    wanted = ["v[0:2]", "p.y", "flag", "text", "p.z", "m"]
    both = decoder(reader, writer)
    assert not prepared or both.prepare(ID, wanted)
    matrix, codes = both.matrix(raw, wanted)
    assert words(codes) == ["OK", "NULL_FIELD"]
    assert matrix[0].tolist() == [4, 5, 3, 1, 2.5, 7, 2.55]
    assert words(both.matrix(raw, ["p.z"])[1]) == ["OK", "NULL_FIELD"]
    assert words(both.matrix(raw, ["text"])[1]) == ["OK", "OK"]
    assert words(both.matrix(raw, ["n"])[1]) == ["NULL_FIELD"] * 2
    assert words(both.matrix(raw, ["v[0:3]"])[1]) == ["WRONG_DIMENSION"] * 2
    assert words(both.matrix(raw, ["t"])[1]) == ["MISSING_FIELD"] * 2
    assert both.columns(raw).batch.to_pylist()[1] == {
        "p": None, "text": "1", "flag": "1", "v": [4, 5], "m": Decimal("2.55"), "n": None,
    }  # fmt: skip


def test_text_of_bytes_is_judged() -> None:
    both = decoder(record(("t", "string")), record(("t", "bytes")))
    decoded = both.columns(framed(body("bytes", b"\xff"), body("bytes", b"ok")))
    assert words(decoded.codes) == ["BAD_UTF8", "OK"]


def test_a_logical_type_is_the_readers() -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    stamped = decoder(record(("t", millis)), record(("t", "long")))
    assert stamped.columns(framed(b"\x02")).batch.schema.field("t").type == pa.timestamp("ms")
    plain = decoder(record(("t", "double")), record(("t", millis)))
    assert plain.columns(framed(b"\x02")).batch.to_pylist() == [{"t": 1.0}]


@pytest.mark.parametrize(
    ("writer", "reader", "code", "why"),
    [
        (("a", "long"), ("a", "int"), "WRONG_TYPE", "field a is long, which cannot be read as int"),
        (("a", "int"), ("b", "int"), "MISSING_FIELD", "field b"),
        (("a", "int"), ("b", "int", {"default": "x"}), "WRONG_TYPE", "default of field b"),
        (("a", "int"), ("b", "int", {"default": None}), "WRONG_TYPE", "default of field b"),
        (("a", {"type": "fixed", "name": "F", "size": 1}), ("a", {"type": "fixed", "name": "F", "size": 2}), "WRONG_TYPE", "field a"),
        (("a", "int"), ("a", ["string", "boolean"]), "WRONG_TYPE", "field a"),
    ],
)  # fmt: skip
def test_a_writers_schema_that_cannot_be_read(
    writer: Any, reader: Any, code: str, why: str
) -> None:
    both = decoder(record(reader), record(writer))
    decoded = both.columns(framed(b"\x02", b"\x04"))
    assert words(decoded.codes) == [code, code]
    assert why in decoded.reason(0)
    assert words(both.matrix(framed(b"\x02"), ["a"])[1]) == [code]


def test_unions_of_several_types_by_their_values() -> None:
    writer = record(("u", ["null", "int", "string"]), ("k", "int"))
    reader = record(("u", ["double", "null"]), ("k", ["string", "long"]))
    rows = [{"u": 5, "k": 1}, {"u": "x", "k": 2}, {"u": None, "k": 3}]
    decoded = decoder(reader, writer).columns(framed(*(body(writer, row) for row in rows)))
    assert words(decoded.codes) == ["OK", "WRONG_TYPE", "OK"]
    assert decoded.batch.to_pylist() == [{"u": 5.0, "k": "1"}, {"u": None, "k": "3"}]


def test_a_readers_schema_that_is_none() -> None:
    with pytest.raises(DataError, match="INVALID_SCHEMA"):
        decoder({"type": "recod"})
