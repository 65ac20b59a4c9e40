"""Pathway, whose Rust reads JSON and hands rows to Python: one by one, or as many as there are to a reducer.

Least squares from sums of products, which Pathway would keep up to date in Rust alone, are five times slower.
"""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from benchmarks.peers.programs.by_hand import Model
from benchmarks.peers.programs.reading import TUNED
from benchmarks.peers.programs.task import BATCH, Clock, Task

BACKLOG = 20_000  # records that may be on their way through the graph
EVERY_MS = 100  # between two times of the graph


def subscribed(task: Task, clock: Clock) -> None:
    """A callback gets each row and learns from 256 of them at a time."""
    import pathway as pw

    model = Model()
    rows: list[list[float]] = []
    targets: list[float] = []

    def changed(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        rows.append(row["x"])
        targets.append(row["y"])
        if len(rows) == BATCH:
            model.learn(np.array(rows), np.array(targets))
            rows.clear()
            targets.clear()
            if clock.tick(BATCH):
                clock.weights = model.w
                clock.leave()

    pw.io.subscribe(table(task), on_change=changed)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


def reduced(task: Task, clock: Clock) -> None:
    """A reducer gets all rows of a time of the graph; the weights are its state."""
    import pathway as pw

    @pw.reducers.stateful_many  # type: ignore[untyped-decorator]
    def learn(state: tuple[float, ...] | None, rows: list[Any]) -> tuple[float, ...]:
        model = Model()
        if state:
            model.w, model.b = np.array(state[:-1]), state[-1]
        X, y = np.array([row[0] for row, _ in rows]), np.array([row[1] for row, _ in rows])
        for first in range(0, len(y), BATCH):
            model.learn(X[first : first + BATCH], y[first : first + BATCH])
        if clock.tick(len(y)):
            clock.weights = model.w
            clock.leave()
        return (*model.w.tolist(), model.b)

    learned = table(task).reduce(weights=learn(pw.this.x, pw.this.y))
    pw.io.subscribe(learned, on_change=lambda key, row, time, is_addition: None)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


def table(task: Task) -> Any:
    import pathway as pw

    class Row(pw.Schema):  # type: ignore[misc]
        x: list[float]
        y: float

    return pw.io.kafka.read(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            **{name: str(value) for name, value in TUNED.items()},
        },
        topic=task.topic,
        schema=Row,
        format="json",
        autocommit_duration_ms=EVERY_MS,
        max_backlog_size=BACKLOG,
    )
