"""The live display of a training run."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import TaskID

from gradstream.console import notes, progress
from trainers.chain import WeightsRecord
from trainers.job import Job
from trainers.loop import Status


class Watcher:
    """A progress bar with step or epoch and loss on a terminal; elsewhere, a line now and then."""

    EVERY = 10.0  # seconds between lines where there is no terminal

    def __init__(self, job: Job) -> None:
        self.job = job
        self._bar = progress("rec")  # short, so that all of it fits 80 columns
        self._task: TaskID | None = None
        self._line = time.monotonic()
        self._published = 0
        self._trouble: str | None = None

    def __enter__(self) -> Self:
        if notes.is_terminal:
            self._bar.start()
            self._task = self._bar.add_task("joining the group", total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if notes.is_terminal:
            self._bar.__exit__(kind, error, trace)

    def status(self, status: Status) -> None:
        if not notes.is_terminal:
            self._tell(status)
            return
        assert self._task is not None  # since __enter__
        self._bar.update(
            self._task,
            description=self._described(status),
            completed=status.records,
            total=status.total,
        )

    def published(self, record: WeightsRecord) -> None:
        self._published += 1

    def _described(self, status: Status) -> str:
        loss = "–" if status.loss is None else f"{status.loss:.4g}"
        at = f"step {status.step:,}"
        if self.job.in_epochs:
            at = f"epoch {status.epoch}/{self.job.epochs}"
        bad = f", {status.rejected:,} bad" if status.rejected else ""
        trouble = f" ({status.trouble})" if status.trouble else ""
        return f"{at} loss {loss}{bad}{trouble}"

    def _tell(self, status: Status) -> None:
        news = status.trouble is not None and status.trouble != self._trouble
        self._trouble = status.trouble
        if news or time.monotonic() - self._line >= self.EVERY:
            self._line = time.monotonic()
            notes.print(
                f"{self.job.run_id}: {self._described(status)}, {status.records:,} records, {status.rate:,.0f}/s, "
                f"{self._published} published",
                soft_wrap=True,
            )
