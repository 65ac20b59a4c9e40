"""The topics that all peers train on: the same records in the same order, each in five layouts at most.

flat         Avro, fields X1 … X10 and Y, 93 bytes
array        Avro, fields x (an array) and y
flat JSON    {"X1": …, "Y": …}
array JSON   {"x": […], "y": …}
fraud        Avro, 31 nullable columns
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.peers.programs.task import LAYOUTS
from gradstream.config import Services
from gradstream.wire.codec_avro import AvroSchema, encode
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from producers.schemas import avro_schema

FEATURES = 10
FLAT, ARRAY, FLAT_JSON, ARRAY_JSON, FRAUD = LAYOUTS
# The longest is for those who are through with a million in a third of a second.
ROWS = {FLAT: 3 << 20, ARRAY: 1 << 20, FLAT_JSON: 1 << 20, ARRAY_JSON: 1 << 20, FRAUD: 3 << 18}
SPARE = 4096  # records more than anyone is asked for, so that nobody waits for the end of a topic
ROUND = 65_536  # rows that are made anew; longer topics have them again and again
ARRAY_SCHEMA: AvroSchema = {
    "type": "record",
    "name": "Sample",
    "namespace": "bench",
    "fields": [
        {"name": "x", "type": {"type": "array", "items": "double"}},
        {"name": "y", "type": "double"},
    ],
}
# A framed Avro value with an array in one block: magic byte, schema id, count 10, numbers, end of the array, y.
ARRAY_BYTES = np.dtype(
    [
        ("magic", "u1"),
        ("schema", ">i4"),
        ("count", "u1"),
        ("x", "<f8", (FEATURES,)),
        ("end", "u1"),
        ("y", "<f8"),
    ]
)


@dataclass(frozen=True, slots=True)
class Feed:
    """A filled topic, as a peer is told of it; see programs.task.Task."""

    topic: str
    layout: str
    schema: AvroSchema
    features: list[str]
    target: str
    records: int


def fill(services: Services, layout: str, rows: int) -> Feed:
    """A topic of one partition with so many records, and a few more."""
    if layout == FRAUD:
        payments = avro_schema(topics.fraud_rows(1).schema)
        *features, target = [field["name"] for field in payments["fields"]]
        return Feed(topics.fraud(services, rows + SPARE), layout, payments, features, target, rows)
    made = topics.plain_rows(min(rows, ROUND), FEATURES)
    *features, last = made.schema.names
    topic = topics.name(layout.replace(" ", "_"))
    effort.NOW.say(f"filling {layout}")
    ensure_topics(services, {topic: 1})
    schemas: dict[str, AvroSchema] = {FLAT: topics.plain_schema(FEATURES), ARRAY: ARRAY_SCHEMA}
    schema = schemas.get(layout, {})
    _send(services, topic, values(made, layout, _schema_id(services, topic, schema)), rows + SPARE)
    target = "y" if layout in (ARRAY, ARRAY_JSON) else last
    return Feed(topic, layout, schema, features, target, rows)


def values(made: pa.RecordBatch, layout: str, schema_id: int) -> pa.BinaryArray:
    """Rows of features and target as the bytes of one layout."""
    if layout == FLAT:
        return encode(made, topics.plain_schema(FEATURES), schema_id)
    if layout == FLAT_JSON:
        return pa.array([orjson.dumps(row) for row in made.to_pylist()], pa.binary())
    *columns, y = [column.to_numpy() for column in made.columns]
    X = np.stack(columns, axis=1)
    if layout == ARRAY_JSON:
        told = [{"x": x, "y": each} for x, each in zip(X.tolist(), y.tolist(), strict=True)]
        return pa.array([orjson.dumps(row) for row in told], pa.binary())
    framed = np.zeros(len(y), ARRAY_BYTES)
    framed["schema"], framed["count"] = schema_id, 2 * FEATURES  # zigzag
    framed["x"], framed["y"] = X, y
    whole = pa.py_buffer(framed.tobytes())
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(ARRAY_BYTES.itemsize), len(y), [None, whole]
    )
    return fixed.cast(pa.binary())


def _schema_id(services: Services, topic: str, schema: AvroSchema) -> int:
    """Of the registered schema; 0 where there is none."""
    if not schema:
        return 0
    with closing(Registry(services.schema_registry_url)) as registry:
        return registry.register(f"{topic}-value", json.dumps(schema))


def _send(services: Services, topic: str, made: pa.BinaryArray, rows: int) -> None:
    """The values again and again until they are enough."""
    with Writer(services) as writer:
        for first in range(0, rows, len(made)):
            piece = made[: rows - first]
            writer.send(topic, piece, partitions=np.zeros(len(piece), np.int32))
        writer.flush(120)
