"""The hot paths that the guard watches, each beside the kernel that shares its bottleneck. Nothing here needs a broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import kernels, topics
from gradstream.wire import codec_delimited, gather
from gradstream.wire.codec_avro import AvroDecoder, AvroSchema, encode
from gradstream.wire.held import Held, Loan
from gradstream.wire.registry import Registry, Schema
from producers.fraud import Fraud
from producers.schemas import avro_schema
from trainers import backends, models
from trainers.batches import Batches
from trainers.descent import Descent
from trainers.models import Floats, Ints

CHUNK = 8192  # records, as the trainer fetches them
TEXTS = 1024  # rows of 600 bytes
BATCH = 256
SCHEMA_ID = 7
WORDS, VALUE = 8, 96  # of a message, without what is librdkafka's own; bytes of its value
FRAME = 5  # bytes before the Avro body: a zero and the schema id
KINDS = {pa.float64(): kernels.DOUBLE, pa.int32(): kernels.INTEGER, pa.string(): kernels.TEXT}


class Hot(NamedTuple):
    """A path and its kernel, both ready to be called again and again; a call takes about a millisecond."""

    name: str
    path: Callable[[], object]
    kernel: Callable[[], object]


def paths() -> Iterator[Hot]:
    """All of them, made one after the other."""
    plain, fraud = topics.plain_rows(CHUNK), topics.fraud_rows(CHUNK // 4)
    payments = avro_schema(fraud.schema)
    yield avro_copied("Avro to matrix, 11 doubles", plain, topics.plain_schema(10))
    yield avro_read("Avro to matrix, payments", fraud, payments, prepared=True)
    yield avro_read("Avro to matrix, any schema", fraud, payments, prepared=False)
    yield avro_write("payments to Avro", fraud)
    texts: pa.RecordBatch = next(iter(Fraud(rows=TEXTS).batches()))
    yield delimited_read("DELIMITED to columns, payments", texts)
    yield delimited_write("payments to DELIMITED", texts)
    X, y = _matrix(plain)
    for name, kernel in (("numpy", kernels.descend_in_numpy), ("numba", kernels.descend)):
        yield steps(f"steps on batches of {BATCH}, {name}", name, kernel, X, y)
    yield batches("batches of one partition", X, y)
    yield gathered("librdkafka's messages to columns")


def avro_copied(name: str, rows: pa.RecordBatch, schema: AvroSchema) -> Hot:
    """Doubles only, which a decoder for the schema can copy: the kernel is NumPy's copy of the same bytes."""
    decoder, values = _decoder(schema), encode(rows, schema, SCHEMA_ID)
    data = np.frombuffer(values.buffers()[2], np.uint8)[: _ends(values)[-1]]
    bodies = data.reshape(len(rows), -1)[:, FRAME:]
    out = np.empty_like(bodies)
    names = rows.schema.names
    assert decoder.prepare(SCHEMA_ID, names)
    return Hot(name, lambda: decoder.matrix(values, names), lambda: np.copyto(out, bodies))


def avro_read(name: str, rows: pa.RecordBatch, schema: AvroSchema, prepared: bool) -> Hot:
    """Args: prepared: whether the decoder is compiled for the schema, as the trainer's is."""
    decoder, values = _decoder(schema), encode(rows, schema, SCHEMA_ID)
    data, ends = np.frombuffer(values.buffers()[2], np.uint8), _ends(values)
    kinds = np.array([KINDS[column.type] + kernels.NULLABLE for column in rows.columns])
    out = np.empty((len(rows), len(kinds)), np.int64)
    names = rows.schema.names
    assert not prepared or decoder.prepare(SCHEMA_ID, names)
    return Hot(
        name,
        lambda: decoder.matrix(values, names),
        lambda: kernels.read_avro(data, ends, kinds, out),
    )


def _decoder(schema: AvroSchema) -> AvroDecoder:
    registry = Registry("http://127.0.0.1")  # never asked
    registry.remember(Schema(SCHEMA_ID, "AVRO", json.dumps(schema)))
    return AvroDecoder(registry)


def avro_write(name: str, rows: pa.RecordBatch) -> Hot:
    schema = avro_schema(rows.schema)
    kinds = np.array([KINDS[column.type] + kernels.NULLABLE for column in rows.columns])
    numbers = np.column_stack([_bits(column) for column in rows.columns])
    out = np.empty(len(rows) * (5 + 11 * len(kinds)), np.uint8)
    return Hot(
        name,
        lambda: encode(rows, schema, SCHEMA_ID),
        lambda: kernels.write_avro(numbers, kinds, out),
    )


def delimited_read(name: str, rows: pa.RecordBatch) -> Hot:
    values = codec_delimited.encode(rows)
    data = np.frombuffer(values.buffers()[2], np.uint8)[: _ends(values)[-1]]
    out = np.empty(len(data), np.int64)
    return Hot(
        name,
        lambda: codec_delimited.decode(values, rows.schema),
        lambda: kernels.read_digits(data, out),
    )


def delimited_write(name: str, rows: pa.RecordBatch) -> Hot:
    """The kernel is what Arrow takes to write the digits of the numbers."""
    numbers = [column for column in rows.columns if pa.types.is_float64(column.type)]
    return Hot(
        name,
        lambda: codec_delimited.encode(rows),
        lambda: [pc.cast(column, pa.string()) for column in numbers],
    )


def steps(
    name: str,
    backend: str,
    kernel: Callable[..., None],
    X: Floats,
    y: Floats,
) -> Hot:
    model = models.get("linear", X.shape[1], bias=False)
    made = backends.get(backend)(model, Descent(0.01))
    state = made.init()
    w = np.zeros(X.shape[1])
    return Hot(
        name,
        lambda: made.steps(state, X, y, BATCH),
        lambda: kernel(X, y, w, BATCH, 0.01),
    )


def batches(
    name: str,
    X: Floats,
    y: Floats,
) -> Hot:
    """Four chunks into lanes and out as batches; the kernel copies the same rows."""
    at = ("topic", 0)
    offsets = np.arange(len(y))
    target = np.empty_like(X)

    def path() -> None:
        cut = Batches({at: 0}, inputs=X.shape[1] + 1, bias=True, batch_size=BATCH)
        for _ in range(4):
            cut.add(at, X, y, offsets, len(y))
            while (portion := cut.next(CHUNK)) is not None:
                cut.done(portion)

    def kernel() -> None:
        for _ in range(4):
            np.copyto(target, X)

    return Hot(name, path, kernel)


def gathered(name: str) -> Hot:
    """Messages as librdkafka lends them, of which nothing is given back; the kernel copies their values."""
    words = np.zeros((CHUNK, WORDS + VALUE // 8), np.int64)
    at = words.ctypes.data + words.strides[0] * np.arange(CHUNK)
    words[:, gather.TOPIC] = 1
    words[:, gather.PAYLOAD] = at + 8 * WORDS
    words[:, gather.PAYLOAD_LENGTH] = VALUE
    words[:, gather.OFFSET] = np.arange(CHUNK)
    values = words[:, WORDS:].view(np.uint8)
    out = np.empty_like(values)
    held = Held()
    held._timestamp, held._destroy = kernels.no_timestamp.address, kernels.no_destroy.address
    held._errors, held._slot = np.zeros(CHUNK, np.int64), np.zeros(CHUNK, np.int32)
    held._begins, held._ends = np.zeros(CHUNK, np.int64), np.zeros(CHUNK, np.int64)

    def path() -> None:
        held._messages = at.copy()
        held._state[:] = 0
        held._state[gather.TO] = CHUNK
        found = held.sort_out(CHUNK, 1 << 30)
        loan = Loan(found)
        held.lend(loan, found.n)
        assert len(loan.values) == CHUNK
        held.settle()

    return Hot(name, path, lambda: np.copyto(out, values))


def _matrix(rows: pa.RecordBatch) -> tuple[Floats, Floats]:
    """Features, shape (n, d), and target, shape (n,)."""
    columns = [column.to_numpy() for column in rows.columns]
    return np.ascontiguousarray(np.column_stack(columns[:-1])), columns[-1]


def _ends(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    return np.frombuffer(values.buffers()[1], np.int32)[: len(values) + 1]


def _bits(column: pa.Array) -> Ints:
    """A column as whole numbers: the bits of doubles, the digits of text."""
    is_double = pa.types.is_float64(column.type)
    found: Ints = (
        column.to_numpy().view(np.int64) if is_double else column.cast(pa.int64()).to_numpy()
    )
    return found
