"""A schema's own machine code against the loops that follow its table: the same codes, the same bits."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradstream.wire import avro_kernel, avro_numba, codec_avro
from gradstream.wire.avro_chunk import Chunk, Writer
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, Schema

ID = 258
Avro = Any
ROOT = Path(__file__).parents[2]


def record(*fields: tuple[str, Avro]) -> Avro:
    made = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": "R", "fields": made}


def registry(*schemas: Avro) -> Registry:
    made = Registry("http://127.0.0.1:9")
    for i, schema in enumerate(schemas):
        made.remember(Schema(ID + i, "AVRO", json.dumps(schema)))
    return made


def good_rows(matrix: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> bytes:
    return bytes(matrix[codes == 0].tobytes())


# --- The written code, run by Python ----------------------------------------------------------------------------


def load(kind: str) -> Any:
    """Reads a number at an address, as the loops' own intrinsics do."""
    size = struct.calcsize(kind)

    def read(address: int) -> Any:
        number = struct.unpack(f"<{kind}", ctypes.string_at(int(address), size))[0]
        return np.int64(number) if isinstance(number, int) else number

    return read


def store(kind: str) -> Any:
    def write(address: int, number: Any) -> None:
        raw = np.array([number]).astype(np.dtype(kind)).tobytes()  # cut to its width
        ctypes.memmove(int(address), raw, len(raw))

    return write


INTERPRETED = {
    "load_u8": load("B"),
    "load_i32": load("i"),
    "load_i64": load("q"),
    "load_f32": load("f"),
    "load_f64": load("d"),
    "store_u8": store("B"),
    "store_i64": store("q"),
    "store_f32": store("f"),
    "store_f64": store("d"),
}


def interpreted(
    schema: Avro, names: tuple[str, ...], dtype: np.dtype[Any], raw: pa.BinaryArray
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What the kernel's source makes of the values, and the codes it leaves: 0 or PENDING."""
    selection = Writer.from_text(ID, json.dumps(schema)).selection(names)
    assert selection.code == 0
    text = avro_kernel.source(selection, dtype == np.float64)
    space: dict[str, Any] = {name: getattr(avro_numba, name) for name in avro_kernel.NAMES}
    space |= INTERPRETED
    exec(text, space)
    chunk, out = Chunk.of(raw), np.zeros((len(raw), len(codec_avro.expanded(names))), dtype)
    frame = struct.pack(">BI", 0, ID)
    head, tail = struct.unpack("<iB", frame)
    with np.errstate(all="ignore"):
        done = space["rows"](
            len(raw), chunk.begins.ctypes.data, chunk.ends.ctypes.data, head, tail,
            selection.ops, out.ctypes.data, out.strides[0], chunk.codes.ctypes.data,
        )  # fmt: skip
    assert done == int((chunk.codes == 0).sum())
    return out, chunk.codes


NUMERIC = st.sampled_from(
    ["int", "long", "float", "double", "string", "decimal", "fixed decimal", "vector"]
)
OTHER = st.sampled_from(["boolean", "bytes", "enum", "fixed", "list", "map", "many"])


def avro_type(word: str, name: str) -> Avro:
    decimal = {"logicalType": "decimal", "precision": 9, "scale": 2}
    return {
        "decimal": {"type": "bytes", **decimal},
        "fixed decimal": {"type": "fixed", "name": name, "size": 4, **decimal},
        "enum": {"type": "enum", "name": name, "symbols": ["A", "B"]},
        "fixed": {"type": "fixed", "name": name, "size": 3},
        "vector": {"type": "array", "items": ["double", ["null", "float"], "int"][len(name) % 3]},
        "list": {"type": "array", "items": ["null", "int"]},
        "map": {"type": "map", "values": "string"},
        "numbers": ["float", "null", "long"],
        "many": ["int", "null", "string"],
    }.get(word, word)


@st.composite
def fields(draw: st.DrawFn, counter: Any, depth: int = 1) -> list[tuple[str, Avro, str]]:
    """(name, type, what to call it where it is wanted) of some fields, in runs of fields alike."""
    found: list[tuple[str, Avro, str]] = []
    for _ in range(draw(st.integers(1, 4))):
        number = draw(st.booleans()) or draw(st.booleans())
        word = draw(NUMERIC if number else OTHER)
        how = (
            draw(st.sampled_from(["plain", "first", "second"]))
            if word not in ("many", "numbers")
            else "plain"
        )
        for _ in range(draw(st.sampled_from([1, 1, 2, 3, 5, 7]))):
            name = f"f{next(counter)}"
            kind = avro_type(word, f"T{name}")
            wanted = (f"{name}[0:2]" if word == "vector" else name) if number else ""
            union = {"plain": kind, "first": ["null", kind], "second": [kind, "null"]}[how]
            found.append((name, union, wanted))
    if depth and draw(st.booleans()):
        name = f"f{next(counter)}"
        inner = draw(fields(counter, depth - 1))
        made = record(*((field, kind) for field, kind, _ in inner)) | {"name": f"T{name}"}
        found.append((name, draw(st.sampled_from([made, ["null", made], [made, "null"]])), ""))
        found += [("", None, wanted and f"{name}.{wanted}") for _, _, wanted in inner]
    return found


def value_of(draw: Any, kind: Avro) -> Any:
    """What pyarrow takes for a value of that type; text is mostly a number."""
    match kind:
        case ["int", "null", "string"]:
            return draw(st.sampled_from(["1", None]))
        case ["float", "null", "long"]:  # as Arrow's doubles, which fastavro writes as floats
            return draw(st.sampled_from([0.5, None, -3.0]))
        case [*branches]:
            if draw(st.integers(0, 9)) == 0:
                return None
            return value_of(draw, next(one for one in branches if one != "null"))
        case {"fields": inner}:
            return {one["name"]: value_of(draw, one["type"]) for one in inner}
        case {"logicalType": "decimal"}:
            return draw(st.decimals("-999", "999", places=2))
        case {"type": "enum"}:
            return draw(st.sampled_from(["A", "B"]))
        case {"type": "fixed"}:
            return b"abc"
        case {"type": "array", "items": ["null", _]}:
            return draw(st.lists(st.none() | st.integers(-5, 5), min_size=1, max_size=2))
        case {"type": "array"}:
            return draw(st.sampled_from([[1, 2], [-70, 3], [5, -6], [7], [], [1, 2, 3]]))
        case {"type": "map"}:
            return [("k", "v")]
    number = draw(st.sampled_from([0.0, -1.5, 3e38, 2.0, 1e9]))
    if kind == "string":
        return draw(st.sampled_from(["0", "1", "2.5", "0.30000000000000004", "1e400", "nan", "x"]))
    if kind in ("int", "long"):
        return draw(st.integers(-(2**31), 2**31 - 1))
    if kind == "double" and draw(st.integers(0, 19)) == 0:
        number = draw(st.sampled_from([float("nan"), float("-inf"), 1e300]))
    return {"boolean": True, "bytes": b"x"}.get(kind, number)


def damaged(draw: Any, value: bytes) -> bytes:
    """The value, mostly as it is."""
    body = bytearray(value)
    if draw(st.integers(0, 2)) == 0:
        for _ in range(draw(st.integers(1, 2))):
            # not the schema id: nobody is there who could be asked for another
            place = draw(st.integers(4, max(4, len(body) - 1)))
            body[place if place > 4 else 0] = draw(st.integers(0, 255))
        body = body[: draw(st.integers(5, len(body)))] + draw(st.binary(max_size=3))
    return bytes(body)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data(), st.sampled_from([np.dtype(np.float64), np.dtype(np.float32)]))
def test_a_record_is_read_alike_or_left_to_the_table(
    data: st.DataObject, dtype: np.dtype[Any]
) -> None:
    found = data.draw(fields(iter(range(1000))))
    schema = record(*((name, kind) for name, kind, _ in found if kind is not None))
    able = [wanted for _, _, wanted in found if wanted] or ["none"]
    picked = data.draw(st.lists(st.sampled_from(able), max_size=9))
    wanted = tuple(data.draw(st.sampled_from([able, picked])))
    if wanted == ("none",):
        wanted = ()
    kinds = codec_avro.arrow_schema(schema)
    rows = [
        {one["name"]: value_of(data.draw, one["type"]) for one in schema["fields"]}
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    batch = pa.RecordBatch.from_pylist(rows, kinds)
    raw = pa.array([damaged(data.draw, one) for one in encode(batch, schema, ID).to_pylist()])
    matrix, codes = AvroDecoder(registry(schema)).matrix(raw, wanted, dtype)
    mine, left = interpreted(schema, wanted, dtype, raw)
    read = left == 0
    assert not codes[read].any()
    assert mine[read].tobytes() == matrix[read].tobytes()


# --- The machine code -------------------------------------------------------------------------------------------

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
INNER = record(("x", "float"), ("s", "string")) | {"name": "I"}
SCHEMAS: dict[str, tuple[Avro, tuple[str, ...]]] = {
    "plain": (record(*((f"x{i}", "double") for i in range(6))), tuple(f"x{i}" for i in range(6))),
    "fraud": (
        record(
            ("time", ["null", "int"]),
            *((f"v{i}", ["null", "double"]) for i in range(6)),
            ("class", ["null", "string"]),
        ),
        ("time", *(f"v{i}" for i in range(6)), "class"),
    ),
    "mixed": (
        record(
            ("s", "string"),
            ("b", "boolean"),
            *((f"l{i}", ["long", "null"]) for i in range(5)),
            ("m", DECIMAL),
            ("e", {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
            ("a", {"type": "array", "items": "long"}),
            ("p", ["null", INNER]),
            ("q", "I"),
            ("f", "float"),
        ),
        ("f", "l0", "l1", "l2", "l3", "l4", "q.x", "m", "f", "s"),
    ),
    "vectors": (
        record(
            ("x", {"type": "array", "items": "double"}),
            ("n", ["null", {"type": "array", "items": "int"}]),
            ("z", {"type": "array", "items": ["null", "float"]}),
            ("y", "double"),
        ),
        ("y", "x[0:100]", "n[0:3]", "z[0:3]", "n[0:3]"),
    ),
}


def sample(schema: Avro, n: int, seed: int = 3) -> pa.BinaryArray:
    """n records as they usually are, a null or a NaN now and then."""
    rng = np.random.default_rng(seed)

    def value(kind: Avro) -> Any:
        match kind:
            case [*branches]:
                there = next(one for one in branches if one != "null")
                return None if rng.random() < 0.01 else value(there)
            case {"fields": inner}:
                return {one["name"]: value(one["type"]) for one in inner}
            case {"logicalType": "decimal"}:
                return round(float(rng.normal()), 2)
            case {"type": "enum"}:
                return "B"
            case {"type": "array", "items": "double"}:
                return rng.normal(size=100 - int(rng.random() < 0.01)).tolist()
            case {"type": "array"}:
                return rng.integers(-1000, 1000, 3).tolist()
            case "I":
                return {"x": 2.5, "s": "é"}
            case "string":
                return str(rng.choice(["0", "1", "-2.5", "0.30000000000000004"]))
            case "int" | "long":
                return int(rng.integers(-(2**31), 2**31))
            case "boolean":
                return True
        return float(rng.normal()) if rng.random() > 0.01 else float("nan")

    kinds = codec_avro.arrow_schema(schema)
    rows = [{one["name"]: value(one["type"]) for one in schema["fields"]} for _ in range(n)]
    columns = [
        pa.array([row[one.name] for row in rows]).cast(one.type)
        if pa.types.is_decimal(one.type)
        else pa.array([row[one.name] for row in rows], one.type)
        for one in kinds
    ]
    return encode(pa.RecordBatch.from_arrays(columns, schema=kinds), schema, ID)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_codes_and_bits_for_sound_and_hostile_bytes(name: str, dtype: Any) -> None:
    schema, wanted = SCHEMAS[name]
    rng = np.random.default_rng(11)
    sound = sample(schema, 300).to_pylist()
    hostile = []
    for _ in range(3000):
        body = bytearray(sound[int(rng.integers(len(sound)))])
        for _ in range(int(rng.integers(0, 3))):
            # not the schema id: nobody is there who could be asked
            place = int(rng.integers(4, len(body)))
            body[place if place > 4 else 0] = int(rng.integers(256))
        end = len(body) - int(rng.integers(0, 12)) * int(rng.integers(0, 2))
        hostile.append(bytes(body[: max(end, 5)]) + rng.bytes(int(rng.choice([0, 0, 0, 1, 9]))))
    raw = pa.array([*sound, *hostile, None, b"", b"{}"], pa.binary())
    table, kernel = AvroDecoder(registry(schema)), AvroDecoder(registry(schema))
    assert kernel.prepare(ID, wanted, dtype)
    expected, codes = table.matrix(raw, wanted, dtype)
    matrix, found = kernel.matrix(raw, wanted, dtype)
    assert found.tolist() == codes.tolist()
    assert good_rows(matrix, found) == good_rows(expected, codes)
    assert len(set(codes.tolist())) > 4
    for row in range(len(raw) - 40, len(raw)):
        code = int(codes[row])
        assert kernel.reasons(raw, row, code) == table.reasons(raw, row, code)
    begins, ends = Chunk.of(raw).begins, Chunk.of(raw).ends
    matrix, found = kernel.matrix_at(begins, ends, wanted, dtype)
    assert found.tolist() == codes.tolist()
    assert good_rows(matrix, found) == good_rows(expected, codes)


def test_several_schemas_of_which_some_are_prepared() -> None:
    plain, wanted = SCHEMAS["plain"]
    wider = record(("more", "string"), *((name, "double") for name in wanted))
    other = record(*((name, "float") for name in wanted))
    raw = [
        sample(schema, 50).to_pylist()[place]
        for place in range(50)
        for schema in (plain, wider, other)
    ]
    framed = pa.array(
        [struct.pack(">BI", 0, ID + i % 3) + value[5:] for i, value in enumerate(raw)], pa.binary()
    )
    table = AvroDecoder(registry(plain, wider, other))
    kernel = AvroDecoder(registry(plain, wider, other))
    assert kernel.prepare(ID, wanted)
    assert kernel.prepare(ID + 2, wanted)
    expected, codes = table.matrix(framed, wanted)
    matrix, found = kernel.matrix(framed, wanted)
    assert found.tolist() == codes.tolist()
    assert good_rows(matrix, found) == good_rows(expected, codes)
    assert 0 < int((codes == 0).sum()) < len(codes)


def test_what_cannot_be_prepared_goes_the_general_way() -> None:
    plain, wanted = SCHEMAS["plain"]
    alternating = record(*((f"x{i}", ("double", "string")[i % 2]) for i in range(600)))
    reader = AvroDecoder(registry(plain, alternating))
    assert not reader.prepare(ID, ["nowhere"])
    assert not reader.prepare(ID + 1, ["x0"])
    assert reader.prepare(ID, wanted)
    assert reader.prepare(ID, wanted)  # once more costs nothing
    assert CODES[reader.matrix(sample(plain, 1), ["nowhere"])[1][0]] == "MISSING_FIELD"


def test_names_do_not_get_into_the_source() -> None:
    name = "CANARY'\"\\\nimport os"
    schema = record((name, "double"), ("y", ["null", "string"]))
    selection = Writer.from_text(ID, json.dumps(schema)).selection((name, "y"))
    assert selection.code == 0
    text = avro_kernel.source(selection, True)
    assert "CANARY" not in text
    assert "import" not in text


RUN = """
import json, logging, sys, numpy as np, pyarrow as pa
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.registry import Registry, Schema
schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "double"}]}
registry = Registry("http://127.0.0.1:9")
registry.remember(Schema(1, "AVRO", json.dumps(schema)))
decoder = AvroDecoder(registry)
assert decoder.prepare(1, ["a"])
assert decoder.matrix(pa.array([b"\\0\\0\\0\\0\\1" + np.float64(2.5).tobytes()]), ["a"])[0][0, 0] == 2.5
"""


def run(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_second_start_loads_what_the_first_compiled(tmp_path: Path) -> None:
    first = run(NUMBA_CACHE_DIR=str(tmp_path))
    assert "WARNING compiling a reader for this Avro schema" in first
    assert "was compiled in" in first
    second = run(NUMBA_CACHE_DIR=str(tmp_path))
    assert "compiling" not in second
    assert "was loaded in" in second


def test_a_cache_that_cannot_be_written_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as where nothing is writable
    schema, wanted = record(("only", "double")), ("only",)
    raw = pa.array([struct.pack("<BBBBBd", 0, 0, 0, 1, 2, 7.5)])
    with caplog.at_level(logging.INFO):
        reader = AvroDecoder(registry(schema))
        assert reader.prepare(ID, wanted)
    assert "compiled in" in caplog.text
    assert reader.matrix(raw, wanted)[0].tolist() == [[7.5]]
