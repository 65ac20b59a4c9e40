"""The weights once more, by a plain loop in Python's own numbers.

    g  = d loss / d w, mean over the batch;  g += l2 · w, intercept excepted;  g *= min(1, clip / ‖g‖)
    sgd: w −= rate · g      momentum: m = μ m + g, w −= rate · m
    adam: m = β₁ m + (1 − β₁) g, v = β₂ v + (1 − β₂) g²,
          w −= rate · m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε), t from 1

with β₁ = 0.9, β₂ = 0.999, ε = 1e-8. The loss of ``linear`` is (w · x − y)², of ``logistic`` the log loss. Features are
standardised by what was seen before their batch, class weights are balanced by it too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Any

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
NEAREST = 2.0**-52  # to 0 and 1 that a probability may come in the log loss
CLOSE = 1e-9  # relative difference that rounding may make
Row = Sequence[float]


def unfit(settings: dict[str, Any]) -> str:
    """Why a run's weights cannot be recomputed here; empty if they can."""
    if settings.get("model") not in ("linear", "logistic"):
        return f"model {settings.get('model')}"
    if settings.get("exact"):
        return "least squares from sums of products (--exact)"
    return "" if settings.get("dtype") == "float64" else f"dtype {settings.get('dtype')}"


class Descent:
    """The state of a run that learns, and nothing of how it was stored.

    Args:
        settings: of the run; ``follow`` takes those of a later part.
        features: how many.
    """

    def __init__(self, settings: dict[str, Any], features: int) -> None:
        self.bias = bool(settings["bias"])
        self.w = [0.0] * (features + self.bias)
        self.m, self.v = list(self.w), list(self.w)
        self.step = 0
        self.moments = Moments(features)
        self.classes = [0.0, 0.0]
        self.sums = Sums()
        self.follow(settings)

    def follow(self, settings: dict[str, Any]) -> None:
        """Goes on under these settings."""
        self.settings = settings
        self.logistic = settings["model"] == "logistic"
        self.weighing = settings.get("class_weights")

    def batch(self, xs: Sequence[Row], ys: Sequence[float], *, first: bool) -> None:
        """One step.

        Args:
            xs: features as they are in the topic; of later epochs as ``frozen`` gave them.
            first: whether the rows are met for the first time, and so are counted in what is known of all rows.
        """
        weights = self._row_weights(ys, first)
        if first and self.settings["standardise"]:
            raw, xs = xs, self.frozen(xs)
            self.moments.add(raw)
        rows = [(1.0, *x) for x in xs] if self.bias else xs
        answers = [sum(map(mul, self.w, row)) for row in rows]
        if self.logistic:
            answers = [_probability(a) for a in answers]
        errors = [a - y for a, y in zip(answers, ys, strict=True)]
        if first:
            self.sums.add(errors, answers, ys, self.logistic)
        if weights is not None:
            errors = [e * s for e, s in zip(errors, weights, strict=True)]
        factor = (1 if self.logistic else 2) / len(ys)
        self._descend(
            [factor * sum(map(mul, errors, column)) for column in zip(*rows, strict=True)]
        )

    def frozen(self, xs: Sequence[Row]) -> list[Row]:
        """Rows by what is known of all rows so far."""
        if not self.settings["standardise"]:
            return list(xs)
        mean, factors = self.moments.mean, self.moments.factors()
        return [
            tuple((x - m) * f for x, m, f in zip(row, mean, factors, strict=True)) for row in xs
        ]

    def _row_weights(self, ys: Sequence[float], first: bool) -> list[float] | None:
        if self.weighing is None:
            return None
        zeros, ones = self.classes
        pair = self.weighing
        if pair == "balanced":
            pair = [(zeros + ones + 2) / (2 * (seen + 1)) for seen in self.classes]
        if first:
            self.classes = [zeros + ys.count(0.0), ones + ys.count(1.0)]
        return [pair[int(y)] for y in ys]

    def _descend(self, g: list[float]) -> None:
        told, w = self.settings, self.w
        if told["l2"]:
            pulled = range(int(self.bias), len(w))
            g = [a + (told["l2"] * w[j] if j in pulled else 0.0) for j, a in enumerate(g)]
        if (clip := told.get("clip")) is not None and (norm := math.hypot(*g)) > clip:
            g = [a * clip / norm for a in g]
        rate = self._rate()
        self.step += 1
        if told["optimizer"] == "momentum":
            g = self.m = [told["momentum"] * m + a for m, a in zip(self.m, g, strict=True)]
        elif told["optimizer"] == "adam":
            g = self._adam(g)
        self.w = [x - rate * a for x, a in zip(w, g, strict=True)]

    def _adam(self, g: list[float]) -> list[float]:
        self.m = [BETA1 * m + (1 - BETA1) * a for m, a in zip(self.m, g, strict=True)]
        self.v = [BETA2 * v + (1 - BETA2) * a * a for v, a in zip(self.v, g, strict=True)]
        first, second = 1 - BETA1**self.step, 1 - BETA2**self.step
        return [
            m / first / (math.sqrt(v / second) + EPSILON)
            for m, v in zip(self.m, self.v, strict=True)
        ]

    def _rate(self) -> float:
        told, rate = self.settings, float(self.settings["learning_rate"])
        if told["schedule"] == "inverse":
            return float(rate / (1 + self.step) ** told["power"])
        if told["schedule"] == "cosine":
            return rate / 2 * (1 + math.cos(math.pi * min(self.step / told["schedule_steps"], 1)))
        return rate

    # Compare

    def expected(self) -> dict[str, list[float]]:
        """The tensors that a weights record should hold now."""
        told = self.settings
        found = {"w": self.w}
        if told["optimizer"] != "sgd":
            found["optimizer/m/w"] = self.m
        if told["optimizer"] == "adam":
            found["optimizer/v/w"] = self.v
        if told["optimizer"] == "adam" or told["schedule"] != "constant":
            found["optimizer/step"] = [float(self.step)]
        if told["standardise"]:
            found["scaler/count"] = [float(self.moments.rows)]
            found["scaler/mean"], found["scaler/m2"] = self.moments.mean, self.moments.m2
        if self.weighing is not None:
            found["class_weights/counts"] = self.classes
        return found

    def wrong(self, tensors: dict[str, list[float]]) -> list[str]:
        """How the tensors of a record differ from what was recomputed."""
        found = []
        for name, mine in self.expected().items():
            if name not in tensors:
                found.append(f"no tensor {name}")
            elif (place := _apart(tensors[name], mine)) is not None:
                theirs = tensors[name][place] if place < len(tensors[name]) else "nothing"
                found.append(f"{name}[{place}] is {theirs}, recomputed {mine[place]}")
        sums = self.sums.numbers
        told = tensors.get("metrics/sums", sums)
        pairs = zip(told, sums, strict=True)
        if any(not math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in pairs):
            found.append(f"metrics/sums are {told}, recomputed {sums}")
        return found

    def adopt(self, tensors: dict[str, list[float]]) -> None:
        """Goes on from a record that was wrong, so that the next one is judged for itself."""
        self.w = list(tensors.get("w", self.w))
        self.m = list(tensors.get("optimizer/m/w", self.m))
        self.v = list(tensors.get("optimizer/v/w", self.v))
        self.moments.rows = int(tensors.get("scaler/count", [self.moments.rows])[0])
        self.moments.mean = list(tensors.get("scaler/mean", self.moments.mean))
        self.moments.m2 = list(tensors.get("scaler/m2", self.moments.m2))
        self.classes = list(tensors.get("class_weights/counts", self.classes))
        self.sums.numbers = list(tensors.get("metrics/sums", self.sums.numbers))


class Moments:
    """Mean and sum of squared distances from it, of each feature, merged batch by batch."""

    def __init__(self, features: int) -> None:
        self.rows = 0
        self.mean, self.m2 = [0.0] * features, [0.0] * features

    def add(self, xs: Sequence[Row]) -> None:
        total = self.rows + len(xs)
        for j, column in enumerate(zip(*xs, strict=True)):
            centre, spread = centred(column)
            apart = centre - self.mean[j]
            self.mean[j] += apart * len(xs) / total
            self.m2[j] += spread + apart * apart * self.rows * len(xs) / total
        self.rows = total

    def factors(self) -> list[float]:
        return [1 / math.sqrt(m2 / self.rows) if m2 > 0 else 0.0 for m2 in self.m2]


class Sums:
    """Of the run: rows, their losses before they were learned from, and of a regression mean and spread of the target."""

    def __init__(self) -> None:
        self.numbers = [0.0, 0.0, 0.0, 0.0]

    def add(self, errors: Row, answers: Row, ys: Sequence[float], logistic: bool) -> None:
        rows, total, mean, m2 = self.numbers
        if logistic:
            right = [p if y == 1.0 else 1 - p for p, y in zip(answers, ys, strict=True)]
            total -= sum(math.log(min(max(p, NEAREST), 1 - NEAREST)) for p in right)
        else:
            total += sum(map(mul, errors, errors))
            centre, spread = centred(ys)
            apart, all_rows = centre - mean, rows + len(ys)
            mean += apart * len(ys) / all_rows
            m2 += spread + apart * apart * rows * len(ys) / all_rows
        self.numbers = [rows + len(ys), total, mean, m2]


def centred(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sum of squared distances from it; exactly the value and 0 where all are the same."""
    origin = values[0]
    centre = origin + math.fsum(value - origin for value in values) / len(values)
    return centre, math.fsum((value - centre) ** 2 for value in values)


def _probability(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else (e := math.exp(a)) / (1 + e)


def _apart(theirs: Sequence[float], mine: Sequence[float]) -> int | None:
    """Where two tensors differ by more than rounding, against the largest number in them."""
    if len(theirs) != len(mine):
        return min(len(theirs), len(mine) - 1)
    room = CLOSE * max(map(abs, mine), default=0.0)
    for place, (a, b) in enumerate(zip(theirs, mine, strict=True)):
        if not abs(a - b) <= room:
            return place
    return None
