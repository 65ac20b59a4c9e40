"""Linear regression in NumPy, as it is written by hand: decode, stack, step."""

from __future__ import annotations

import json
import time
import uuid

import numpy as np

from benchmarks.peers.programs.reading import Floats, batches, consumer, decoder, matrix
from benchmarks.peers.programs.task import BATCH, Clock, Task

RATE = 0.1


class Model:
    """Weights and intercept of a linear model."""

    def __init__(self) -> None:
        self.w = np.zeros(0)
        self.b = 0.0

    def learn(self, X: Floats, y: Floats) -> None:
        """One step of gradient descent on a batch, shapes (n, d) and (n,)."""
        if not len(self.w):
            self.w = np.zeros(X.shape[1])
        e = X @ self.w + self.b - y
        self.w -= RATE / len(y) * (e @ X)
        self.b -= RATE * float(e.mean())


def descend(task: Task, clock: Clock) -> None:
    model = Model()
    for X, y in batches(task, clock):
        model.learn(X, y)
    clock.weights = model.w


def logistic(task: Task, clock: Clock) -> None:
    """The same for payments; Time is in seconds, so the steps are small."""
    w = np.zeros(len(task.features))
    for X, y in batches(task, clock):
        w -= 1e-10 / len(y) * ((1 / (1 + np.exp(-(X @ w))) - y) @ X)


def exactly_once(task: Task, clock: Clock) -> None:
    """Weights and offsets in one transaction, as often as asked for: what the others would have to add."""
    decode, model, due = decoder(task), Model(), 0.0
    source = consumer(task, enable_auto_commit=False, isolation_level="read_committed")
    writer = transactional(task)
    while not clock.over:
        messages = source.consume(BATCH, 1.0)
        if not messages:
            continue
        model.learn(*matrix(task, decode([message.value() for message in messages])))
        if time.perf_counter() >= due:
            commit(writer, source, task, model)
            due = time.perf_counter() + task.options["every"]
        clock.tick(len(messages))
    clock.weights = model.w


def transactional(task: Task) -> object:
    """A producer whose transactions can begin."""
    from confluent_kafka import Producer

    writer = Producer(
        {
            "bootstrap.servers": task.bootstrap,
            "transactional.id": uuid.uuid4().hex,
            "linger.ms": 0,
        }
    )
    writer.init_transactions()
    return writer


def commit(writer: object, source: object, task: Task, model: Model) -> None:
    """One transaction. Without the flush librdkafka would wait a tenth of a second for the record."""
    writer.begin_transaction()  # type: ignore[attr-defined]
    writer.produce(task.options["weights_topic"], json.dumps([*model.w, model.b]))  # type: ignore[attr-defined]
    writer.flush()  # type: ignore[attr-defined]
    position = source.position(source.assignment())  # type: ignore[attr-defined]
    writer.send_offsets_to_transaction(position, source.consumer_group_metadata())  # type: ignore[attr-defined]
    writer.commit_transaction()  # type: ignore[attr-defined]
