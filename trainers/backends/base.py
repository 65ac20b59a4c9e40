"""The contract of a backend: state is a value, a step gives a new one, export gives named arrays.

    backend = get("numpy")(model, learning_rate=0.01)
    state = backend.init(seed=0)
    state, losses = backend.steps(state, X, y, batch_size=256)
    backend.export(state)["w"]

A call takes a chunk of batches, since a compiled loop over them is where the speed is; how many share a call never
changes the result. A state that was handed in stays as it was, so a caller may drop a result and go on from before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from trainers.models import Floats, Model

State: TypeAlias = Mapping[str, Any]


class Backend(ABC):
    """Mini-batch gradient descent on one model.

    Attributes:
        spent: microseconds in ``transfer`` (to and from the device or the framework's own types) and ``compile``
            since the loop last emptied it; compute is what remains of a call's time.
    """

    name: ClassVar[str]
    device: str = "cpu"
    dtype: str = "float64"

    def __init__(self, model: Model, learning_rate: float) -> None:
        self.model = model
        self.learning_rate = learning_rate
        self.spent: dict[str, int] = {}

    def init(self, seed: int = 0) -> State:
        """The state before the first step; the linear model starts at zero whatever the seed."""
        return self.load({p.name: np.zeros(p.shape) for p in self.model.parameters})

    def step(self, state: State, X: Floats, y: Floats) -> tuple[State, float]:
        """One step on one batch; the loss is that of the state handed in."""
        state, losses = self.steps(state, X, y, len(y))
        return state, float(losses[0])

    @abstractmethod
    def steps(
        self, state: State, X: Floats, y: Floats, batch_size: int, passes: int = 1
    ) -> tuple[State, Floats]:
        """One step for each batch of ``batch_size`` rows in turn (the last may be shorter), ``passes`` times over.

        Args:
            X: design matrix, shape (n, model.inputs), C order.
            y: target, shape (n,).

        Returns:
            the new state, and the loss of each batch before its own step, shape (passes · ⌈n / batch_size⌉,).
            Numbers that overflow come out as inf or nan; it is for the caller to look.
        """

    @abstractmethod
    def predict(self, state: State, X: Floats) -> Floats:
        """The model's answer for each row of X, shape (n,)."""

    @abstractmethod
    def export(self, state: State) -> dict[str, Floats]:
        """All that is needed to go on, as named float64 arrays of the caller's own."""

    @abstractmethod
    def load(self, tensors: Mapping[str, Floats]) -> State:
        """The state that was exported, on this backend or another.

        Raises:
            ConfigError: WRONG_SHAPE when a tensor does not fit the model.
        """
