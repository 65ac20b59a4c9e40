"""Figures as rows of a table, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.table import Table

from benchmarks.figure import Figure, spread
from benchmarks.wording import times
from gradstream.console import short


class Row(NamedTuple):
    """What was measured, or under it what it is compared with.

    Attributes:
        below: whether it is such a reference.
        reached: whether the goal in this row is; None where it has none.
    """

    measured: str
    best: str
    spread: str
    ratio: str
    goal: str
    below: bool
    reached: bool | None


COLUMNS = Row._fields[:5]


def quantity(figure: Figure, value: float) -> str:
    """A rate, or what else the figure is of: ``1.26 M/s``, ``83.1 ms``."""
    if not figure.smaller:
        return f"{short(value)}/s"
    return f"{value:,.0f} {figure.unit}" if value >= 1000 else f"{value:.3g} {figure.unit}"


def rows(figures: Sequence[Figure]) -> Iterator[Row]:
    """Those that are no points of a picture; figures of one name and rates follow each other and share their first row."""
    judged = [each for each in figures if not each.series]
    for _, group in groupby(judged, key=lambda each: (each.name, each.rates)):
        same = list(group)
        first = same[0]
        limit = ""
        if first.limit:
            limit = f"{'≤' if first.smaller else '≥'} {quantity(first, first.limit)}"
        yield Row(
            first.name,
            quantity(first, first.best),
            spread(first.rates),
            "",
            limit,
            below=False,
            reached=first.within_limit if limit else None,
        )
        yield from (_reference(each) for each in same if each.reference_rates)


def _reference(figure: Figure) -> Row:
    return Row(
        figure.reference,
        quantity(figure, figure.best_reference),
        spread(figure.reference_rates),
        times(figure.ratio),
        f"≥ {figure.goal:.3g}×" if figure.goal else "",
        below=True,
        reached=figure.ratio >= figure.goal if figure.goal else None,
    )


def terminal(title: str, figures: Sequence[Figure]) -> Table:
    """All figures of a file; goals in green where they are reached, else in red."""
    shown = Table(title=title, title_justify="left")
    for column in COLUMNS:
        left = column == "measured"
        shown.add_column(column, justify="left" if left else "right", no_wrap=not left)
    for row in rows(figures):
        name = f"  against {row.measured}" if row.below else f"[bold]{row.measured}[/]"
        shade = {True: "green", False: "red", None: ""}[row.reached]
        ratio, goal = (f"[{shade}]{text}[/]" if shade else text for text in (row.ratio, row.goal))
        shown.add_row(name, row.best, row.spread, ratio, goal)
    return shown


def markdown(files: Mapping[str, Sequence[Figure]]) -> Iterator[str]:
    """The figures of some files for a page, by the file's name; what has missed its goal in italics."""
    yield "| measured | best | spread | ratio | goal |"
    yield "|---|---|---|---|---|"
    for file, figures in files.items():
        for row in rows(figures):
            name = f"against {row.measured}" if row.below else f"**{file}: {row.measured}**"
            goal = f"*{row.goal}: missed*" if row.reached is False else row.goal
            yield f"| {name} | {row.best} | {row.spread} | {row.ratio} | {goal} |"


def missed(figure: Figure) -> Iterator[str]:
    """The goals that a figure has missed, in words."""
    for row in rows([figure]):
        if row.reached is False and row.below:
            yield f"{figure.name}: {row.ratio} of {row.measured}, goal {row.goal}"
        elif row.reached is False:
            yield f"{figure.name}: {row.best}, goal {row.goal}"


def lines(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """The points of each line of a picture, in their order."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.series:
            found.setdefault(figure.series, []).append(figure)
    return {name: sorted(points, key=lambda each: each.at) for name, points in found.items()}


def line(name: str, points: Sequence[Figure]) -> Table:
    """One line of a picture in numbers."""
    shown = Table(title=f"over {name}", title_justify="left")
    for column in (name, "best", "spread", points[0].reference, "ratio"):
        shown.add_column(column, justify="right", no_wrap=True)
    for each in points:
        shown.add_row(
            f"{each.at:,.0f}",
            quantity(each, each.best),
            spread(each.rates),
            quantity(each, each.best_reference),
            times(each.ratio),
        )
    return shown
