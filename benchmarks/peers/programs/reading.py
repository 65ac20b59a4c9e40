"""Records out of a topic as most Python programs take them: by confluent-kafka's Consumer, each a Python object."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.programs.task import BATCH, Clock, Task

# Without it a consumer that trains faster than 110,000 records a second idles: librdkafka stops fetching for a whole
# second whenever its queue, of 100,000 records, is full.
TUNED = {"fetch.queue.backoff.ms": 5}

Record = dict[str, Any]
Decode = Callable[[list[bytes]], list[Record]]
Floats = npt.NDArray[np.float64]


def consumer(task: Task, **settings: object) -> Any:
    """A consumer in a new group that reads the topic from its beginning."""
    from confluent_kafka import Consumer

    dotted = {name.replace("_", "."): value for name, value in settings.items()}
    made = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            **TUNED,
            **dotted,
        }
    )
    made.subscribe([task.topic])
    return made


def chunks(task: Task, clock: Clock, size: int = BATCH) -> Iterator[list[bytes]]:
    """Values, so many at a time. Small chunks are the fastest: the client's objects stay in the caches."""
    source = consumer(task)
    while not clock.over:
        messages = source.consume(size, 1.0)
        yield [message.value() for message in messages if message.error() is None]
        clock.tick(len(messages))


def decoder(task: Task) -> Decode:
    """Of a batch: fastavro for Avro, with the schema parsed once and the registry's five bytes skipped; orjson for JSON,
    in one call for all, which would lose them all with a bad one but is a tenth faster.
    """
    if not task.schema:
        import orjson

        return lambda values: orjson.loads(b"[%b]" % b",".join(values))
    from fastavro import parse_schema, schemaless_reader

    schema = parse_schema(task.schema)
    return lambda values: [
        schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values
    ]


def matrix(task: Task, rows: list[Record]) -> tuple[Floats, Floats]:
    """Features and target of decoded records, shapes (n, d) and (n,)."""
    if task.layout in ("array", "array JSON"):
        return np.array([row["x"] for row in rows]), np.array([row["y"] for row in rows])
    # The fields of a record come in the schema's order, with the target last.
    both = np.array([list(row.values()) for row in rows], dtype=float)
    return both[:, :-1], both[:, -1]


def batches(task: Task, clock: Clock) -> Iterator[tuple[Floats, Floats]]:
    decode = decoder(task)
    for values in chunks(task, clock):
        yield matrix(task, decode(values))


def each(task: Task, clock: Clock) -> Iterator[Record]:
    """Decoded records, one by one."""
    decode = decoder(task)
    for values in chunks(task, clock):
        yield from decode(values)
