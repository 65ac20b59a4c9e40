"""Streaming standardisation: features are scaled by what was seen before them, and by nothing else.

    scaled, after = scaler.scaled(X, batch_size=256)
    scaler.adopt(after)                                # once the step on ``scaled`` has succeeded

Mean and spread are merged batch by batch from the batch's own (Chan, Golub and LeVeque 1979), each about a number of
the batch itself, so that a mean that is large against the spread costs no digits. They are a function of the batches
in their order: how many share a call changes no bit.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

from trainers import aligned
from trainers.models import Floats, Parameter, checked


class Moments(NamedTuple):
    """What has been seen: a value, never changed in place.

    Attributes:
        rows: how many.
        mean: of each feature, shape (features,).
        m2: sum of squared distances from the mean, shape (features,).
    """

    rows: float
    mean: Floats
    m2: Floats


class Scaler:
    """(x − mean) / standard deviation, both of the records before the batch of x; 0 where there is no spread yet.

    The standard deviation is that of the records themselves, √(m2 / rows). The features of the very first batch are
    therefore all 0, and so is a feature as long as it is constant.

    Args:
        inputs: columns of the design matrix.
        bias: whether its column 0 is ones; that one is left alone and has no statistics.
    """

    def __init__(self, inputs: int, bias: bool) -> None:
        self._first = int(bias)
        self._inputs = inputs
        features = inputs - self._first
        self.tensors = (
            Parameter("scaler/count", ()),
            Parameter("scaler/mean", (features,)),
            Parameter("scaler/m2", (features,)),
        )
        self.moments = Moments(0.0, np.zeros(features), np.zeros(features))

    @classmethod
    def of(cls, inputs: int, bias: bool, tensors: Mapping[str, Floats]) -> Scaler:
        """The scaler that was exported among these.

        Raises:
            ConfigError: as ``load``.
        """
        made = cls(inputs, bias)
        made.load(tensors)
        return made

    def scaled(self, X: Floats, batch_size: int) -> tuple[Floats, Moments]:
        """Each batch of ``batch_size`` rows by the statistics of everything before it, the last may be shorter.

        Args:
            X: design matrix, shape (n, inputs); stays as it is.

        Returns:
            the scaled copy, and the statistics with these rows in them, for ``adopt``.
        """
        X = np.ascontiguousarray(X, np.float64)
        out = aligned.empty(*X.shape)
        count, mean, m2 = self.moments
        mean, m2 = mean.copy(), m2.copy()
        count = _scale_and_learn(X, batch_size, self._first, count, mean, m2, out)
        return out, Moments(count, mean, m2)

    def adopt(self, after: Moments) -> None:
        """Goes on from the statistics that ``scaled`` gave."""
        self.moments = after

    def frozen(self, X: Floats, out: Floats | None = None) -> Floats:
        """X by today's statistics, which stay as they are.

        Args:
            out: where to write, C order; may be X itself. A new array by default.
        """
        X = np.ascontiguousarray(X, np.float64)
        out = aligned.empty(*X.shape) if out is None else out
        _scale(X, 0, len(X), self._first, self.moments.mean, self._factors(), out)
        return out

    def unscaled(self, w: Floats) -> Floats:
        """The weights that give for raw features what ``w`` gives for scaled ones, for models without layers.

        Without a bias there is no intercept to carry the means: the answers then differ by the constant −Σ w' · mean.
        """
        raw = np.array(w, np.float64)
        raw[self._first :] *= self._factors()
        if self._first:
            raw[0] -= raw[1:] @ self.moments.mean
        return raw

    def _factors(self) -> Floats:
        return np.asarray(_factors(self.moments.rows, self.moments.m2))

    def export(self) -> dict[str, Floats]:
        """As tensors of the weights record."""
        count, mean, m2 = self.moments
        return {
            "scaler/count": np.array(count),
            "scaler/mean": mean.copy(),
            "scaler/m2": m2.copy(),
        }

    def load(self, tensors: Mapping[str, Floats]) -> None:
        """Takes up what was exported.

        Raises:
            ConfigError: WRONG_SHAPE when a tensor is missing or of other features.
        """
        found = checked(tensors, self.tensors, "scaler")
        self.moments = Moments(
            float(found["scaler/count"]), found["scaler/mean"], found["scaler/m2"]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _scale_and_learn(
    X: Floats,
    batch_size: int,
    first: int,
    count: float,
    mean: Floats,
    m2: Floats,
    out: Floats,
) -> float:
    """Changes mean, m2 and out; returns the new count. The features begin at column ``first``."""
    for start in range(0, len(X), batch_size):
        end = min(start + batch_size, len(X))
        _scale(X, start, end, first, mean, _factors(count, m2), out)
        count = _merge(X, start, end, first, count, mean, m2)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _factors(count: float, m2: Floats) -> Floats:
    """1 / standard deviation, 0 where that is 0 or unknown."""
    found = np.zeros_like(m2)
    for j in range(len(m2)):
        if m2[j] > 0:
            found[j] = 1 / np.sqrt(m2[j] / count)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _scale(
    X: Floats, start: int, end: int, first: int, mean: Floats, factors: Floats, out: Floats
) -> None:
    for i in range(start, end):
        if first:
            out[i, 0] = X[i, 0]
        row, to = X[i, first:], out[i, first:]  # one index within: the compiler makes vectors of it
        for j in range(len(mean)):
            to[j] = (row[j] - mean[j]) * factors[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(
    X: Floats, start: int, end: int, first: int, count: float, mean: Floats, m2: Floats
) -> float:
    """Takes the rows from start to end into mean and m2; returns the new count."""
    rows, features = end - start, len(mean)
    origin = X[start, first:].copy()
    centre, spread = np.zeros(features), np.zeros(features)
    for i in range(start, end):
        row = X[i, first:]
        for j in range(features):
            centre[j] += row[j] - origin[j]
    for j in range(features):
        centre[j] = origin[j] + centre[j] / rows
    for i in range(start, end):
        row = X[i, first:]
        for j in range(features):
            distance = row[j] - centre[j]
            spread[j] += distance * distance
    total = count + rows
    for j in range(features):
        step = centre[j] - mean[j]
        mean[j] += step * (rows / total)
        m2[j] += spread[j] + step * step * (count * rows / total)
    return total
