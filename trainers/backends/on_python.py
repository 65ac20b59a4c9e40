"""Gradient descent in Python alone: the arithmetic that the other backends are compared with.

Columns rather than rows, comprehensions and map rather than loops, because that halves the time. A tensor is a list of
numbers while it is worked on, its rows one after the other: of a W of shape (inputs, outputs), ``W[o::outputs]`` are
the weights into output o, and ``W[i * outputs : (i + 1) * outputs]`` those out of input i.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import mul, sub
from typing import Any, ClassVar, TypeAlias

import numpy as np

from trainers.backends.base import Backend, State, Steps
from trainers.descent import Descent
from trainers.models import Activation, Floats, Model

Column: TypeAlias = list[float]
Tensors: TypeAlias = dict[str, list[float]]


class PythonBackend(Backend):
    """Computes in float64 only, since that is what Python's numbers are."""

    name: ClassVar[str] = "python"
    dtypes: ClassVar[tuple[str, ...]] = ("float64",)

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._decay: Tensors = {}
        if descent.l2:
            self._decay = {
                p.name: (descent.l2 * model.decayed(p.name)).ravel().tolist()
                for p in model.parameters
            }

    def _place(self, array: Floats) -> Any:
        return array.tolist()

    def _fetch(self, tensor: Any) -> Any:
        return tensor

    def predict(self, state: State, X: Floats) -> Floats:
        columns = X.T.tolist()
        answers = self._forward(_flat(state), columns)[-1]
        return np.array(self._scores(answers, columns), np.float64)

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        with self._timed("transfer"):
            columns, targets = [batch.T.tolist() for batch in X], y.tolist()
            s = [None] * len(X) if weights is None else weights.tolist()
        p = _flat(state)
        table = self._table(state, passes * len(X)).tolist()
        losses: list[float] = []
        scores: list[Column | None] = []
        for step, row in enumerate(table):
            i = step % len(X)
            loss, score, gradient = self._gradient(p, columns[i], targets[i], s[i])
            losses.append(loss)
            if step < len(X):
                scores.append(score)
            self._update(p, gradient, row)
        end = {name: _shaped(values, state[name]) for name, values in p.items()}
        return Steps(
            {**end, "step": state["step"] + len(table)},
            np.array(losses, np.float64),
            np.array(scores, np.float64) if self.model.classifies else None,
        )

    def _forward(self, p: Tensors, columns: list[Column]) -> list[list[Column]]:
        """The columns that go into each layer, then those that come out of the last."""
        if not self.model.layers:
            return [columns, [self._sums(p["w"], columns, [0.0] * len(columns[0]))]]
        found = [columns]
        for number, layer in enumerate(self.model.layers, 1):
            W, b = p[f"W{number}"], p[f"b{number}"]
            found.append(
                [
                    _activated(
                        layer.activation,
                        _weighted_sum(W[o :: layer.outputs], found[-1], [b[o]] * len(found[-1][0])),
                    )
                    for o in range(layer.outputs)
                ]
            )
        return found

    def _sums(self, w: Column, columns: list[Column], start: Column) -> Column:
        """start + Σ w[j] · column j of a model without layers; a bias's column is all ones and needs no products."""
        if not self.model.bias:
            return _weighted_sum(w, columns, start)
        intercept = w[0]
        return _weighted_sum(w[1:], columns[1:], [intercept + t for t in start])

    def _residuals(self, w: Column, columns: list[Column], target: Column) -> Column:
        """answer − target of the linear model."""
        if self.model.bias and len(w) == 2:  # one feature, in one pass
            intercept, slope = w
            return [intercept + slope * x - t for x, t in zip(columns[1], target, strict=True)]
        return self._sums(w, columns, [-t for t in target])

    def _scores(self, answers: list[Column], columns: list[Column]) -> Column:
        if self.model.reconstructs:
            return _mean_squares(list(map(_minus, answers, columns)))
        return _sigmoid(answers[0]) if self.model.loss == "log_loss" else answers[0]

    def _gradient(
        self, p: Tensors, columns: list[Column], target: Column, weights: Column | None
    ) -> tuple[float, Column | None, Tensors]:
        """Loss of a batch, scores of its rows where the model classifies, and the gradient of the data's loss."""
        squares = self.model.loss == "mean_squared_error"
        each: Iterable[float]
        if squares and not self.model.layers:
            inputs, deltas = [columns], [self._residuals(p["w"], columns, target)]
            each, scores = map(mul, deltas[0], deltas[0]), None
        else:
            *inputs, answers = self._forward(p, columns)
            deltas, each, scores = self._losses(answers, columns, target)
        if weights is not None:
            each = map(mul, each, weights)
            deltas = [list(map(mul, delta, weights)) for delta in deltas]
        factor = (2 if squares else 1) / (len(target) * len(deltas))
        return sum(each) / len(target), scores, self._backwards(p, inputs, deltas, factor)

    def _losses(
        self, answers: list[Column], columns: list[Column], target: Column
    ) -> tuple[list[Column], Iterable[float], Column | None]:
        """∂ loss / ∂ answer but for a factor, one column an answer; loss and score of each row."""
        if self.model.reconstructs:
            deltas = list(map(_minus, answers, columns))
            each = _mean_squares(deltas)
            return deltas, each, each
        if self.model.loss == "log_loss":
            scores = _sigmoid(answers[0])
            return [_minus(scores, target)], _log_losses(answers[0], target), scores
        delta = _minus(answers[0], target)
        return [delta], map(mul, delta, delta), None

    def _backwards(
        self, p: Tensors, inputs: list[list[Column]], deltas: list[Column], factor: float
    ) -> Tensors:
        """The gradient, from ``factor · deltas`` = ∂ loss / ∂ answer."""
        if not self.model.layers:
            bias = self.model.bias
            sums = [sum(map(mul, deltas[0], column)) for column in inputs[0][bias:]]
            if bias:
                sums.insert(0, sum(deltas[0]))
            return {"w": [factor * each for each in sums]}
        found = {}
        for number in range(len(self.model.layers), 0, -1):
            xs, W, width = inputs[number - 1], p[f"W{number}"], len(deltas)
            found[f"W{number}"] = [factor * sum(map(mul, x, delta)) for x in xs for delta in deltas]
            found[f"b{number}"] = [factor * sum(delta) for delta in deltas]
            if number > 1:
                none = [0.0] * len(deltas[0])
                kind = self.model.layers[number - 2].activation
                deltas = [
                    _through(kind, x, _weighted_sum(W[i * width : (i + 1) * width], deltas, none))
                    for i, x in enumerate(xs)
                ]
        return found

    def _update(self, p: Tensors, gradient: Tensors, row: Column) -> None:
        """Changes parameters and slots by one step."""
        rate, first, second = row
        how = self.descent
        if how.l2:
            for name, g in gradient.items():
                decay = zip(g, self._decay[name], p[name], strict=True)
                gradient[name] = [a + d * x for a, d, x in decay]
        if how.clip is not None:
            norm = math.sqrt(sum(sum(map(mul, g, g)) for g in gradient.values()))
            if norm > how.clip:
                scale = how.clip / norm
                gradient = {name: [a * scale for a in g] for name, g in gradient.items()}
        for name, g in gradient.items():
            if how.optimizer == "adam":
                g = self._adam(p, name, g, first, second)
            elif how.optimizer == "momentum":
                m = p[f"optimizer/m/{name}"]
                g = p[f"optimizer/m/{name}"] = [
                    how.momentum * x + a for x, a in zip(m, g, strict=True)
                ]
            p[name] = [x - rate * a for x, a in zip(p[name], g, strict=True)]

    def _adam(self, p: Tensors, name: str, g: Column, first: float, second: float) -> Column:
        """The way to go, rate apart; the slots go on by one step."""
        how, m, v = self.descent, p[f"optimizer/m/{name}"], p[f"optimizer/v/{name}"]
        m = [how.beta1 * x + (1 - how.beta1) * a for x, a in zip(m, g, strict=True)]
        v = [how.beta2 * x + (1 - how.beta2) * (a * a) for x, a in zip(v, g, strict=True)]
        p[f"optimizer/m/{name}"], p[f"optimizer/v/{name}"] = m, v
        return [
            a * first / (math.sqrt(b * second) + how.epsilon) for a, b in zip(m, v, strict=True)
        ]


def _flat(state: State) -> Tensors:
    """The tensors as lists of numbers of their own."""
    return {
        name: [x for row in t for x in row] if isinstance(t[0], list) else list(t)
        for name, t in state.items()
        if name != "step"
    }


def _shaped(values: Column, like: list[Any]) -> list[Any]:
    """The numbers as a tensor of another one's shape."""
    if not isinstance(like[0], list):
        return values
    width = len(like[0])
    return [values[i : i + width] for i in range(0, len(values), width)]


def _weighted_sum(w: Column, columns: list[Column], start: Column) -> Column:
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


def _minus(a: Column, b: Column) -> Column:
    return list(map(sub, a, b))


def _mean_squares(columns: list[Column]) -> Column:
    """Of each row, over the columns."""
    return [sum(map(mul, row, row)) / len(row) for row in zip(*columns, strict=True)]


def _activated(kind: Activation, a: Column) -> Column:
    if kind == "tanh":
        return list(map(math.tanh, a))
    return [0.0 if x < 0 else x for x in a] if kind == "relu" else a  # NaN stays NaN


def _through(kind: Activation, outputs: Column, delta: Column) -> Column:
    """∂ loss / ∂ what an activation took, from its outputs and ∂ loss / ∂ these."""
    if kind == "tanh":
        return [d * (1 - x * x) for d, x in zip(delta, outputs, strict=True)]
    if kind == "relu":
        return [d * (x > 0) for d, x in zip(delta, outputs, strict=True)]
    return delta


def _sigmoid(a: Column) -> Column:
    """1 / (1 + e^−a) without overflow."""
    return [1 / (1 + math.exp(-x)) if x >= 0 else (e := math.exp(x)) / (1 + e) for x in a]


def _log_losses(a: Column, target: Column) -> Column:
    return [
        max(x, 0.0) - x * t + math.log1p(math.exp(-abs(x))) for x, t in zip(a, target, strict=True)
    ]
