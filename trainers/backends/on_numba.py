"""Gradient descent on Numba: all steps of a call in one compiled function (``numba_loops``)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from trainers.backends import numba_loops as loops
from trainers.backends.base import Backend, State, Steps
from trainers.backends.numba_loops import Array
from trainers.descent import Descent
from trainers.models import Floats, Ints, Model

LOSSES = {"mean_squared_error": loops.SQUARES, "log_loss": loops.LOG_LOSS}
ACTIVATIONS = {"identity": loops.IDENTITY, "tanh": loops.TANH, "relu": loops.RELU}
OPTIMIZERS = {"sgd": loops.SGD, "momentum": loops.MOMENTUM, "adam": loops.ADAM}


class NumbaBackend(Backend):
    """The first call on a machine compiles for some seconds; later processes load the code from disk."""

    name: ClassVar[str] = "numba"

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._kind = np.dtype(dtype)
        self._loss = loops.RECONSTRUCTION if model.reconstructs else LOSSES[model.loss]
        self._layers = _table(model)
        beta1 = descent.momentum if descent.optimizer == "momentum" else descent.beta1
        self._how = np.array(
            [
                OPTIMIZERS[descent.optimizer],
                0 if descent.clip is None else descent.clip,
                beta1,
                descent.beta2,
                descent.epsilon,
            ],
            self._kind,
        )
        decay = [descent.l2 * model.decayed(p.name).ravel() for p in model.parameters]
        self._decay = np.concatenate(decay).astype(self._kind) if descent.l2 else self._none()

    def _none(self, rows: int = 0) -> Array:
        return np.empty((rows, 0) if rows else 0, self._kind)

    def _place(self, array: Floats) -> Any:
        return array.astype(self._kind)

    def _fetch(self, tensor: Any) -> Any:
        return tensor

    def _joined(self, state: State, slot: str = "") -> Array:
        """All parameters, or one of the optimizer's slots for each, as one vector; empty where there is none."""
        found = [
            state[slot + p.name].ravel() for p in self.model.parameters if slot + p.name in state
        ]
        return np.concatenate(found) if found else self._none()

    def _split(self, vector: Array, slot: str = "") -> dict[str, Array]:
        found, at = {}, 0
        for p in self.model.parameters if len(vector) else ():
            end = at + int(np.prod(p.shape))
            found[slot + p.name] = vector[at:end].reshape(p.shape)
            at = end
        return found

    def predict(self, state: State, X: Floats) -> Floats:
        scores = np.empty((1, len(X)), self._kind)
        none, p = self._none(), self._joined(state)
        y, table = np.zeros((1, len(X)), self._kind), np.empty((0, 3), self._kind)
        self._run(X[np.newaxis], y, self._none(1), (p, none, none), table, np.empty(0), scores)
        found: Floats = scores[0].astype(np.float64, copy=False)
        return found

    def _run(
        self,
        X: Floats,
        y: Array,
        weights: Array,
        tensors: tuple[Array, Array, Array],
        table: Array,
        losses: Floats,
        scores: Array,
    ) -> None:
        if self.dtype not in loops.COMPILED:
            with self._timed("compile"):
                loops.compile_for(self.dtype)
        model, how = self._layers, self._how
        bias = int(self.model.bias)
        loops.descend(
            np.ascontiguousarray(X, np.float64),
            y,
            weights,
            *tensors,
            self._decay,
            model,
            self._loss,
            bias,
            how,
            table,
            losses,
            scores,
        )

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        batches, rows, _ = X.shape
        steps = passes * batches
        p, m, v = (self._joined(state, slot) for slot in ("", "optimizer/m/", "optimizer/v/"))
        y = np.ascontiguousarray(y, self._kind)
        s = self._none(batches) if weights is None else np.ascontiguousarray(weights, self._kind)
        table = self._table(state, steps).astype(self._kind, copy=False)
        losses = np.empty(steps)
        scores = np.empty((batches, rows if self.model.classifies else 0), self._kind)
        self._run(X, y, s, (p, m, v), table, losses, scores)
        new = {**self._split(p), **self._split(m, "optimizer/m/"), **self._split(v, "optimizer/v/")}
        return Steps(
            {**new, "step": state["step"] + steps},
            losses,
            scores.astype(np.float64, copy=False) if self.model.classifies else None,
        )


def _table(model: Model) -> Ints:
    """The layers as ``numba_loops.descend`` takes them; weights and intercepts stand in the order of export."""
    if not model.layers:
        start = -1 if not model.bias else 0
        return np.array([(model.features, 1, loops.IDENTITY, int(model.bias), start)], np.int64)
    rows, at = [], 0
    for layer in model.layers:
        end = at + layer.inputs * layer.outputs
        rows.append((layer.inputs, layer.outputs, ACTIVATIONS[layer.activation], at, end))
        at = end + layer.outputs
    return np.array(rows, np.int64)
