"""Gradient descent on NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trainers.backends.base import Backend, State
from trainers.models import Floats


class NumpyBackend(Backend):
    name: ClassVar[str] = "numpy"

    def steps(
        self, state: State, X: Floats, y: Floats, batch_size: int, passes: int = 1
    ) -> tuple[State, Floats]:
        w = state["w"].copy()
        n = len(y)
        full = n - n % batch_size
        runs = [(X[:full], y[:full], batch_size)] if full else []
        if full < n:
            runs.append((X[full:], y[full:], n - full))
        losses = []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(passes):
                for rows, target, size in runs:
                    losses.append(self._descend(w, rows, target, size))
        return {"w": w}, np.concatenate(losses) if losses else np.empty(0)

    def _descend(self, w: Floats, X: Floats, y: Floats, size: int) -> Floats:
        """Changes w by one step for each ``size`` rows; the losses (n / size,) come from the residuals at the end,
        since that is one call and not one a batch.
        """
        count = len(y) // size
        residuals = np.empty((count, size))
        gradient = np.empty(len(w))
        rate = self.learning_rate * 2 / size
        batches = X.reshape(count, size, X.shape[1])
        for Xb, yb, r in zip(batches, y.reshape(count, size), residuals, strict=True):
            np.dot(Xb, w, out=r)
            r -= yb
            np.dot(r, Xb, out=gradient)
            gradient *= rate
            w -= gradient
        squares: Floats = np.einsum("ij,ij->i", residuals, residuals)
        return squares / size

    def predict(self, state: State, X: Floats) -> Floats:
        answer: Floats = X @ state["w"]
        return answer

    def export(self, state: State) -> dict[str, Floats]:
        return {name: array.copy() for name, array in state.items()}

    def load(self, tensors: Mapping[str, Floats]) -> State:
        return self.model.checked(tensors)
