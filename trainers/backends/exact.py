"""The exact answer of a linear model from a stream: sums that say all that descent could ever learn from the data.

    backend = ExactBackend(linear(10), Descent(0.001), passes=10_000)
    state, losses, _ = backend.steps(backend.init(), X, y, batch_size=256)
    backend.export(state)["w"]                 # as after 10,000 steps, each over all data seen so far

What is kept of the records is their count n, the mean of features and target, and the co-moment matrix
C = Σ (z − mean)(z − mean)ᵀ of z = (features, target). Both are merged block by block about the block's own mean (Chan,
Golub and LeVeque 1979): unlike raw sums XᵀX they lose no digits where a mean is large against the spread. The
gradient of the mean squared error over all records is a function of these alone, so a step costs d² operations however
many the records, with any optimizer.
"""

# mypy: disable-error-code="untyped-decorator, no-any-return"
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit

from gradstream.errors import UsageError
from trainers.backends.base import Backend, State, Steps
from trainers.descent import Descent
from trainers.models import Floats, Ints, Model, Parameter, checked

BLOCK = (
    512  # rows centred at a time: their columns stay in the fastest cache up to some ten features
)
# A feature is taken as dependent where the others before it explain all but this share of its variance, and then gets
# a part of their weights. Far above the rounding of the sums (about 1e-15 each), far below what data can tell.
CUT_OFF = 1e-12
ROUNDING = 4 * float(np.finfo(np.float64).eps)  # relative to its mean, a spread that is none
ABREAST = 1e-9  # share that is left of a sum of products when it is zero but for rounding
TINY = float(np.finfo(np.float64).tiny)
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}


class ExactBackend(Backend):
    """Takes each batch into the moments; weights are made of them when they are asked for.

    The losses of ``steps`` are the mean squared residuals of each batch under the least-squares weights of everything
    before it, at first zeros.

    Args:
        passes: 0 for the least-squares weights; else the steps of full-batch descent from zero over all data so far,
            as the other backends would do them, schedule and optimizer included.

    Raises:
        UsageError: EXACT_NEEDS_LINEAR for any model but a linear one.
    """

    name: ClassVar[str] = "exact"
    dtypes: ClassVar[tuple[str, ...]] = ("float64",)

    def __init__(
        self,
        model: Model,
        descent: Descent,
        passes: int = 0,
        device: str = "cpu",
        dtype: str = "float64",
    ) -> None:
        super().__init__(model, descent, device, dtype)
        if model.layers or model.loss != "mean_squared_error":
            raise UsageError(
                "EXACT_NEEDS_LINEAR",
                f"--exact: model {model.name!r} cannot be told from sums over its data; "
                "give --model linear, or leave out --exact",
            )
        self.passes = passes
        both = model.features + 1  # features and target
        self.tensors = (
            Parameter("exact/count", ()),
            Parameter("exact/mean", (both,)),
            Parameter("exact/comoment", (both, both)),
        )

    def init(self, seed: int = 0) -> State:
        return {p.name: np.zeros(p.shape) for p in self.tensors}

    def load(self, tensors: Mapping[str, Floats]) -> State:
        return checked(tensors, self.tensors, self.model.name)

    def export(self, state: State) -> dict[str, Floats]:
        """The moments, ``w``, and where that is the end of a descent the least-squares weights beside it."""
        found = {p.name: np.array(state[p.name]) for p in self.tensors}
        found["w"] = self.weights(state)
        if self.passes:
            found["least_squares"] = self.least_squares(state)
        return found

    def weights(self, state: State) -> Floats:
        """What is published: shape (inputs,)."""
        return self.descended(state, self.passes) if self.passes else self.least_squares(state)

    def least_squares(self, state: State) -> Floats:
        """The weights of least mean squared error, of several those of least norm, shape (inputs,)."""
        return _least_squares(*_moments(state), self.model.bias)

    def descended(self, state: State, passes: int) -> Floats:
        """The weights after so many steps over all data so far, from zero, shape (inputs,)."""
        how = self.descent
        clip = np.inf if how.clip is None else how.clip
        return np.asarray(
            _full_batches(
                how.table(0, passes),
                *_moments(state),
                self.model.bias,
                OPTIMIZERS[how.optimizer],
                how.l2 * self.model.decayed("w"),
                (how.momentum, how.beta1, how.beta2, how.epsilon, clip),
            )
        )

    def constant_features(self, state: State) -> list[int]:
        """Features, counted from 0, that have been the same in all records but for rounding; none before the second."""
        count, mean, comoment = _moments(state)
        return np.flatnonzero(~_varies(count, mean, comoment)).tolist() if count > 1 else []

    def predict(self, state: State, X: Floats) -> Floats:
        return X @ self.weights(state)

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        if passes != 1 or weights is not None:
            raise UsageError(
                "EXACT_READS_ONCE",
                "--exact takes each row once and as one row: give it neither passes of its own nor row weights",
            )
        count, mean, comoment = _moments(state)
        mean, comoment, losses = mean.copy(), comoment.copy(), np.empty(len(y))
        X, y = np.ascontiguousarray(X, np.float64), np.ascontiguousarray(y, np.float64)
        for i in range(len(y)):
            w = _least_squares(count, mean, comoment, self.model.bias)
            losses[i] = _take_in(X[i], y[i], w, self.model.bias, count, mean, comoment)
            count += y.shape[1]
        names = (p.name for p in self.tensors)
        new = dict(zip(names, (np.array(count), mean, comoment), strict=True))
        return Steps(new, losses, None)

    def _place(self, array: Floats) -> Any:
        return array

    def _fetch(self, tensor: Any) -> Any:
        return tensor


def _moments(state: State) -> tuple[float, Floats, Floats]:
    return float(state["exact/count"]), state["exact/mean"], state["exact/comoment"]


# Taking in


@njit(cache=True, nogil=True)
def _take_in(
    X: Floats, y: Floats, w: Floats, bias: bool, count: float, mean: Floats, comoment: Floats
) -> float:
    """Takes a batch into mean and comoment, and returns its mean squared residual under the weights w."""
    rows, both, first = len(y), len(mean), int(bias)
    squares = 0.0
    for i in range(rows):
        residual = y[i] - _dot(X[i], w)
        squares += residual * residual
    centred, step = np.empty((both, min(rows, BLOCK))), np.empty(both)
    for start in range(0, rows, BLOCK):
        size = min(start + BLOCK, rows) - start
        for a in range(both):
            column = centred[a, :size]
            for i in range(size):
                column[i] = X[start + i, first + a] if a < both - 1 else y[start + i]
            step[a] = _centre(column) - mean[a]
        share = size / (count + size)
        for a in range(both):
            mean[a] += step[a] * share
            between = step[a] * count * share
            for b in range(a + 1):
                comoment[a, b] += _dot(centred[a, :size], centred[b, :size]) + step[b] * between
                comoment[b, a] = comoment[a, b]
        count += size
    return squares / rows


@njit(cache=True, nogil=True)
def _centre(column: Floats) -> float:
    """Takes its mean from a column and returns it; summed about the first number, so that offsets cost no digits."""
    origin, total = column[0], 0.0
    for i in range(len(column)):
        column[i] -= origin
        total += column[i]
    centre = total / len(column)
    for i in range(len(column)):
        column[i] -= centre
    return origin + centre


# The order of additions is free, so that they run side by side; it depends on the length alone.
@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


# Least squares


def _least_squares(count: float, mean: Floats, comoment: Floats, bias: bool) -> Floats:
    """Weights of least mean squared error, of several those of least norm, shape (inputs,)."""
    d = len(mean) - 1
    found = np.zeros(d + 1)
    matrix, order, rank, scale = _eliminate(count, mean, comoment, found)
    if rank == d and bias:
        return found
    with np.errstate(all="ignore"):  # as from any backend, overflow comes out as no finite number
        free = _null_space(matrix, order, rank, scale)
        if bias:
            return _shortest(found, np.column_stack([-free @ mean[:d], free]))
        slope = np.zeros(d + 1)
        _eliminate(count, mean, np.column_stack([comoment[:, :d], mean]), slope)
        free = _without_intercept(found, free, count, mean, slope[1:])
        return _shortest(found[1:], free)


@njit(cache=True, nogil=True)
def _varies(count: float, mean: Floats, comoment: Floats) -> npt.NDArray[np.bool_]:
    """Whether each feature has a spread that is more than rounding, shape (d,)."""
    varies = np.zeros(len(mean) - 1, np.bool_)
    for j in range(len(varies)):
        varies[j] = comoment[j, j] > count * (ROUNDING * mean[j]) ** 2
    return varies


@njit(cache=True, nogil=True)
def _eliminate(
    count: float, mean: Floats, comoment: Floats, w: Floats
) -> tuple[Floats, Ints, int, Floats]:
    """Solves C w = c, features and last column of comoment, the feature with most left to explain first.

    Args:
        w: takes the solution, the intercept before it, shape (d + 1,); features that depend on others keep 0.

    Returns:
        the scaled matrix of equations after elimination, shape (d, d + 1): upper triangular in its first ``rank``
        rows; the features in the order of its rows and columns; how many are independent; 1 / √C of each feature, by
        which it is scaled, 0 for those that do not vary.
    """
    d = len(mean) - 1
    order, rank, scale = np.arange(d), 0, np.zeros(d)
    varies = _varies(count, mean, comoment)
    for j in range(d):
        if varies[j]:
            scale[j] = 1 / np.sqrt(comoment[j, j])
    matrix = np.empty((d, d + 1))
    for i in range(d):
        for j in range(d):
            matrix[i, j] = comoment[i, j] * scale[i] * scale[j]
        matrix[i, d] = comoment[i, d] * scale[i]
    while rank < d:
        best = rank
        for i in range(rank + 1, d):
            if matrix[i, i] > matrix[best, best]:
                best = i
        if not matrix[best, best] > CUT_OFF:
            break
        order[rank], order[best] = order[best], order[rank]
        for j in range(d + 1):
            matrix[rank, j], matrix[best, j] = matrix[best, j], matrix[rank, j]
        for i in range(d):
            matrix[i, rank], matrix[i, best] = matrix[i, best], matrix[i, rank]
        pivot = matrix[rank, rank:]
        for i in range(rank + 1, d):
            row = matrix[i, rank:]
            factor = row[0] / pivot[0]
            for j in range(len(row)):
                row[j] -= factor * pivot[j]
        rank += 1
    for k in range(rank - 1, -1, -1):
        total = matrix[k, d]
        for j in range(k + 1, rank):
            total -= matrix[k, j] * w[1 + order[j]]
        w[1 + order[k]] = total / matrix[k, k]
    w[0] = mean[d]
    for j in range(d):
        w[1 + j] *= scale[j]
        w[0] -= w[1 + j] * mean[j]
    return matrix, order, rank, scale


def _null_space(matrix: Floats, order: Ints, rank: int, scale: Floats) -> Floats:
    """Weights that change no answer but by a constant, a row for each dependent feature, shape (d − rank, d)."""
    d = len(order)
    free = np.zeros((d - rank, d))
    free[:, order[:rank]] = np.linalg.solve(np.triu(matrix[:rank, :rank]), -matrix[:rank, rank:d]).T
    free[np.arange(d - rank), order[rank:]] = 1
    return free * np.where(scale > 0, scale, 1)


def _without_intercept(
    found: Floats, free: Floats, count: float, mean: Floats, slope: Floats
) -> Floats:
    """Where nothing makes up for the mean residual found[0], the weights found[1:] are to make it small as well.

    Args:
        free: what may be added without another change of answers than by a constant.
        slope: C⁻¹ times the features' mean.

    Returns:
        what may be added without any change of answers.
    """
    missing, w, centre = found[0], found[1:], mean[:-1]
    parts = free * centre
    reach = np.abs(parts.sum(axis=1)) / np.maximum(np.abs(parts).sum(axis=1), TINY)
    if not len(free) or reach.max() < ABREAST:
        w += slope * (count * missing / (1 + count * (centre @ slope)))
        return free
    best = int(reach.argmax())
    mover = free[best] / parts[best].sum()
    w += mover * missing
    rest = np.delete(free, best, axis=0)
    left: Floats = rest - np.outer(rest @ centre, mover)
    return left


def _shortest(w: Floats, free: Floats) -> Floats:
    """w without its part along the rows of ``free``."""
    basis, _ = np.linalg.qr(free.T / np.linalg.norm(free, axis=1))
    shortest: Floats = w - basis @ (basis.T @ w)
    return shortest


# Descent


@njit(cache=True, nogil=True)
def _full_batches(
    table: Floats,
    count: float,
    mean: Floats,
    comoment: Floats,
    bias: bool,
    optimizer: int,
    decay: Floats,
    numbers: tuple[float, float, float, float, float],
) -> Floats:
    """One step from zero for each row of the table, as trainers/descent.py tells them.

    Args:
        decay: l2 of each weight.
        numbers: momentum, β₁, β₂, ε and the largest norm of a gradient.
    """
    momentum, beta1, beta2, epsilon, clip = numbers
    inputs, d, first = len(decay), len(mean) - 1, int(bias)
    w, g, m, v = np.zeros(inputs), np.zeros(inputs), np.zeros(inputs), np.zeros(inputs)
    if count == 0:
        return w
    matrix, side = comoment[:d, :d] / count, comoment[:d, d] / count
    for t in range(len(table)):
        offset = (w[0] if bias else 0.0) - mean[d]  # the mean residual
        for j in range(d):
            offset += mean[j] * w[first + j]
        if bias:
            g[0] = 2 * offset
        for i in range(d):
            g[first + i] = 2 * (_dot(matrix[i], w[first:]) - side[i] + mean[i] * offset)
        for j in range(inputs):
            g[j] += decay[j] * w[j]
        if clip < np.inf:
            norm = np.sqrt(_dot(g, g))
            if norm > clip:
                g *= clip / norm
        rate = table[t, 0]
        for j in range(inputs):
            if optimizer == 0:
                w[j] -= rate * g[j]
            elif optimizer == 1:
                m[j] = momentum * m[j] + g[j]
                w[j] -= rate * m[j]
            else:
                m[j] = beta1 * m[j] + (1 - beta1) * g[j]
                v[j] = beta2 * v[j] + (1 - beta2) * g[j] * g[j]
                w[j] -= rate * (m[j] * table[t, 1]) / (np.sqrt(v[j] * table[t, 2]) + epsilon)
    return w
