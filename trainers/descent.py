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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from trainers.models import Floats, Model, Parameter

OptimizerName: TypeAlias = Literal["sgd", "momentum", "adam"]
Schedule: TypeAlias = Literal["constant", "inverse", "cosine"]
STEP = Parameter("optimizer/step", ())


class Operations(NamedTuple):
    """What a framework's arrays need beside + − · / to take a step.

    Attributes:
        squares: Σ x² over a whole array, as an array of no dimensions.
        where: of a condition, the one array or the other.
        like: a NumPy array in the type of another one.
    """

    sqrt: Callable[[Any], Any]
    squares: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]
    like: Callable[[Floats, Any], Any]


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

    def stepped(
        self,
        model: Model,
        p: Mapping[str, Any],
        gradient: Mapping[str, Any],
        row: tuple[Any, Any, Any],
        of: Operations,
    ) -> dict[str, Any]:
        """Parameters and slots after one step, for frameworks whose arrays never change.

        Args:
            p: parameters and slots by name.
            gradient: of the data's loss, by parameter.
            row: of the table.
        """
        rate, first, second = row
        if self.l2:
            pull = {k: of.like(self.l2 * model.decayed(k), g) for k, g in gradient.items()}
            gradient = {k: g + pull[k] * p[k] for k, g in gradient.items()}
        if self.clip is not None:
            norm = of.sqrt(sum(of.squares(g) for g in gradient.values()))
            factor = of.where(norm > self.clip, self.clip / norm, of.like(np.ones(()), norm))
            gradient = {k: g * factor for k, g in gradient.items()}
        new = dict(p)
        for name, g in gradient.items():
            if self.optimizer == "sgd":
                new[name] = p[name] - rate * g
                continue
            m_name, v_name = f"optimizer/m/{name}", f"optimizer/v/{name}"
            if self.optimizer == "momentum":
                m = new[m_name] = self.momentum * p[m_name] + g
                new[name] = p[name] - rate * m
                continue
            m = new[m_name] = self.beta1 * p[m_name] + (1 - self.beta1) * g
            v = new[v_name] = self.beta2 * p[v_name] + (1 - self.beta2) * (g * g)
            new[name] = p[name] - rate * (m * first) / (of.sqrt(v * second) + self.epsilon)
        return new
