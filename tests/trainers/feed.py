"""Puts numbers into a topic as Avro, for tests of the trainer."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from trainers.models import Floats

Unique = Callable[[str], str]


def schema_of(columns: int) -> str:
    """A name and a flag that are no numbers, X1 … Xd as nullable doubles as ksqlDB writes them, and Y."""
    nullable = ["null", "double"]
    fields: list[dict[str, object]] = [
        {"name": "SENSOR", "type": ["null", "string"], "default": None}
    ]
    fields.append({"name": "FLAG", "type": "boolean"})
    fields += [
        {"name": name, "type": nullable, "default": None}
        for name in [*(f"X{i}" for i in range(1, columns + 1)), "Y"]
    ]
    return json.dumps(
        {"type": "record", "name": "Row", "namespace": "gradstream.test", "fields": fields}
    )


def values_of(X: Floats, y: Floats, schema_id: int) -> pa.BinaryArray:
    names = ["SENSOR", "FLAG", *(f"X{i}" for i in range(1, X.shape[1] + 1)), "Y"]
    others = [pa.array(["Xxnn"] * len(y)), pa.array([True] * len(y))]
    batch = pa.RecordBatch.from_arrays(
        [*others, *(pa.array(column) for column in X.T), pa.array(y)], names=names
    )
    return encode(batch, schema_of(X.shape[1]), schema_id)


class Topic:
    """A training topic of a test's own, with topics for its weights and dead letters."""

    def __init__(
        self, services: Services, unique: Unique, columns: int, partitions: int = 1
    ) -> None:
        self.services = services
        self.name = unique("training")
        self.weights = unique("weights")
        self.dead = unique("dead")
        self.columns = columns
        self.run = unique("run")  # runs are known to the whole broker
        ensure_topics(services, {self.name: partitions})
        registry = Registry(services.schema_registry_url)
        self.schema_id = registry.register(f"{self.name}-value", schema_of(columns))
        registry.close()

    def send(
        self,
        X: Floats,
        y: Floats,
        partition: int = 0,
        poison: dict[int, bytes | None] | None = None,
        transactional: bool = False,
    ) -> None:
        """Rows in order, with values put in before given rows; in transactions of 100 if asked, to leave gaps."""
        values = values_of(X, y, self.schema_id).to_pylist()
        for row in sorted(poison or {}, reverse=True):
            assert poison is not None
            values.insert(row, poison[row])
        size = 100 if transactional else len(values)
        name = f"tx-{self.name}-{partition}" if transactional else None
        with Writer(self.services, transactional_id=name) as writer:
            for first in range(0, len(values), size):
                chunk = pa.array(values[first : first + size], pa.binary())
                if transactional:
                    writer.begin()
                writer.send(self.name, chunk, partitions=np.full(len(chunk), partition, np.int32))
                if transactional:
                    writer.commit(None, None)
            writer.flush()


def data(rows: int, columns: int, seed: int = 1) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, columns))
    return X, X @ np.arange(1.0, columns + 1) + 0.5 + 0.1 * random.normal(size=rows)
