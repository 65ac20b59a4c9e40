"""Quix Streams, which processes records one by one; what is learned goes to a topic, or lives in its state."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.peers.programs.by_hand import Model
from benchmarks.peers.programs.reading import TUNED, Record, matrix
from benchmarks.peers.programs.task import BATCH, Clock, Task


def application(task: Task) -> Any:
    """With commits each second: the default, 5 s, is longer than a run. Other settings are those of Quix."""
    from quixstreams import Application

    return Application(
        task.bootstrap,
        consumer_group=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        loglevel="WARNING",
        processing_guarantee=task.options["guarantee"],
        commit_interval=1.0,
        commit_every=task.options.get("commit_every", 0),
        state_dir=tempfile.mkdtemp(),
        consumer_extra_config=dict(TUNED),
    )


def source(app: Any, task: Task) -> Any:
    """The records of the topic; JSON is read by Quix's own deserializer, which is orjson."""
    if not task.schema:
        return app.dataframe(app.topic(task.topic, value_deserializer="json"))
    from quixstreams.models.serializers.avro import AvroDeserializer

    class Framed(AvroDeserializer):  # type: ignore[misc]
        """Without the registry's five bytes."""

        def __call__(self, value: bytes, ctx: Any) -> Mapping[str, Any]:
            return super().__call__(value[5:], ctx)  # type: ignore[no-any-return]

    return app.dataframe(app.topic(task.topic, value_deserializer=Framed(task.schema)))


def batched(task: Task, clock: Clock) -> None:
    """Rows wait in a list for their batch, which is what makes Quix fastest: NumPy is called once for 256 rows.

    Weights go to a topic with each batch. Offsets are committed without regard to the rows that wait.
    """
    app = application(task)
    model = Model()
    rows: list[Record] = []

    def train(row: Record) -> list[float] | None:
        rows.append(row)
        if len(rows) < BATCH:
            return None
        model.learn(*matrix(task, rows))
        rows.clear()
        if clock.tick(BATCH):
            clock.weights = model.w
            clock.leave()
        return [*model.w.tolist(), model.b]

    told = source(app, task).apply(train).filter(lambda weights: weights is not None)
    told.to_topic(app.topic(task.options["weights_topic"], value_serializer="json"))
    app.run()


def in_state(task: Task, clock: Clock) -> None:
    """Weights in Quix's state after each record: what ties them to the offsets."""
    app = application(task)
    seen = 0

    def train(row: Record, state: Any) -> None:
        nonlocal seen
        w = np.array(state.get("w", [0.0] * 11))
        x = np.array([*row["x"], 1.0])
        w -= 0.01 * (x @ w - row["y"]) * x
        state.set("w", w.tolist())
        seen += 1
        if seen % BATCH == 0 and clock.tick(BATCH):
            clock.weights = w[:10]
            clock.leave()

    source(app, task).apply(train, stateful=True)
    app.run()
