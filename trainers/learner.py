"""What is learned from batches: parameters, scaler, class weights, metrics. All of it is state that the weights record
keeps, so that a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.backends import Steps
from trainers.class_weights import ClassWeights
from trainers.guards import check_losses
from trainers.metrics import Prequential
from trainers.models import Floats
from trainers.preflight import Plan
from trainers.scaler import Scaler


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to learn from in one call, as ``Backend.steps`` takes them.

    Attributes:
        first: whether they are trained on for the first time: only then do they count for scaler, class weights and
            metrics, and are they scaled here, each batch by what was known before it. Rows of later epochs come scaled.
    """

    X: Floats
    y: Floats
    size: int
    passes: int = 1
    first: bool = True


@dataclass(frozen=True, slots=True)
class Learned:
    """What some batches gave, not yet taken over: ``Learner.adopt`` does that, or it is dropped."""

    rows: Rows
    made: Steps
    weights: Floats | None
    scaler: Any
    class_weights: Any


class Learner:
    """The state of a run between two rows.

    Attributes:
        state: the backend's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.backend = plan, plan.backend
        job, model = plan.job, plan.model
        self.scaler = Scaler(model.inputs, model.bias) if job.standardise else None
        self.class_weights = ClassWeights(job.class_weights) if job.class_weights else None
        self.metrics = Prequential(model, labelled=bool(job.target))
        self.constants = Constants(model.bias)
        self.older = False  # whether the run has a past before this process
        self.resumed = False  # whether no step has been taken since

    def warm(self) -> None:
        """Loads, or once on a machine compiles, what runs beside the backend, so that no step pays for it."""
        model, y = self.plan.model, np.array([0.0, 1.0])
        X, scores = model.design(np.zeros((2, model.features))), np.full(2, 0.5)
        if self.scaler is not None:
            self.scaler.scaled(X, 2)
            self.scaler.frozen(X)
        if self.class_weights is not None:
            self.class_weights.of(y, 2)
        trial = Prequential(model, labelled=bool(self.plan.job.target))
        trial.update(np.zeros(1), y, 2, scores if model.classifies else None, np.ones(2))

    def begin(self, tensors: Mapping[str, Floats] | None) -> None:
        """Takes up what a weights record holds, or starts anew."""
        if tensors is None:
            self.state = self.backend.init(self.plan.job.seed)
            return
        self.state = self.backend.load(tensors)
        self.resumed = self.older = True
        for part in self._parts():
            part.load(tensors)

    def tensors(self) -> dict[str, Floats]:
        """All that a successor needs, for the weights record."""
        found = self.backend.export(self.state)
        for part in self._parts():
            found |= part.export()
        return found

    def parameters(self) -> dict[str, Floats]:
        """The model's own tensors among them."""
        tensors = self.backend.export(self.state)
        return {p.name: tensors[p.name] for p in self.plan.model.parameters}

    def _parts(self) -> list[Scaler | ClassWeights | Prequential]:
        parts = (self.scaler, self.class_weights, self.metrics)
        return [part for part in parts if part is not None]

    def learn(self, rows: Rows, step: int) -> Learned:
        """Steps over some batches; nothing of it counts until ``adopt``.

        Raises:
            ConfigError: DIVERGED when a loss has exploded.
        """
        X, y, size = rows.X, rows.y, rows.size
        weights = scaler = counted = None
        if self.class_weights is not None:
            weights, counted = self.class_weights.of(y, size if rows.first else len(y))
        if self.scaler is not None and rows.first:
            X, scaler = self.scaler.scaled(X, size)
        made = self.backend.steps(self.state, X, y, size, rows.passes, weights)
        check_losses(made.losses, X, y, step, self.plan, self.resumed)
        return Learned(rows, made, weights, scaler, counted)

    def adopt(self, learned: Learned) -> None:
        """Takes over what ``learn`` gave."""
        rows, made = learned.rows, learned.made
        self.state = made.state
        self.resumed = False
        if not rows.first:
            return
        if self.scaler is not None:
            self.scaler.adopt(learned.scaler)
        if self.class_weights is not None:
            self.class_weights.adopt(learned.class_weights)
        once = made.losses[: -(-len(rows.y) // rows.size)]  # of the first pass
        self.metrics.update(once, rows.y, rows.size, made.scores, learned.weights)
        if not self.older:
            self.constants.watch(rows.X)


class Constants:
    """Which columns have never changed since the run began: nothing can be learned from them."""

    def __init__(self, bias: bool) -> None:
        self._bias = int(bias)
        self._rows = 0
        self._first: Floats | None = None
        self._same = np.empty(0, bool)

    def watch(self, X: Floats) -> None:
        """Takes in rows of the design matrix."""
        self._rows += len(X)
        if self._first is None:
            self._first = X[0].copy()
            self._same = np.ones(X.shape[1], bool)
            self._same[: self._bias] = False
        if self._same.any():
            columns = np.flatnonzero(self._same)
            self._same[columns] = (X[:, columns] == self._first[columns]).all(axis=0)

    def found(self) -> dict[int, float]:
        """Feature numbers, and the value of each."""
        if self._first is None or self._rows < 2:
            return {}
        return {
            int(column) - self._bias: float(self._first[column])
            for column in np.flatnonzero(self._same)
        }
