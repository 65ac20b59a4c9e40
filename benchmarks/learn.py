"""What do batches, metrics and checks around a backend cost, from rows in memory to trained?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from trainers.batches import Batches
from trainers.learner import Learner, Rows
from trainers.models import Floats, Ints
from trainers.preflight import Plan, prepared

QUESTION = "rows in memory → trained, beside the backend alone"
ROWS = 1_000_000
CHUNK = 8192  # as the trainer fetches them
BATCH = 256


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS) // BATCH * BATCH
    made = topics.plain_rows(rows)
    matrix = np.column_stack([column.to_numpy() for column in made.columns])
    X, y = np.ascontiguousarray(matrix[:, :-1]), np.ascontiguousarray(matrix[:, -1])
    job = trained.job(topics.regression(services, topics.ROUND))
    figures = []
    for backend in ("numpy", "numba"):
        with prepared(replace(job, backend=backend), services) as plan:
            ours, alone = _ours(plan, X, y), _alone(plan, X, y)
            rates = in_turns(rows, {"gradstream": ours, backend: alone}, repeats=5)
        name = f"10 features, batches of {BATCH}, {backend}"
        reference = f"{backend}'s steps alone"
        figures.append(Figure(name, rates["gradstream"], reference, rates[backend]))
    return figures


def _ours(plan: Plan, X: Floats, y: Floats) -> Callable[[], None]:
    """The trainer's loop without Kafka: rows into lanes, batches cut, learned, counted as done."""
    at = (plan.job.source, 0)
    offsets: Ints = np.arange(len(y))

    def work() -> None:
        learner = Learner(plan)
        learner.begin(None)
        batches = Batches({at: 0}, inputs=plan.model.inputs, bias=plan.model.bias, batch_size=BATCH)
        batches.stop_at({at: len(y)})
        step = 0
        for first in range(0, len(y), CHUNK):
            rows = slice(first, first + CHUNK)
            batches.add(at, X[rows], y[rows], offsets[rows], int(offsets[rows][-1]) + 1)
            while (portion := batches.next(CHUNK)) is not None:
                learned = learner.learn(Rows(portion.X, portion.y, portion.batch_size), step)
                learner.adopt(learned)
                step += len(learned.made.losses)
                batches.done(portion)
        assert step == len(y) // BATCH

    return work


def _alone(plan: Plan, X: Floats, y: Floats) -> Callable[[], None]:
    design = plan.model.design(X)

    def work() -> None:
        state = plan.backend.init()
        for first in range(0, len(y), CHUNK):
            rows = slice(first, first + CHUNK)
            state = plan.backend.steps(state, design[rows], y[rows], BATCH).state

    return work
