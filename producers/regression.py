"""Regression data whose answer is known.

``golden`` is the data of the golden figures, one feature on a line; ``gaussian`` has any number of features, standard
normal, and true weights given or drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import UsageError
from producers.blocks import BLOCK, Block, chunks, emptied, streams, usual_chunk
from producers.names import SENSORS, pick

MAX_FEATURES = 1000
GOLDEN_ROWS = 10_000
GOLDEN_SEED = 444


def regression_schema(features: int) -> pa.Schema:
    """ID, SENSOR, X1 … Xd, Y: the columns of ``regression_source``."""
    middle = [(f"X{number}", pa.float64()) for number in range(1, features + 1)]
    return pa.schema([("ID", pa.int64()), ("SENSOR", pa.string()), *middle, ("Y", pa.float64())])


@dataclass(frozen=True)
class Regression:
    """A stream of rows with Y = w0 + w1·X1 + … + wd·Xd + noise, a function of these settings alone.

    Attributes:
        data: ``golden`` (one feature, X1 = linspace(0, 2, rows), w = [3, 2]) or ``gaussian``.
        rows: how many; None is without end (gaussian only).
        features: d; golden has one.
        seed: of everything that is drawn.
        noise: standard deviation of the noise in Y.
        weights: gaussian only: intercept first, d + 1 numbers; None draws them from the seed.
        empty_share: share of rows whose Y is empty; it changes no other value.
    """

    data: Literal["golden", "gaussian"] = "golden"
    rows: int | None = GOLDEN_ROWS
    features: int = 1
    seed: int = GOLDEN_SEED
    noise: float = 0.1
    weights: tuple[float, ...] | None = None
    empty_share: float = 0.0

    def __post_init__(self) -> None:
        self._check_counts()
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise UsageError("BAD_NOISE", f"noise {self.noise} is not a number of 0 or more")
        if not 0 <= self.empty_share <= 1:
            raise UsageError("BAD_SHARE", f"empty share {self.empty_share} is not between 0 and 1")
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_counts(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise UsageError("BAD_ROWS", f"{self.rows} rows asked for; give 1 or more")
        if not 1 <= self.features <= MAX_FEATURES:
            raise UsageError("BAD_FEATURES", f"{self.features} features; give 1 to {MAX_FEATURES}")
        if self.seed < 0:
            raise UsageError("BAD_SEED", f"seed {self.seed} is negative; give 0 or more")
        if self.data == "golden" and self.features != 1:
            raise UsageError(
                "BAD_FEATURES",
                f"golden data has 1 feature, not {self.features}; use --data gaussian",
            )
        if self.data == "golden" and self.rows is None:
            raise UsageError(
                "BAD_ROWS", "golden data ends; use --data gaussian for rows without end"
            )

    def _check_weights(self, weights: tuple[float, ...]) -> None:
        if self.data == "golden":
            raise UsageError("BAD_WEIGHTS", "golden data has the weights 3 and 2; leave them out")
        if len(weights) != self.features + 1:
            raise UsageError(
                "BAD_WEIGHTS",
                f"{len(weights)} weights for {self.features} features; give {self.features + 1}, "
                "the intercept first",
            )
        if not np.isfinite(weights).all():
            raise UsageError("BAD_WEIGHTS", "every weight must be a finite number")

    @cached_property
    def schema(self) -> pa.Schema:
        return regression_schema(self.features)

    @cached_property
    def _drawn_weights(self) -> npt.NDArray[np.float64]:
        return np.round(streams(self.seed, 5)[4].uniform(-3, 3, self.features + 1), 3)

    def true_weights(self) -> npt.NDArray[np.float64]:
        """The weights behind Y, shape (d + 1,), intercept first."""
        if self.data == "golden":
            return np.array([3.0, 2.0])
        if self.weights is not None:
            return np.array(self.weights, dtype=np.float64)
        return self._drawn_weights.copy()

    def batches(self, chunk_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in record batches of ``chunk_rows`` (None: a fitting number); the data do not depend on it."""
        block = self._golden() if self.data == "golden" else self._gaussian()
        return chunks(block, self.rows, chunk_rows or usual_chunk(len(self.schema)))

    def _golden(self) -> Block:
        assert self.rows is not None
        # The legacy generator, since the golden figures were drawn by numpy.random.seed and randn.
        noise = self.noise * np.random.RandomState(self.seed).randn(self.rows)
        x = np.linspace(0, 2, self.rows)
        y = 3 + 2 * x + noise
        _, _, sensor, empty, _ = streams(self.seed, 5)

        def block(first: int) -> pa.RecordBatch:
            rows = slice(first, first + BLOCK)
            return self._rows(first, x[None, rows], y[rows], sensor, empty)

        return block

    def _gaussian(self) -> Block:
        weights = self.true_weights()
        features, noise, sensor, empty, _ = streams(self.seed, 5)

        def block(first: int) -> pa.RecordBatch:
            x = features.standard_normal((self.features, BLOCK))
            y = weights[0] + self.noise * noise.standard_normal(BLOCK)
            for weight, column in zip(weights[1:], x, strict=True):
                y += (
                    weight * column
                )  # in a fixed order, where a matrix product has one for each machine
            return self._rows(first, x, y, sensor, empty)

        return block

    def _rows(
        self,
        first: int,
        x: npt.NDArray[np.float64],
        y: npt.NDArray[np.float64],
        sensor: np.random.Generator,
        empty: np.random.Generator,
    ) -> pa.RecordBatch:
        rows = len(y)
        columns = [
            pa.array(np.arange(first, first + rows)),
            pick(SENSORS, sensor, rows),
            *(pa.array(column) for column in x),
            emptied(pa.array(y), self.empty_share, empty),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
