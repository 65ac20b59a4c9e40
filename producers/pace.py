"""When records are due, and slices of a batch that keep to it.

A sender that falls behind does not catch up in a burst: what is more than BURST seconds late moves the whole
schedule, so that readers never see more at once than BURST seconds are worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import UsageError

BURST = 0.05
# Seconds between two slices at least. Each costs the broker a request for every partition, and each of those wakes all
# who read it: on two cores slices of 5 ms made the whole path slower than they made the first step quicker.
TICK = 0.01
SHORTEST = 0.0001  # seconds that are worth a sleep

Due: TypeAlias = npt.NDArray[np.float64]
Schedule: TypeAlias = Callable[[pa.RecordBatch, int], Due]
"""From a batch and the number of its first row to seconds since the start, shape (n,), ascending."""


def at_rate(rate: float) -> Schedule:
    """``rate`` records a second, evenly."""
    _check("rate", rate, "records a second")

    def due(batch: pa.RecordBatch, first: int) -> Due:
        seconds: Due = np.arange(first, first + len(batch)) / rate
        return seconds

    return due


def at_own_clock(column: str, speed: float) -> Schedule:
    """``speed`` times as fast as the column of seconds in the records tells; a step back in it counts as no time."""
    _check("speed", speed, "times the records' own clock")
    origin: float | None = None
    latest = 0.0

    def due(batch: pa.RecordBatch, first: int) -> Due:
        nonlocal origin, latest
        seconds = batch.column(column).to_numpy(zero_copy_only=False).astype(np.float64)
        if len(seconds) == 0:
            return np.zeros(0)
        if origin is None:
            origin = float(seconds[0])
        ascending: Due = np.maximum.accumulate(np.maximum((seconds - origin) / speed, latest))
        latest = float(ascending[-1])
        return ascending

    return due


def _check(name: str, value: float, unit: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise UsageError("BAD_RATE", f"--{name} {value:g} is not above 0; give a number of {unit}")


class Pace:
    """Follows one schedule from its first slice on.

    Args:
        clock: seconds, monotonic.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._origin: float | None = None
        self._next = -np.inf  # when the next slice may go out

    def slices(self, due: Due) -> Iterator[tuple[int, int]]:
        """(start, end) of the rows that are due, each time that some are; sleeps in between."""
        if self._origin is None:
            self._origin = self._clock()
        start = 0
        while start < len(due):
            now = self._clock()
            late = now - self._origin - float(due[start])
            if (early := max(-late, self._next - now)) > 0:
                self._sleep(max(early, SHORTEST))
                continue
            self._next = now + TICK
            if late > BURST:
                self._origin += late - BURST
                late = BURST
            end = int(np.searchsorted(due, due[start] + late, side="right"))
            yield start, end
            start = end
