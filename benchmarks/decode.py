"""How fast do Avro values become a float matrix, and columns Avro values, next to fastavro?"""

from __future__ import annotations

import io
import json
import time
import uuid
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from benchmarks.figure import Figure, alternate
from gradstream.config import Services
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.registry import Registry
from producers.fraud import KEPT, Fraud
from producers.schemas import avro_schema

QUESTION = "Avro ↔ columns, beside fastavro"
ROWS = 60_000
SAMPLE = 6_000  # fastavro is slow, so it gets fewer rows; rates are per record
FRAME = 5  # bytes before the Avro body: a zero and the schema id


def fraud_rows() -> pa.RecordBatch:
    batches = list(Fraud(rows=ROWS, empty_share=0.0).batches(ROWS))
    return pa.Table.from_batches(batches).select(list(KEPT)).combine_chunks().to_batches()[0]


def plain_rows(features: int = 10) -> pa.RecordBatch:
    random = np.random.default_rng(0)
    names = [*(f"X{i}" for i in range(1, features + 1)), "Y"]
    return pa.RecordBatch.from_arrays(
        [pa.array(random.normal(size=ROWS)) for _ in names], names=names
    )


def measure(services: Services) -> list[Figure]:
    registry = Registry(services.schema_registry_url)
    figures = []
    for title, rows, goal in (
        ("fraud Avro (31 nullable columns) → float matrix", fraud_rows(), 40.0),
        ("10 features and Y, Avro → float matrix", plain_rows(), 0.0),
    ):
        schema = avro_schema(rows.schema)
        schema_id = registry.register(f"bench-{uuid.uuid4().hex[:8]}-value", json.dumps(schema))
        values = encode(rows, schema, schema_id)
        figures.append(decoding(title, registry, values, rows.schema.names, schema, goal))
        if goal:
            figures.append(encoding(rows, schema, schema_id))
    return figures


def decoding(
    title: str,
    registry: Registry,
    values: pa.BinaryArray,
    names: list[str],
    schema: dict[str, Any],
    goal: float,
) -> Figure:
    decoder = AvroDecoder(registry)
    decoder.matrix(values[:10], names)  # loads the compiled code
    parsed = fastavro.parse_schema(schema)
    sample = values[:SAMPLE].to_pylist()

    def ours() -> float:
        start = time.perf_counter()
        matrix, codes = decoder.matrix(values, names)
        taken = time.perf_counter() - start
        assert not codes.any()
        assert np.isfinite(matrix).all()
        return taken

    def theirs() -> float:
        start = time.perf_counter()
        found = [
            fastavro.schemaless_reader(io.BytesIO(value[FRAME:]), parsed, None) for value in sample
        ]
        matrix = np.array([[float(field) for field in row.values()] for row in found])
        taken = time.perf_counter() - start
        assert np.array_equal(matrix, decoder.matrix(values[:SAMPLE], names)[0])
        return taken * ROWS / SAMPLE

    rates, reference = alternate(ROWS, ours, theirs)
    return Figure(title, rates, "fastavro, record by record", reference, goal)


def encoding(rows: pa.RecordBatch, schema: dict[str, Any], schema_id: int) -> Figure:
    parsed = fastavro.parse_schema(schema)
    sample = rows.slice(0, SAMPLE).to_pylist()

    def ours() -> float:
        start = time.perf_counter()
        encode(rows, schema, schema_id)
        return time.perf_counter() - start

    def theirs() -> float:
        start = time.perf_counter()
        for row in sample:
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, parsed, row)
            buffer.getvalue()
        return (time.perf_counter() - start) * ROWS / SAMPLE

    encode(rows.slice(0, 10), schema, schema_id)
    rates, reference = alternate(ROWS, ours, theirs)
    return Figure("fraud columns → Avro", rates, "fastavro, record by record", reference, 0.0)
