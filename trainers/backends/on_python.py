"""Gradient descent in Python alone: the arithmetic that the other backends are compared with.

Columns rather than rows, comprehensions and map rather than loops, because that halves the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import mul
from time import perf_counter_ns
from typing import ClassVar, TypeAlias

import numpy as np

from trainers.backends.base import Backend, State
from trainers.models import Floats

Column: TypeAlias = list[float]
Weights: TypeAlias = tuple[float, ...]


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
        w: Weights = state["w"]
        losses = []
        for _ in range(passes):
            for columns, target in batches:
                w, loss = _step(w, columns, target, self.learning_rate, self.model.bias)
                losses.append(loss)
        return {"w": w}, np.array(losses, np.float64)

    def predict(self, state: State, X: Floats) -> Floats:
        return np.array(_answers(state["w"], X.T.tolist(), [0.0] * len(X)), np.float64)

    def export(self, state: State) -> dict[str, Floats]:
        return {name: np.array(values, np.float64) for name, values in state.items()}

    def load(self, tensors: Mapping[str, Floats]) -> State:
        return {name: tuple(t.tolist()) for name, t in self.model.checked(tensors).items()}


def _answers(w: Weights, columns: list[Column], start: Column) -> Column:
    """start + Σ w[j] · column j, one number a row. Two columns a pass, since a pass costs more than a product."""
    total = start
    if len(w) % 2:
        (a,), (u,) = columns[:1], w[:1]
        total = [t + u * x for t, x in zip(total, a, strict=True)]
    for j in range(len(w) % 2, len(w), 2):
        a, b = columns[j : j + 2]
        u, v = w[j : j + 2]
        total = [t + u * x + v * z for t, x, z in zip(total, a, b, strict=True)]
    return total


def _step(
    w: Weights, columns: list[Column], target: Column, learning_rate: float, bias: bool
) -> tuple[Weights, float]:
    """One step; with a bias, column 0 is all ones, so it needs no products."""
    intercept = w[0] if bias else 0.0
    if bias and len(w) == 2:
        slope = w[1]
        residuals = [intercept + slope * x - t for x, t in zip(columns[1], target, strict=True)]
    else:
        start = [intercept - t for t in target]
        residuals = _answers(w[bias:], columns[bias:], start)
    rate = learning_rate * 2 / len(target)
    sums = [sum(map(mul, residuals, column)) for column in columns[bias:]]
    if bias:
        sums.insert(0, sum(residuals))
    new = tuple(weight - rate * each for weight, each in zip(w, sums, strict=True))
    return new, sum(map(mul, residuals, residuals)) / len(target)
