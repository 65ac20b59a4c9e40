"""Gradient descent in Python alone: the arithmetic that the other backends are compared with.

Columns rather than rows, and map with C's operators rather than a loop, because that halves the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from operator import add, mul, sub
from time import perf_counter_ns
from typing import ClassVar

import numpy as np

from trainers.backends.base import Backend, State
from trainers.models import Floats

Column = list[float]


class PythonBackend(Backend):
    name: ClassVar[str] = "python"

    def steps(
        self, state: State, X: Floats, y: Floats, batch_size: int, passes: int = 1
    ) -> tuple[State, Floats]:
        started = perf_counter_ns()
        batches: list[tuple[list[Column], Column]] = [
            (X[i : i + batch_size].T.tolist(), y[i : i + batch_size].tolist())
            for i in range(0, len(y), batch_size)
        ]
        self.spent["transfer"] = (
            self.spent.get("transfer", 0) + (perf_counter_ns() - started) // 1000
        )
        w: tuple[float, ...] = state["w"]
        losses = []
        for _ in range(passes):
            for columns, target in batches:
                w, loss = _step(w, columns, target, self.learning_rate)
                losses.append(loss)
        return {"w": w}, np.array(losses, np.float64)

    def predict(self, state: State, X: Floats) -> Floats:
        return np.array(list(_weighted(state["w"], X.T.tolist())), np.float64)

    def export(self, state: State) -> dict[str, Floats]:
        return {name: np.array(values, np.float64) for name, values in state.items()}

    def load(self, tensors: Mapping[str, Floats]) -> State:
        return {name: tuple(t.tolist()) for name, t in self.model.checked(tensors).items()}


def _weighted(w: tuple[float, ...], columns: list[Column]) -> Iterable[float]:
    """Σ w[j] · column j, one number a row."""
    total: Iterable[float] = map(mul, columns[0], repeat(w[0]))
    for column, weight in zip(columns[1:], w[1:], strict=True):
        total = map(add, total, map(mul, column, repeat(weight)))
    return total


def _step(
    w: tuple[float, ...], columns: list[Column], target: Column, learning_rate: float
) -> tuple[tuple[float, ...], float]:
    residuals = list(map(sub, _weighted(w, columns), target))
    rate = learning_rate * 2 / len(target)
    new = tuple(
        weight - rate * sum(map(mul, residuals, column))
        for weight, column in zip(w, columns, strict=True)
    )
    return new, sum(map(mul, residuals, residuals)) / len(target)
