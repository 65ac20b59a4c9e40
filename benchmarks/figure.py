"""One measured figure beside the limit that it is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate next to a reference rate from the same run.

    Attributes:
        name: what was measured.
        rates: units per second, one per repeat.
        reference: what it is compared with.
        reference_rates: units per second of the reference, one per repeat, taken alternately with ``rates``.
        goal: the ratio of the best rates that we want to reach, 0 where there is none.
        unit: what is counted.
    """

    name: str
    rates: tuple[float, ...]
    reference: str
    reference_rates: tuple[float, ...]
    goal: float
    unit: str = "records"

    @property
    def ratio(self) -> float:
        """Best against best: on a shared machine noise only ever makes a run slower."""
        return max(self.rates) / max(self.reference_rates)

    @property
    def spread(self) -> float:
        """How far the slowest repeat lies below the fastest, as a share."""
        return 1 - min(self.rates) / max(self.rates)


def alternate(
    count: int,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    repeats: int = 3,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Run both in turns and return units per second of each.

    Args:
        count: units that one call works through.
        ours, theirs: do the work; return the seconds it took, or 0 to have the whole call timed.
    """

    def rate(work: Callable[[], float]) -> float:
        start = time.perf_counter()
        seconds = work()
        return count / (seconds or time.perf_counter() - start)

    pairs = [(rate(ours), rate(theirs)) for _ in range(repeats)]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
