"""The loss that a record reports: the mean since the one before."""

from __future__ import annotations

from trainers.models import Floats


class Tally:
    """Mean loss since the last record, over at most so many steps back.

    Attributes:
        most: steps that count; in epochs, those of one.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self.restart()

    def restart(self) -> None:
        self.records = 0
        self._sum = 0.0
        self._steps = 0

    def add(self, losses: Floats, records: int) -> None:
        self.records += records
        if self.most is not None and self._steps + len(losses) > self.most:
            self._sum, self._steps = 0.0, 0
            losses = losses[-self.most :]
        self._sum += float(losses.sum())
        self._steps += len(losses)

    @property
    def mean(self) -> float:
        return self._sum / self._steps if self._steps else float("nan")
