"""When to stop early. Decided at fixed step counts, so the decision is a function of the log and the job alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trainers.models import Floats

LARGEST = float(np.finfo(np.float64).max)  # rather than infinity, since no record holds one
WINDOW = 100  # steps between checks where there are no epochs


@dataclass(slots=True)
class Stopping:
    """Watches the mean loss, or the largest change of a weight, from one check to the next.

    A check without progress is one at which the mean loss since the last check is not lower than the best so far by
    more than ``tolerance``, or no weight has changed by more than ``tolerance``; ``patience`` of them in a row stop
    the run.

    Attributes:
        window: steps between checks; one epoch's where there are epochs.
    """

    tolerance: float | None
    patience: int = 1
    on: Literal["loss", "weights"] = "loss"
    window: int = WINDOW
    best: float = LARGEST
    idle: int = 0
    total: float = 0.0
    steps: int = 0
    previous: Floats = field(default_factory=lambda: np.empty(0))

    def room(self) -> int | None:
        """Steps until the next check; None where nothing is watched."""
        return None if self.tolerance is None else self.window - self.steps

    def watch(self, losses: Floats, tensors: Mapping[str, Floats]) -> bool:
        """Takes in at most ``room()`` losses and the state after them; whether to stop."""
        if self.tolerance is None:
            return False
        for loss in losses.tolist():  # one by one, so that how many share a call changes no bit
            self.total += loss
        self.steps += len(losses)
        if self.steps < self.window:
            return False
        stuck = self._stuck(tensors)
        self.idle = self.idle + 1 if stuck else 0
        self.total, self.steps = 0.0, 0
        return self.idle >= self.patience

    def _stuck(self, tensors: Mapping[str, Floats]) -> bool:
        assert self.tolerance is not None
        if self.on == "weights":
            now = np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
            before, self.previous = self.previous, now
            return len(before) == len(now) and float(np.abs(now - before).max()) <= self.tolerance
        mean = self.total / self.steps
        stuck = mean >= self.best - self.tolerance
        self.best = min(self.best, mean)
        return stuck

    def reason(self) -> str:
        what = (
            "no weight changed by more than"
            if self.on == "weights"
            else "the loss did not fall by more than"
        )
        return f"tolerance: {what} {self.tolerance:g} at {self.idle} checks in a row"

    def export(self) -> dict[str, Floats]:
        """As tensors of the weights record, so that a resumed run stops where the unbroken one would."""
        if self.tolerance is None:
            return {}
        found = {"stopping/state": np.array([self.best, self.idle, self.total, self.steps])}
        if self.on == "weights":
            found["stopping/previous"] = self.previous
        return found

    def load(self, tensors: Mapping[str, Floats]) -> None:
        if self.tolerance is not None and "stopping/state" in tensors:
            best, idle, total, steps = tensors["stopping/state"].tolist()
            self.best, self.idle, self.total, self.steps = best, int(idle), total, int(steps)
            self.previous = tensors.get("stopping/previous", self.previous)
