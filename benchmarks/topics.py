"""Topics with records to measure on: filled once in a run, shared by its files, deleted at its end."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from functools import cache
from itertools import count

import numpy as np
import pyarrow as pa

from benchmarks import effort
from gradstream.config import Services
from gradstream.console import short
from gradstream.wire.codec_avro import AvroSchema, encode
from gradstream.wire.kafka import delete_topics, ensure_topics, list_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from producers.fraud import KEPT, Fraud
from producers.schemas import avro_schema

RUN = f"bench_{uuid.uuid4().hex[:8]}"
BLOCK = 4 << 20  # bytes of numbers made at a time
ROUND = 100_000  # rows that are made anew; longer topics have them again and again
_numbers = count(1)


def name(kind: str) -> str:
    """A topic's name, which ``drop`` knows."""
    return f"{RUN}_{kind}_{next(_numbers)}"


def drop(services: Services) -> None:
    """Deletes all topics of this run."""
    delete(services, *(topic for topic in list_topics(services) if topic.startswith(RUN)))


def delete(services: Services, *topics: str) -> None:
    """Deletes topics; filled ones are filled anew when they are asked for again."""
    delete_topics(services, topics)
    for filled in (regression, fraud):
        filled.cache_clear()


def plain_schema(features: int) -> AvroSchema:
    """X1 … Xd and Y, all doubles and none of them nullable."""
    names = [*(f"X{i}" for i in range(1, features + 1)), "Y"]
    fields = [{"name": name, "type": "double"} for name in names]
    return {"type": "record", "name": "Row", "namespace": "bench", "fields": fields}


def plain_rows(rows: int, features: int = 10, seed: int = 0) -> pa.RecordBatch:
    """X normal, Y a sum of them with known weights."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, features))
    columns = [*X.T, X @ np.linspace(-1, 1, features)]
    names = [*(f"X{i}" for i in range(1, features + 1)), "Y"]
    return pa.RecordBatch.from_arrays([pa.array(c) for c in columns], names=names)


def fraud_rows(rows: int) -> pa.RecordBatch:
    """The columns of a payment that are trained on, as KSQL leaves them."""
    batches = list(Fraud(rows=rows, empty_share=0.0).batches())
    return pa.Table.from_batches(batches).select(list(KEPT)).combine_chunks().to_batches()[0]


@cache
def regression(services: Services, rows: int, features: int = 10, partitions: int = 1) -> str:
    """A topic of Avro records of features and Y, 8 bytes each and 5 more."""
    made = plain_rows(min(rows, ROUND, max(1000, BLOCK // (8 * features))), features)
    return _filled(
        services, f"regression_{features}", made, plain_schema(features), rows, partitions
    )


@cache
def fraud(services: Services, rows: int) -> str:
    """A topic of payments in Avro, 31 nullable columns, one partition."""
    made = fraud_rows(min(rows, ROUND))
    return _filled(services, "fraud", made, avro_schema(made.schema), rows, 1)


def _filled(
    services: Services,
    kind: str,
    made: pa.RecordBatch,
    schema: AvroSchema,
    rows: int,
    partitions: int,
) -> str:
    """Sends the rows again and again until they are enough, row i to partition i modulo their number."""
    topic = name(kind)
    effort.NOW.say(f"filling a topic with {short(rows)} records")
    ensure_topics(services, {topic: partitions})
    with closing(Registry(services.schema_registry_url)) as registry:
        values = encode(made, schema, registry.register(f"{topic}-value", json.dumps(schema)))
    with Writer(services) as writer:
        for first in range(0, rows, len(values)):
            piece = values[: rows - first]
            places = np.arange(first, first + len(piece)) % partitions
            writer.send(topic, piece, partitions=places.astype(np.int32))
        writer.flush(120)
    return topic
