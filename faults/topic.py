"""A training topic of the laboratory's own: known rows, and some records among them that nobody can train on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from trainers.models import Floats

NULLABLE = ["null", "double"]


def schema_of(columns: int) -> str:
    """A masked name, X1 … Xd and Y, nullable as ksqlDB writes them."""
    numbers = [*(f"X{i}" for i in range(1, columns + 1)), "Y"]
    types = {"SENSOR": ["null", "string"], **dict.fromkeys(numbers, NULLABLE)}
    fields = [{"name": name, "type": kind, "default": None} for name, kind in types.items()]
    return json.dumps(
        {"type": "record", "name": "Row", "namespace": "gradstream.faults", "fields": fields}
    )


def data(rows: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    """Features, shape (rows, columns), and a target that is linear in them but for some noise."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, columns))
    return X, X @ np.arange(1.0, columns + 1) + 0.5 + 0.1 * random.normal(size=rows)


class Topic:
    """A topic with topics for the weights and the dead letters of its runs.

    Attributes:
        name, weights, dead: the topics.
        schema_id: of its records.
    """

    def __init__(self, services: Services, name: str, columns: int, partitions: int) -> None:
        self.services, self.name = services, name
        self.weights, self.dead = f"{name}-weights", f"{name}-dead"
        self.columns, self.partitions = columns, partitions
        ensure_topics(services, {name: partitions})
        with closing(Registry(services.schema_registry_url)) as registry:
            self.schema_id = registry.register(f"{name}-value", schema_of(columns))

    def values(self, X: Floats, y: Floats) -> pa.BinaryArray:
        """The records of rows, framed for the registry's schema."""
        names = ["SENSOR", *(f"X{i}" for i in range(1, self.columns + 1)), "Y"]
        columns = [pa.array(["Xxxx-n"] * len(y)), *map(pa.array, X.T), pa.array(y)]
        batch = pa.RecordBatch.from_arrays(columns, names=names)
        return encode(batch, schema_of(self.columns), self.schema_id)

    def send(
        self,
        X: Floats,
        y: Floats,
        partition: int = 0,
        poison: Mapping[int, bytes | None] | None = None,
    ) -> None:
        """Rows in order, into one partition.

        Args:
            poison: values that are put in before given rows.
        """
        values = self.values(X, y)
        if poison:
            whole = values.to_pylist()
            for row in sorted(poison, reverse=True):
                whole.insert(row, poison[row])
            values = pa.array(whole, pa.binary())
        with Writer(self.services) as writer:
            writer.send(self.name, values, partitions=np.full(len(values), partition, np.int32))
            writer.flush()

    def fill(self, rows: int, seed: int = 1) -> None:
        """Rows over all partitions, unequally, each with poison at its beginning, in its middle and at its end."""
        shares = np.arange(1, self.partitions + 1) + self.partitions
        for partition, share in enumerate(shares.tolist()):
            count = max(4, int(rows * share / shares.sum()))
            X, y = data(count, self.columns, seed * 1000 + partition)
            X[count // 3, 0] = np.nan
            poison = {0: b"junk", count // 2: None, count // 2 + 7: b"\0\0", count: b"{}"}
            self.send(X, y, partition, poison)
