"""River, which learns records one by one, or data frames of them."""

from __future__ import annotations

from benchmarks.peers.programs.reading import batches, each
from benchmarks.peers.programs.task import Clock, Task


def learn_one(task: Task, clock: Clock) -> None:
    from river import linear_model, optim

    model = linear_model.LinearRegression(optimizer=optim.SGD(0.01))
    for record in each(task, clock):
        y = record.pop(task.target)
        model.learn_one(record, y)
    clock.weights = [model.weights[name] for name in task.features]


def learn_many(task: Task, clock: Clock) -> None:
    import pandas as pd
    from river import linear_model, optim

    model = linear_model.LinearRegression(optimizer=optim.SGD(0.05))
    for X, y in batches(task, clock):
        model.learn_many(pd.DataFrame(X, columns=task.features), pd.Series(y))
    clock.weights = [model.weights[name] for name in task.features]
