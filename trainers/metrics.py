"""How well the model would have predicted each record just before it learned from it, over the whole run.

    metrics = Prequential(model)
    metrics.update(made.losses, y, batch_size, made.scores)      # once a record, in the order of training
    metrics.values()                                             # {"prequential/rmse": 0.12, "prequential/r2": 0.98}

Predict-then-train (prequential) metrics need no records set aside (Dawid 1984; Gama, Sebastião and Rodrigues 2013).
They take constant memory and are a function of the batches in their order: how many share a call changes no bit.

Areas under curves come from a histogram of the scores by class. The odds p / (1 − p) of a probability, or the error of
a reconstruction, fall into bins of which each power of two from 2⁻³² to 2³² has 32, so that a bin is at most 3.1 % wide
(0.031 in log-odds, up to ±22; what is beyond falls into the first or last). Scores in one bin count as evenly mixed:
the ROC-AUC is therefore at most half the share of (class 1, class 0) pairs that fall into one bin away from the exact
one. Where scores spread over some 20 bins and a hundred records of class 1 or more, both areas are exact to 0.002.
"""

# mypy: disable-error-code="untyped-decorator, no-any-return"
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit

from trainers.models import Floats, Model, Parameter, checked

OCTAVES = 64
BINS_AN_OCTAVE_LOG2 = 5
BINS = OCTAVES << BINS_AN_OCTAVE_LOG2
# A double's bits, without the lower part of its mantissa, number the bins: no logarithm is needed.
SHIFT = 52 - BINS_AN_OCTAVE_LOG2
LOWEST = (1023 - OCTAVES // 2) << BINS_AN_OCTAVE_LOG2
NEAREST = float(np.finfo(np.float64).eps)  # to 0 and 1 that a probability may come in the log-loss

SUMS = Parameter("metrics/sums", (4,))
ROWS, TOTAL, MEAN, M2 = range(4)
HISTOGRAM = Parameter("metrics/histogram", (2, BINS))


class Prequential:
    """The metrics that suit a model: RMSE and R²; or log-loss, ROC-AUC and PR-AUC; or the reconstruction's RMSE, and
    with labels the AUCs of its error as a score.

    Args:
        labelled: whether y tells class 1 from class 0 though the model reconstructs and does not look at it.
    """

    def __init__(self, model: Model, labelled: bool = False) -> None:
        self._model = model
        self._ranks = model.loss == "log_loss" or (model.reconstructs and labelled)
        self.tensors = (SUMS, HISTOGRAM) if self._ranks else (SUMS,)
        # Rows; their squared errors or log-losses; mean of y and squared distances from it, in a regression.
        self._sums = np.zeros(SUMS.shape)
        self._histogram = np.zeros(HISTOGRAM.shape if self._ranks else (2, 0))

    def update(
        self,
        losses: Floats,
        y: Floats,
        batch_size: int,
        scores: Floats | None,
        weights: Floats | None = None,
    ) -> None:
        """Takes in the first pass of a call of ``Backend.steps`` that has succeeded.

        Args:
            losses: of each batch before its step; those of further passes are not looked at.
            y: target or class, shape (n,); a class that is neither 0 nor 1 counts in no curve.
            batch_size: rows of a batch, the last may be shorter.
            scores: of each row before its batch's step, shape (n,); None where the model gives none.
            weights: of the rows, shape (n,). Log-loss and curves take each row once whatever its weight; the RMSE of
                a reconstruction takes the rows that were learned from, weight > 0.
        """
        y = np.ascontiguousarray(y, np.float64)
        if scores is None:
            _regression(losses, y, batch_size, self._sums)
        elif self._model.reconstructs:
            counted = np.ones(len(y)) if weights is None else weights
            _reconstruction(scores, y, counted, batch_size, self._sums, self._histogram)
        else:
            _classification(scores, y, batch_size, self._sums, self._histogram)

    def values(self) -> dict[str, float]:
        """Those that are defined yet: R² once the target has varied, the AUCs once both classes have been seen."""
        rows, total, _, m2 = self._sums.tolist()
        found = {}
        if rows:
            if self._model.loss == "log_loss":
                found["prequential/log_loss"] = total / rows
            else:
                found["prequential/rmse"] = (total / rows) ** 0.5
        if m2 > 0:
            found["prequential/r2"] = 1 - total / m2
        if self._histogram.any(axis=1).all():
            found["prequential/roc_auc"] = _roc_auc(self._histogram)
            found["prequential/pr_auc"] = _average_precision(self._histogram)
        return found

    def export(self) -> dict[str, Floats]:
        """As tensors of the weights record."""
        tensors = (self._sums, self._histogram)
        return {p.name: t.copy() for p, t in zip(self.tensors, tensors, strict=False)}

    def load(self, tensors: Mapping[str, Floats]) -> None:
        """Takes up what was exported.

        Raises:
            ConfigError: WRONG_SHAPE when a tensor is missing or has another shape.
        """
        found = checked(tensors, self.tensors, "metrics")
        self._sums = found[SUMS.name]
        self._histogram = found.get(HISTOGRAM.name, self._histogram)


def _roc_auc(histogram: Floats) -> float:
    """Share of (class 1, class 0) pairs in the right order, those in one bin by half."""
    zeros, ones = histogram
    below = np.cumsum(zeros) - zeros / 2
    return float(ones @ below / (zeros.sum() * ones.sum()))


def _average_precision(histogram: Floats) -> float:
    """Mean precision at each of class 1, taken in the order of falling scores; within a bin that of its middle."""
    zeros, ones = histogram[:, ::-1]
    right = np.cumsum(ones) - (ones - 1) / 2
    wrong = np.cumsum(zeros) - zeros / 2
    some = ones > 0
    precision = right[some] / (right[some] + wrong[some])
    return float(ones[some] @ precision / ones.sum())


@njit(cache=True, nogil=True)
def _regression(losses: Floats, y: Floats, batch_size: int, sums: Floats) -> None:
    """Squared errors and the running variance of y, merged batch by batch as the scaler does. Changes sums."""
    room = np.empty(min(batch_size, len(y)))
    for number in range((len(y) + batch_size - 1) // batch_size):
        batch = y[number * batch_size : (number + 1) * batch_size]
        rows, apart = len(batch), room[: len(batch)]
        _distances(batch, batch[0], apart)
        centre = batch[0] + _sum(apart) / rows
        _distances(batch, centre, apart)
        before, step = sums[ROWS], centre - sums[MEAN]
        sums[ROWS] += rows
        sums[TOTAL] += losses[number] * rows
        sums[MEAN] += step * (rows / sums[ROWS])
        sums[M2] += _sum_of_squares(apart) + step * step * (before * rows / sums[ROWS])


@njit(cache=True, nogil=True)
def _distances(values: Floats, origin: float, out: Floats) -> None:
    for i in range(len(values)):
        out[i] = values[i] - origin


# In sums the order of additions is free, so that they run side by side; it depends on the array's length alone.
@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _sum(values: Floats) -> float:
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _sum_of_squares(values: Floats) -> float:
    total = 0.0
    for i in range(len(values)):
        total += values[i] * values[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _classification(
    scores: Floats, y: Floats, batch_size: int, sums: Floats, histogram: Floats
) -> None:
    """Log-losses and the odds of each class. Changes sums and histogram."""
    for start in range(0, len(y), batch_size):
        end = min(start + batch_size, len(y))
        total = 0.0
        for i in range(start, end):
            p = scores[i]
            right = p if y[i] == 1 else 1 - p
            total -= np.log(min(max(right, NEAREST), 1 - NEAREST))
            _count(p / (1 - p), y[i], histogram)
        sums[ROWS] += end - start
        sums[TOTAL] += total


@njit(cache=True, nogil=True)
def _reconstruction(
    scores: Floats,
    y: Floats,
    weights: Floats,
    batch_size: int,
    sums: Floats,
    histogram: Floats,
) -> None:
    """Squared errors of the rows with a weight, and the errors of each class. Changes sums and histogram."""
    for start in range(0, len(y), batch_size):
        total, rows = 0.0, 0
        for i in range(start, min(start + batch_size, len(y))):
            if weights[i] > 0:
                total += scores[i]
                rows += 1
            if histogram.size:
                _count(scores[i], y[i], histogram)
        sums[ROWS] += rows
        sums[TOTAL] += total


@njit(cache=True, nogil=True)
def _count(value: float, label: float, histogram: Floats) -> None:
    """One more in the bin of the value, which is not negative."""
    bits = np.float64(value).view(np.int64)
    place = min(max((bits >> SHIFT) - LOWEST, np.int64(0)), np.int64(BINS - 1))
    if label == 1:
        histogram[1, place] += 1
    elif label == 0:
        histogram[0, place] += 1
