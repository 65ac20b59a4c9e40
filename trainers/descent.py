"""How a step changes the parameters: optimizer, penalty, clipping and learning-rate schedule, as data.

All backends do this arithmetic, in this order, for the parameters p of step t = 0, 1, 2, …:

    g  = ∂ loss / ∂ p                                      of the data, mean over the batch
    g += l2 · p                                            the penalty l2/2 · Σ p², intercepts excepted
    g *= min(1, clip / ‖g‖)                                ‖g‖ over all parameters together; 1 where ‖g‖ = 0
    sgd:       p −= rate(t) · g
    momentum:  m = momentum · m + g;  p −= rate(t) · m     (Polyak's heavy ball)
    adam:      m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²
               p −= rate(t) · (m / (1 − β₁ᵗ⁺¹)) / (√(v / (1 − β₂ᵗ⁺¹)) + ε)      (Kingma and Ba 2015)

The reported loss is that of the data alone. What depends on t only is computed here for all backends (``table``), so that it is the same
to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trainers.models import Floats, Model, Parameter

OptimizerName: TypeAlias = Literal["sgd", "momentum", "adam"]
Schedule: TypeAlias = Literal["constant", "inverse", "cosine"]
STEP = Parameter("optimizer/step", ())


@dataclass(frozen=True, slots=True)
class Descent:
    """The optimizer of a run.

    Attributes:
        learning_rate: rate(0).
        schedule: constant; ``inverse`` rate(t) = learning_rate / (1 + t)^power;
            ``cosine`` rate(t) = learning_rate / 2 · (1 + cos(π · min(t / schedule_steps, 1))).
        l2: weight of the penalty.
        clip: largest norm of a gradient, None for any.
    """

    learning_rate: float = 0.01
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    l2: float = 0.0
    clip: float | None = None
    schedule: Schedule = "constant"
    power: float = 0.5
    schedule_steps: int = 10_000

    @property
    def plain(self) -> bool:
        """Whether a step is p −= rate · g and nothing else."""
        return self.optimizer == "sgd" and not self.l2 and self.clip is None

    @property
    def counts(self) -> bool:
        """Whether a step depends on its number, which must then be kept with the parameters."""
        return self.optimizer == "adam" or self.schedule != "constant"

    def slots(self, model: Model) -> tuple[Parameter, ...]:
        """The tensors that the optimizer keeps, named ``optimizer/m/W1`` and so on, each of its parameter's shape."""
        kinds = {"sgd": (), "momentum": ("m",), "adam": ("m", "v")}[self.optimizer]
        return tuple(
            Parameter(f"optimizer/{kind}/{p.name}", p.shape)
            for kind in kinds
            for p in model.parameters
        )

    def tensors(self, model: Model) -> tuple[Parameter, ...]:
        """All that a backend exports: parameters, slots, and the number of steps where it counts."""
        return (*model.parameters, *self.slots(model), *((STEP,) if self.counts else ()))

    def table(self, step: int, count: int) -> Floats:
        """What the steps from number ``step`` on need, shape (count, 3): rate, 1 / (1 − β₁ᵗ⁺¹), 1 / (1 − β₂ᵗ⁺¹)."""
        made = np.ones((count, 3))
        t = np.arange(step, step + count, dtype=np.float64)
        if self.schedule == "inverse":
            made[:, 0] = self.learning_rate / (1 + t) ** self.power
        elif self.schedule == "cosine":
            done = np.minimum(t / self.schedule_steps, 1)
            made[:, 0] = self.learning_rate / 2 * (1 + np.cos(np.pi * done))
        else:
            made[:, 0] = self.learning_rate
        if self.optimizer == "adam":
            made[:, 1] = 1 / (1 - self.beta1 ** (t + 1))
            made[:, 2] = 1 / (1 - self.beta2 ** (t + 1))
        return made
