"""How fast do columns become Avro values, next to fastavro?"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import fastavro
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.wire.codec_avro import AvroSchema, encode
from producers.schemas import avro_schema

QUESTION = "columns → Avro values, beside fastavro"
ROWS = 200_000
SAMPLE = 6_000  # fastavro is slow, so it gets fewer rows; rates are per record
OURS, FASTAVRO = "gradstream", "fastavro, record by record"
SCHEMA_ID = 7


def measure(services: Services) -> list[Figure]:
    fraud, plain = topics.fraud_rows(effort.rows(ROWS)), topics.plain_rows(effort.rows(ROWS))
    return [
        _figure("fraud columns → Avro (31 nullable columns)", fraud, avro_schema(fraud.schema)),
        _figure("10 features and Y, columns → Avro", plain, topics.plain_schema(10)),
    ]


def _figure(title: str, rows: pa.RecordBatch, schema: AvroSchema) -> Figure:
    encode(rows[:10], schema, SCHEMA_ID)  # loads the compiled code

    def ours() -> None:
        encode(rows, schema, SCHEMA_ID)

    rates = in_turns(len(rows), {OURS: ours, FASTAVRO: _theirs(rows, schema)}, repeats=5)
    return Figure(title, rates[OURS], FASTAVRO, rates[FASTAVRO], 40)


def _theirs(rows: pa.RecordBatch, schema: AvroSchema) -> Callable[[], float]:
    """fastavro on a part of the rows, from dicts that are ready; the bytes compared with ours."""
    parsed = fastavro.parse_schema(schema)
    sample = rows[:SAMPLE]
    wanted = encode(sample, schema, SCHEMA_ID).to_pylist()
    records = sample.to_pylist()

    def work() -> float:
        found = []
        start = time.perf_counter()
        for record in records:
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, parsed, record)
            found.append(buffer.getvalue())
        taken = time.perf_counter() - start
        assert [value[5:] for value in wanted] == found
        return taken * len(rows) / len(records)

    return work
