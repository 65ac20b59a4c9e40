"""What a codec makes of a chunk of raw values: the good rows as columns, a code for every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire.faults import CODES, OK


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows that could be read, and why the others could not.

    Attributes:
        batch: the good rows, in the order in which they were given.
        rows: int64, shape (batch.num_rows,): the position of each good row among the values given.
        codes: uint8, shape (n,), one of wire.faults.CODES for each of the n values given; 0 is a good row.
        reason: why row i of the n could not be read, in words that hold no value of the record.
    """

    batch: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    reason: Callable[[int], str]

    @classmethod
    def whole(cls, batch: pa.RecordBatch) -> Decoded:
        """When every value was good."""
        n = batch.num_rows
        return cls(batch, np.arange(n, dtype=np.int64), np.zeros(n, np.uint8), lambda row: "")

    @property
    def faults(self) -> npt.NDArray[np.int64]:
        """Positions of the rows that could not be read."""
        return np.flatnonzero(self.codes != OK).astype(np.int64, copy=False)

    def code(self, row: int) -> str:
        """The word for row's code, such as ``TRUNCATED``; ``OK`` for a good row."""
        return CODES[int(self.codes[row])]
