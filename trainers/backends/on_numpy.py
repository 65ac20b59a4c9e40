"""Gradient descent on NumPy: the arithmetic as it is told, one call a line."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import numpy as np

from trainers.backends.base import Backend, State, Steps
from trainers.descent import Descent
from trainers.models import Floats, Model

Tensors: TypeAlias = dict[str, Floats]

# Batches of many rows of few numbers: BLAS takes their products two to four times as fast by columns, which pays for
# turning them even if they are used once.
TALL, NARROW = 1024, 5


class NumpyBackend(Backend):
    name: ClassVar[str] = "numpy"

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._kind = np.dtype(dtype)
        self._decay: Tensors = {}
        if descent.l2:
            self._decay = {
                p.name: (descent.l2 * model.decayed(p.name)).astype(self._kind)
                for p in model.parameters
            }

    def _place(self, array: Floats) -> Any:
        return array.astype(self._kind)

    def _fetch(self, tensor: Any) -> Any:
        return tensor

    def predict(self, state: State, X: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            answer, _ = self._answer(state, X.astype(self._kind, copy=False))
            return np.asarray(self._scores(answer, X), np.float64)

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        new = {name: t.copy() for name, t in state.items() if name != "step"}
        batches, size, _ = X.shape
        steps = passes * batches
        table = self._table(state, steps).astype(self._kind, copy=False)
        if self._kind != X.dtype:
            with self._timed("transfer"):
                X, y = X.astype(self._kind), y.astype(self._kind)
                weights = None if weights is None else weights.astype(self._kind)
        losses = np.empty(steps)
        scores = np.empty((batches, size)) if self.model.classifies else None
        plain = self.descent.plain and not self.model.layers and weights is None
        if plain and size >= TALL and X.shape[2] <= NARROW:
            X = np.ascontiguousarray(X.transpose(0, 2, 1)).transpose(0, 2, 1)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for first in range(0, steps, batches):
                rows, end = table[first : first + batches], first + batches
                if plain and self.model.loss == "mean_squared_error":
                    losses[first:end] = _least_squares(new["w"], X, y, rows[:, 0])
                    continue
                for i in range(batches):
                    s = None if weights is None else weights[i]
                    loss, score, gradient = self._gradient(new, X[i], y[i], s)
                    losses[first + i] = loss
                    if scores is not None and not first:
                        scores[i] = score
                    self._update(new, gradient, rows[i])
        return Steps({**new, "step": state["step"] + steps}, losses, scores)

    def _answer(self, p: State, X: Floats) -> tuple[Floats, list[Floats]]:
        """The last layer's outputs, and the inputs of each layer."""
        if not self.model.layers:
            return X @ p["w"], [X]
        inputs = [X]
        for number, layer in enumerate(self.model.layers, 1):
            a = inputs[-1] @ p[f"W{number}"]
            a += p[f"b{number}"]
            if layer.activation == "tanh":
                np.tanh(a, out=a)
            elif layer.activation == "relu":
                np.maximum(a, 0, out=a)
            inputs.append(a)
        return inputs.pop(), inputs

    def _scores(self, answer: Floats, X: Floats) -> Floats:
        if self.model.reconstructs:
            scores: Floats = np.mean(np.square(answer - X), axis=1)
            return scores
        answer = answer.reshape(len(X))
        return _sigmoid(answer) if self.model.loss == "log_loss" else answer

    def _gradient(
        self, p: State, X: Floats, y: Floats, weights: Floats | None
    ) -> tuple[float, Floats | None, Tensors]:
        """Loss of a batch, scores of its rows where the model classifies, and the gradient of the data's loss."""
        answer, inputs = self._answer(p, X)
        a = answer if self.model.reconstructs else answer.reshape(len(X))
        scores: Floats | None = None
        if self.model.loss == "log_loss":
            each = np.maximum(a, 0) - a * y + np.log1p(np.exp(-np.abs(a)))
            scores = _sigmoid(a)
            delta = scores - y
        else:
            delta = a - (X if self.model.reconstructs else y)
            each = np.square(delta)
            if self.model.reconstructs:
                each = scores = each.mean(axis=1)
            delta = delta * 2
        if weights is not None:
            each = each * weights
            delta = delta * (weights[:, np.newaxis] if delta.ndim == 2 else weights)
        delta /= delta.size
        return float(each.mean()), scores, self._backwards(p, inputs, delta)

    def _backwards(self, p: State, inputs: list[Floats], delta: Floats) -> Tensors:
        """The gradient, from ``delta`` = ∂ loss / ∂ answer."""
        if not self.model.layers:
            return {"w": delta @ inputs[0]}
        found = {}
        delta = delta.reshape(len(delta), -1)
        for number in range(len(self.model.layers), 0, -1):
            x = inputs[number - 1]
            found[f"W{number}"] = x.T @ delta
            found[f"b{number}"] = delta.sum(axis=0)
            if number > 1:
                delta = delta @ p[f"W{number}"].T
                if self.model.layers[number - 2].activation == "tanh":
                    delta *= 1 - x * x
                elif self.model.layers[number - 2].activation == "relu":
                    delta *= x > 0
        return found

    def _update(self, p: Tensors, gradient: Tensors, row: Floats) -> None:
        """Changes parameters and slots by one step."""
        rate, first, second = row
        how = self.descent
        if how.l2:
            for name, g in gradient.items():
                g += self._decay[name] * p[name]
        if how.clip is not None:
            norm = np.sqrt(sum(np.vdot(g, g) for g in gradient.values()))
            if norm > how.clip:
                for g in gradient.values():
                    g *= how.clip / norm
        for name, g in gradient.items():
            if how.optimizer == "sgd":
                p[name] -= rate * g
                continue
            m = p[f"optimizer/m/{name}"]
            if how.optimizer == "momentum":
                m *= how.momentum
                m += g
                p[name] -= rate * m
                continue
            v = p[f"optimizer/v/{name}"]
            m *= how.beta1
            m += (1 - how.beta1) * g
            v *= how.beta2
            v += (1 - how.beta2) * np.square(g)
            p[name] -= rate * (m * first) / (np.sqrt(v * second) + how.epsilon)


def _least_squares(w: Floats, X: Floats, y: Floats, rates: Floats) -> Floats:
    """Plain steps of the linear model, in three calls a batch. Changes w; the losses (batches,) come from the
    residuals at the end, since that is one call and not one a batch.
    """
    residuals = np.empty_like(y)
    gradient = np.empty_like(w)
    for Xb, yb, r, rate in zip(X, y, residuals, (rates * 2 / y.shape[1]).tolist(), strict=True):
        np.dot(Xb, w, out=r)
        r -= yb
        np.dot(r, Xb, out=gradient)
        gradient *= rate
        w -= gradient
    squares: Floats = np.vecdot(residuals, residuals)
    squares /= y.shape[1]
    return squares


def _sigmoid(a: Floats) -> Floats:
    """1 / (1 + e^−a) without overflow."""
    e = np.exp(-np.abs(a))
    found: Floats = np.where(a >= 0, 1, e) / (1 + e)
    return found
