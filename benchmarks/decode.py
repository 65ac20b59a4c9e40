"""How fast do Avro values become a float matrix, next to fastavro and to a copy of their bytes?"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from contextlib import closing

import fastavro
import numpy as np
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.wire.codec_avro import AvroDecoder, AvroSchema, encode
from gradstream.wire.registry import Registry
from producers.schemas import avro_schema

QUESTION = "Avro values → float matrix, beside fastavro and a copy of the same bytes"
ROWS = 200_000
CHUNK = 8192  # as the trainer decodes them
SAMPLE = 6_000  # fastavro is slow, so it gets fewer rows; rates are per record
FRAME = 5  # bytes before the Avro body: a zero and the schema id
OURS, FASTAVRO, COPY = "gradstream", "fastavro, record by record", "copy of the bytes, one thread"


def measure(services: Services) -> list[Figure]:
    fraud, plain = topics.fraud_rows(effort.rows(ROWS)), topics.plain_rows(effort.rows(ROWS))
    cases = (
        (
            "fraud Avro (31 nullable columns) → float matrix",
            fraud,
            avro_schema(fraud.schema),
            40,
            2e6,
        ),
        ("10 features and Y, Avro → float matrix", plain, topics.plain_schema(10), 0, 0),
    )
    figures = []
    with closing(Registry(services.schema_registry_url)) as registry:
        for title, rows, schema, goal, least in cases:
            schema_id = registry.register(f"{topics.name('decode')}-value", json.dumps(schema))
            values = encode(rows, schema, schema_id)
            decoder = AvroDecoder(registry)
            rates = in_turns(
                len(values),
                {
                    OURS: _ours(decoder, schema_id, values, rows.schema.names),
                    FASTAVRO: _theirs(decoder, values, rows.schema.names, schema),
                    COPY: _copy(values),
                },
                repeats=5,
            )
            figures += [
                Figure(title, rates[OURS], FASTAVRO, rates[FASTAVRO], goal, limit=least),
                Figure(title, rates[OURS], COPY, rates[COPY]),
            ]
    return figures


def _ours(
    decoder: AvroDecoder, schema_id: int, values: pa.BinaryArray, names: list[str]
) -> Callable[[], None]:
    """Prepared for the schema, as the trainer's decoder is."""
    chunks = [values[first : first + CHUNK] for first in range(0, len(values), CHUNK)]
    assert decoder.prepare(schema_id, names)
    decoder.matrix(values[:10], names)  # loads the compiled code

    def work() -> None:
        for chunk in chunks:
            _, codes = decoder.matrix(chunk, names)
            assert not codes.any()

    return work


def _theirs(
    decoder: AvroDecoder, values: pa.BinaryArray, names: list[str], schema: AvroSchema
) -> Callable[[], float]:
    """fastavro on a part of the rows, the answer compared with ours."""
    parsed = fastavro.parse_schema(schema)
    sample = values[:SAMPLE]
    wanted, _ = decoder.matrix(sample, names)
    bodies = [value[FRAME:] for value in sample.to_pylist()]

    def work() -> float:
        start = time.perf_counter()
        found = [fastavro.schemaless_reader(io.BytesIO(body), parsed, None) for body in bodies]
        matrix = np.array([[float(field) for field in row.values()] for row in found])
        taken = time.perf_counter() - start
        assert np.array_equal(matrix, wanted)
        return taken * len(values) / len(bodies)

    return work


def _copy(values: pa.BinaryArray) -> Callable[[], None]:
    source = np.frombuffer(values.buffers()[2], np.uint8)
    target = np.zeros_like(source)
    return lambda: np.copyto(target, source)
