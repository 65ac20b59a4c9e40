"""What people see: one console for progress and notes on stderr, results on stdout."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.text import Text

notes = Console(stderr=True, highlight=False)
results = Console(highlight=False)


def short(number: float) -> str:
    """A count in at most six characters: 999, 12.3 k, 4.56 M.

    >>> short(999), short(12_345), short(4_560_000)
    ('999', '12.3 k', '4.56 M')
    """
    for size, mark in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{mark}"
    return f"{number:.0f}"


class RateColumn(ProgressColumn):
    """Units a second, since people ask for the rate before the percentage."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = short(speed) if speed else "–"
        return Text(f"{rate} {self.unit}/s", style="cyan", no_wrap=True)


class CountColumn(ProgressColumn):
    """How many of how many."""

    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f"/{short(task.total)}"
        return Text(f"{short(task.completed)}{total}", style="green", no_wrap=True)


class _Bar(Progress):
    """A progress bar on a terminal only, and gone where an error ends it: errors are one line."""

    def start(self) -> None:
        if self.console.is_terminal:
            super().start()

    def stop(self) -> None:
        if self.console.is_terminal:
            super().stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.live.transient = True
        super().__exit__(kind, error, trace)


def progress(unit: str, rate: bool = True) -> Progress:
    """A progress bar counted in units, such as ``records``; total None for an endless stream.

    Args:
        rate: whether to tell units a second; not where one takes seconds.
    """
    return _Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        CountColumn(),
        RateColumn(unit) if rate else TextColumn(unit),
        TimeElapsedColumn(),
        console=notes,
    )


def download_progress() -> Progress:
    """A progress bar counted in bytes."""
    return _Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=notes,
    )
