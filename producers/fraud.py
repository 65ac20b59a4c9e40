"""Card payments that imitate the shape of Kaggle's credit-card fraud data, which cannot be shipped.

As there: V1 … V28 look like principal components (spread falls from V1 to V28, tails are heavy), 0.17 % of the rows
are frauds and stand out in several V's, Amount is skewed and has cents, Time is seconds since the first row over two
days with quiet nights. Id, Timestamp and User are added, and Class is empty now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import UsageError
from producers.blocks import BLOCK, Block, chunks, emptied, streams, usual_chunk
from producers.names import USERS, pick

V = tuple(f"V{number}" for number in range(1, 29))
FRAUD_SCHEMA = pa.schema(
    [
        ("ID", pa.int64()),
        ("TIMESTAMP", pa.string()),
        ("USER", pa.string()),
        ("TIME", pa.int32()),
        *((name, pa.float64()) for name in V),
        ("AMOUNT", pa.float64()),
        ("CLASS", pa.string()),
    ]
)
KEPT = ("TIME", *V, "AMOUNT", "CLASS")
"""The columns of the real file, which are also those that training needs."""

START = np.datetime64("2013-09-01T00:00:00", "s")
FRAUD_SHARE = 0.0017
EMPTY_CLASSES = 0.005
KAGGLE_ROWS = 284_807
_DAY = 86_400
# Standard deviations of V1 … V28, and where the mean of a fraud lies, in those units.
# fmt: off
_SPREAD = np.array([
    1.96, 1.65, 1.52, 1.42, 1.38, 1.33, 1.24, 1.19, 1.10, 1.09, 1.02, 1.00, 1.00, 0.96,
    0.92, 0.88, 0.85, 0.84, 0.81, 0.77, 0.73, 0.73, 0.62, 0.61, 0.52, 0.48, 0.40, 0.33,
], dtype=np.float64)
_SHIFT = np.array([
    -2.4, 2.2, -4.6, 3.2, -2.3, -1.0, -4.5, 0.5, -2.3, -5.2, 3.7, -6.2, -0.1, -7.2,
    -0.1, -4.7, -7.8, -2.7, 0.8, 0.5, 1.0, 0, -0.1, -0.2, 0.1, 0.1, 0.4, 0.2,
], dtype=np.float64)
# fmt: on
# Payments in each hour of a day, relative to each other; the inverse of their sum tells the time of the n-th payment.
_HOURS = np.array(
    [4, 2, 2, 2, 1, 1, 2, 4, 6, 9, 10, 10, 10, 9, 9, 10, 10, 10, 10, 9, 9, 9, 8, 6], float
)
_UNTIL = np.concatenate([[0.0], np.cumsum(_HOURS) / _HOURS.sum()])
_HEAVY = 0.4


@dataclass(frozen=True)
class Fraud:
    """A stream of payments, a function of these settings alone.

    Attributes:
        rows: how many, spread over two days; None is without end, at the pace of Kaggle's file.
        seed: of everything that is drawn.
        fraud_share: share of frauds.
        empty_share: share of rows whose Class is empty; it changes no other value.
    """

    rows: int | None = KAGGLE_ROWS
    seed: int = 444
    fraud_share: float = FRAUD_SHARE
    empty_share: float = EMPTY_CLASSES

    schema = FRAUD_SCHEMA

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise UsageError("BAD_ROWS", f"{self.rows} rows asked for; give 1 or more")
        if self.seed < 0:
            raise UsageError("BAD_SEED", f"seed {self.seed} is negative; give 0 or more")
        for name, share in (("fraud", self.fraud_share), ("empty", self.empty_share)):
            if not 0 <= share <= 1:
                raise UsageError("BAD_SHARE", f"{name} share {share} is not between 0 and 1")

    def batches(self, chunk_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in record batches of ``chunk_rows`` (None: a fitting number); the data do not depend on it."""
        return chunks(self._block(), self.rows, chunk_rows or usual_chunk(len(self.schema)))

    def _block(self) -> Block:
        v, label, amount, when, user, empty = streams(self.seed, 6)

        def block(first: int) -> pa.RecordBatch:
            fraud = label.random(BLOCK) < self.fraud_share
            columns = [
                *_components(fraud, v),
                pa.array(_amounts(fraud, amount)),
                emptied(pa.array(np.where(fraud, "1", "0")), self.empty_share, empty),
            ]
            time = _seconds(first, self.rows or KAGGLE_ROWS, when)
            return with_identity(first, time, columns, user)

        return block


def with_identity(
    first: int,
    time: npt.NDArray[np.int32],
    others: list[pa.Array],
    user: np.random.Generator,
) -> pa.RecordBatch:
    """Rows of FRAUD_SCHEMA: Id, Timestamp and User put before Time (seconds, shape (n,)) and the other columns."""
    rows = len(time)
    stamps = np.datetime_as_string(START + time.astype("timedelta64[s]"), unit="s", timezone="UTC")
    front = [
        pa.array(np.arange(first, first + rows)),
        pa.array(stamps, pa.string()),
        pick(USERS, user, rows),
        pa.array(time, pa.int32()),
    ]
    return pa.RecordBatch.from_arrays([*front, *others], schema=FRAUD_SCHEMA)


def _components(fraud: npt.NDArray[np.bool_], rng: np.random.Generator) -> list[pa.Array]:
    """V1 … V28, each of length n. A row has a spread of its own (heavy tails), a fraud a severity of its own."""
    rows = len(fraud)
    spread = np.exp(_HEAVY * rng.standard_normal(rows) - _HEAVY**2)
    severity = rng.gamma(2.5, 0.4, rows) * fraud
    shapes = rng.standard_normal((len(V), rows))
    return [
        pa.array(deviation * (shift * severity + spread * shape))
        for deviation, shift, shape in zip(_SPREAD, _SHIFT, shapes, strict=True)
    ]


def _amounts(fraud: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Amounts in whole cents, median 22; those of frauds lie lower in the middle and spread further."""
    normal = rng.standard_normal(len(fraud))
    amounts: npt.NDArray[np.float64] = np.exp(
        np.where(fraud, 2.3 + 2.1 * normal, 3.1 + 1.6 * normal)
    )
    return np.round(amounts, 2)


def _seconds(first: int, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Ascending seconds of the rows from ``first`` on, where ``rows`` of them fill two days; row 0 is at 0."""
    position = np.arange(first, first + BLOCK) + rng.random(BLOCK)
    if first == 0:
        position[0] = 0.0
    day, share = np.divmod(2 * position / rows, 1)
    hour = np.interp(share, _UNTIL, np.arange(25))
    return np.minimum(_DAY * day + 3600 * hour, np.iinfo(np.int32).max).astype(np.int32)
