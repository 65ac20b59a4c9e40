"""The contract of a backend: state is a value, steps give a new one, export gives named arrays.

    backend = get("numpy")(linear(10), Descent(learning_rate=0.01))
    state = backend.init(seed=0)
    state, losses, _ = backend.steps(state, X, y, batch_size=256)
    backend.export(state)["w"]

The algorithm is told in ``trainers/models.py`` (losses) and ``trainers/descent.py`` (steps). A backend says how to run
it over a stack of equal batches (``_descend``), since a compiled loop over batches is where the speed is. How many
share a call never changes the result. A state that was handed in stays as it was, so a caller may drop a result and go
on from before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from gradstream.errors import ConfigError
from trainers.descent import STEP, Descent
from trainers.models import Floats, Model, checked

State: TypeAlias = Mapping[str, Any]


class Steps(NamedTuple):
    """What some steps gave.

    Attributes:
        losses: of each batch before its own step, shape (passes · batches,).
        scores: where the model classifies, of each row before its batch's step in the first pass, as ``predict`` gives
            them, shape (n,); else None.
    """

    state: State
    losses: Floats
    scores: Floats | None


class Backend(ABC):
    """Mini-batch gradient descent on one model, on one device, in one precision.

    Attributes:
        name: as on the command line and in weights records.
        dtypes: precisions that it computes in; the first is the default. What is handed over and exported is float64.
        spent: microseconds in ``transfer`` (to and from the device or the framework's own types) and ``compile``
            since the loop last emptied it; compute is what remains of a call's time.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32")

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        self.model = model
        self.descent = descent
        self.device = device
        self.dtype = dtype
        self.spent: dict[str, int] = {}

    @classmethod
    def devices(cls) -> dict[str, str]:
        """What it can run on here: ``cpu``, ``gpu:0``, … and what each is called."""
        return {"cpu": ""}

    def init(self, seed: int = 0) -> State:
        """The state before the first step; models without layers start at zero whatever the seed."""
        start = {p.name: np.zeros(p.shape) for p in self.descent.tensors(self.model)}
        return self.load({**start, **self.model.start(seed)})

    def load(self, tensors: Mapping[str, Floats]) -> State:
        """The state that was exported, on this backend or another.

        Raises:
            ConfigError: WRONG_SHAPE when a tensor does not fit the model or the optimizer.
        """
        found = checked(tensors, self.descent.tensors(self.model), self.model.name)
        step = int(found.pop(STEP.name, np.zeros(())))
        with self._timed("transfer"):
            return {**{name: self._place(array) for name, array in found.items()}, "step": step}

    def export(self, state: State) -> dict[str, Floats]:
        """All that is needed to go on, as named float64 arrays of the caller's own."""
        found = {}
        with self._timed("transfer"):
            for parameter in self.descent.tensors(self.model):
                found[parameter.name] = (
                    np.array(float(state["step"]))
                    if parameter == STEP
                    else np.array(self._fetch(state[parameter.name]), np.float64)
                )
        return found

    def step(self, state: State, X: Floats, y: Floats) -> tuple[State, float]:
        """One step on one batch; the loss is that of the state handed in."""
        made = self.steps(state, X, y, len(y))
        return made.state, float(made.losses[0])

    def steps(
        self,
        state: State,
        X: Floats,
        y: Floats,
        batch_size: int,
        passes: int = 1,
        weights: Floats | None = None,
    ) -> Steps:
        """One step for each batch of ``batch_size`` rows in turn (the last may be shorter), ``passes`` times over.

        Args:
            X: design matrix, shape (n, model.inputs), C order.
            y: target, shape (n,); not looked at by a model that reconstructs.
            weights: of the rows in the loss, shape (n,); None: all 1.

        Returns:
            the new state and what the batches gave. Numbers that overflow come out as inf or nan; it is for the
            caller to look.

        Raises:
            ConfigError: WRONG_SHAPE when X, y and weights do not fit together or the model.
        """
        n = len(y)
        if X.shape != (n, self.model.inputs) or (weights is not None and weights.shape != (n,)):
            raise ConfigError(
                "WRONG_SHAPE",
                f"model {self.model.name!r} takes X of shape (n, {self.model.inputs}) and n targets, "
                f"not {X.shape} and {n}",
            )
        full = n - n % batch_size
        parts = [(slice(0, full), batch_size)] if full else []
        if full < n:
            parts.append((slice(full, n), n - full))
        losses, scores = [], []
        # Where all batches are equal, a compiled loop may run through all passes; else they alternate with the rest.
        rounds, inner = (1, passes) if len(parts) == 1 else (passes, 1)
        for number in range(rounds):
            for rows, size in parts:
                made = self._descend(
                    state,
                    X[rows].reshape(-1, size, X.shape[1]),
                    y[rows].reshape(-1, size),
                    None if weights is None else weights[rows].reshape(-1, size),
                    inner,
                    batch_size,
                )
                state = made.state
                losses.append(made.losses)
                if number == 0 and made.scores is not None:
                    scores.append(made.scores.ravel())
        return Steps(
            state,
            np.concatenate(losses) if losses else np.empty(0),
            np.concatenate(scores) if scores else None,
        )

    def _table(self, state: State, steps: int) -> Floats:
        return self.descent.table(state["step"], steps)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Adds what happens inside to ``spent``."""
        started = perf_counter_ns()
        try:
            yield
        finally:
            spent = (perf_counter_ns() - started) // 1000
            self.spent[stage] = self.spent.get(stage, 0) + spent

    @abstractmethod
    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        """One step for each of ``batches`` equal batches in turn, ``passes`` times over.

        Args:
            X: shape (batches, rows, inputs). y, weights: shape (batches, rows).
            batch_size: rows of a whole batch: more than ``rows`` for the short batch at an end, which comes alone.
                What is compiled for a shape should be compiled for this one and padded.

        Returns:
            the new state with ``step`` counted on by passes · batches, losses (passes · batches,), scores of the
            first pass (batches, rows) where the model classifies.
        """

    @abstractmethod
    def predict(self, state: State, X: Floats) -> Floats:
        """The score of each row of X, shape (n,): the answer of a linear model or a network, the probability of class
        1 by a logistic one, the mean squared error of the reconstruction by an autoencoder.
        """

    @abstractmethod
    def _place(self, array: Floats) -> Any:
        """The array as the backend keeps it, in its precision and on its device."""

    @abstractmethod
    def _fetch(self, tensor: Any) -> Any:
        """What ``_place`` or a step made, as NumPy or numbers."""
