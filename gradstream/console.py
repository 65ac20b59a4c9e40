"""What people see: one console for progress and notes on stderr, results on stdout."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
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


class RateColumn(ProgressColumn):
    """Units a second, since people ask for the rate before the percentage."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self.unit}/s" if speed else f"– {self.unit}/s", style="cyan")


def progress(unit: str) -> Progress:
    """A progress bar counted in units, such as ``records``, with rate; total None for an endless stream."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeElapsedColumn(),
        console=notes,
    )


def download_progress() -> Progress:
    """A progress bar counted in bytes."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=notes,
    )
