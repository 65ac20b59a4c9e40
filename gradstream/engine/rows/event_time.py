"""Event time: the column that WITH (TIMESTAMP=…) names, instead of the record's own time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine import types
from gradstream.engine.catalog import Source
from gradstream.engine.language import iso_time
from gradstream.engine.language.functions import java_time


class EventTime:
    """Reads the time of a source's rows.

    Args:
        source: one that has a ``timestamp``.
    """

    def __init__(self, source: Source) -> None:
        assert source.timestamp is not None
        self.name = source.timestamp.name
        self.pattern = source.timestamp.pattern
        self.type = next(of.type for of in source.columns if of.name == self.name)

    def read(
        self, batch: pa.RecordBatch, otherwise: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], list[tuple[int, str]]]:
        """Milliseconds, shape (n,), negative where there is none; and (row, reason) of those."""
        column = batch.column(self.name)
        if self.type == types.STRING:
            return self._parsed(column)
        numbers = column.cast(pa.int64())
        made = np.asarray(numbers.fill_null(-1)).astype(np.int64, copy=False)
        bad = np.flatnonzero(made < 0).tolist()
        return made, [(row, f"{self.name} holds no time") for row in bad]

    def _parsed(self, column: pa.Array) -> tuple[npt.NDArray[np.int64], list[tuple[int, str]]]:
        """Text by the pattern, as ISO 8601 without one."""
        read = (
            java_time.timestamp_reader(self.pattern) if self.pattern else iso_time.parse_timestamp
        )
        made = np.full(len(column), -1, np.int64)
        bad = []
        for row, text in enumerate(column.to_pylist()):
            try:
                if text is None:
                    raise ValueError("null")
                made[row] = read(text)
            except (ValueError, OverflowError):
                bad.append(
                    (row, f"{self.name} holds no time of the form {self.pattern or 'ISO 8601'}")
                )
        return made, bad
