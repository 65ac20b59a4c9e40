"""How much each row counts by its class, so that the few of a rare one are not drowned by the many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from trainers.models import Floats, Parameter, checked

COUNTS = Parameter("class_weights/counts", (2,))


class ClassWeights:
    """A weight for each class: given, or balanced by what was seen before the batch.

    Balanced, a row of class c weighs (n + 2) / (2 (n_c + 1)), with n rows and n_c of its class before its batch: one
    row of either class is imagined at first (Laplace), so that a class never seen has a weight as well. With many rows
    this is n / (2 n_c), the "balanced" of scikit-learn. It is a function of the batches in their order: how many share
    a call changes no bit.

    Args:
        kind: weights of class 0 and class 1, or "balanced".
    """

    def __init__(self, kind: tuple[float, float] | Literal["balanced"]) -> None:
        self.kind = kind
        self.counts = np.zeros(2)

    def of(self, y: Floats, batch_size: int) -> tuple[Floats, Floats]:
        """The weights of rows that come in batches of ``batch_size``, the last may be shorter.

        Args:
            y: classes, each 0 or 1, shape (n,).

        Returns:
            weights, shape (n,), and the rows of either class with these in them, for ``adopt`` once the step has
            succeeded.
        """
        starts = np.arange(0, len(y), batch_size)
        sizes = np.diff(starts, append=len(y))
        ones = np.add.reduceat(y, starts) if len(y) else np.empty(0)
        seen = self.counts + np.cumsum(np.column_stack([sizes - ones, ones]), axis=0)
        seen = np.vstack([self.counts, seen])
        if self.kind == "balanced":
            before = seen[:-1]
            pairs = (before.sum(axis=1, keepdims=True) + 2) / (2 * (before + 1))
        else:
            pairs = np.tile(np.asarray(self.kind, np.float64), (len(starts), 1))
        zero, one = np.repeat(pairs, sizes, axis=0).T
        return np.where(y == 1, one, zero), seen[-1]

    def adopt(self, after: Floats) -> None:
        """Goes on from the counts that ``of`` gave."""
        self.counts = after

    def export(self) -> dict[str, Floats]:
        """As tensors of the weights record."""
        return {COUNTS.name: self.counts.copy()}

    def load(self, tensors: Mapping[str, Floats]) -> None:
        """Takes up what was exported.

        Raises:
            ConfigError: WRONG_SHAPE when it is missing.
        """
        self.counts = checked(tensors, (COUNTS,), "class weights")[COUNTS.name]
