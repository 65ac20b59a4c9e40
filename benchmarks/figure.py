"""One measured figure beside the limit that it is measured against, and the turns in which both are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

from benchmarks import effort


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate, or another quantity, next to a reference from the same run.

    Attributes:
        name: what was measured.
        rates: units per second, one per repeat; where ``smaller``, the quantity itself, in the unit.
        reference: what it is compared with; empty where it stands alone.
        reference_rates: the same of the reference, taken in turns with ``rates``.
        goal: the ratio of the best that we want to reach, 0 where there is none.
        unit: what is counted, or measured: records, rows, ms, MiB.
        limit: what the best must reach, or where ``smaller`` must not exceed; 0 where there is no such goal.
        smaller: whether less is better: times, memory.
        series, at: the line in a picture that it is a point of, and where: ``features``, 10.
    """

    name: str
    rates: tuple[float, ...]
    reference: str = ""
    reference_rates: tuple[float, ...] = ()
    goal: float = 0.0
    unit: str = "records"
    limit: float = 0.0
    smaller: bool = False
    series: str = ""
    at: float = 0.0

    @property
    def best(self) -> float:
        """On a shared machine noise only ever makes a run slower."""
        return min(self.rates) if self.smaller else max(self.rates)

    @property
    def best_reference(self) -> float:
        return min(self.reference_rates) if self.smaller else max(self.reference_rates)

    @property
    def ratio(self) -> float:
        """How many times as good as the reference, best against best; nan without one."""
        if not self.reference_rates:
            return float("nan")
        found = self.best / self.best_reference
        return 1 / found if self.smaller else found

    @property
    def median_ratio(self) -> float:
        """The same of the medians."""
        if not self.reference_rates:
            return float("nan")
        found = median(self.rates) / median(self.reference_rates)
        return 1 / found if self.smaller else found

    @property
    def within_limit(self) -> bool:
        """Whether the best reaches ``limit``."""
        if not self.limit:
            return True
        return self.best <= self.limit if self.smaller else self.best >= self.limit

    @property
    def reached(self) -> bool:
        """Whether its goals are; one without goals has reached them."""
        return self.within_limit and (not self.goal or self.ratio >= self.goal)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Figure:
        """From JSON."""
        found = {field.name: record[field.name] for field in fields(cls)}
        for name in ("rates", "reference_rates"):
            found[name] = tuple(found[name])
        return cls(**found)


def in_turns(
    count: int, works: Mapping[str, Callable[[], float | None]], repeats: int = 3
) -> dict[str, tuple[float, ...]]:
    """Run all of them in turns, so that a busy moment of the machine meets all; units per second of each, by its name.

    Args:
        count: units that one call works through.
        works: do the work; return the seconds it took, or None to have the whole call timed.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    repeats = effort.repeats(repeats)
    for turn in range(repeats):
        for name, work in works.items():
            effort.NOW.say(f"{name}, {turn + 1} of {repeats}")
            start = time.perf_counter()
            seconds = work()
            found[name].append(
                count / (time.perf_counter() - start if seconds is None else seconds)
            )
    return {name: tuple(rates) for name, rates in found.items()}


def spread(rates: Sequence[float]) -> str:
    """How far the slowest of some repeats lies from the fastest, as a share of the larger; a dash for one alone."""
    return f"{1 - min(rates) / max(rates):.0%}" if len(rates) > 1 else "–"
