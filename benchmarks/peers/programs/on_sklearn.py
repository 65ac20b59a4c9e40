"""scikit-learn's SGDRegressor, which learns batches by ``partial_fit``."""

from __future__ import annotations

from benchmarks.peers.programs.reading import batches
from benchmarks.peers.programs.task import Clock, Task


def partial_fit(task: Task, clock: Clock) -> None:
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(learning_rate="constant", eta0=0.01, penalty=None)
    for X, y in batches(task, clock):
        model.partial_fit(X, y)
    clock.weights = model.coef_
