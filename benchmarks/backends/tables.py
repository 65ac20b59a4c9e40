"""The comparison of backends as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.backends.cases import BARE, EXACT, GOALS, GOLDEN, PUBLISHED, REFERENCE
from benchmarks.backends.outcome import Comparison, Outcome
from benchmarks.wording import duration, times
from gradstream.console import short


def all_of(comparisons: Sequence[Comparison]) -> Iterator[Table | str]:
    """Those cases in full that have a goal; then the widths side by side."""
    judged = {goal.case for goal in GOALS}
    for comparison in comparisons:
        if comparison.case.name in judged:
            yield in_full(comparison)
        if comparison.case.name == GOLDEN:
            told = ", ".join(f"{who} {seconds} s" for who, seconds in PUBLISHED.items())
            yield "cold: from the start of a process, with imports and compiling; restart: with what that left on disk"
            yield f"published, on another machine: {told}\n"
    yield widths([each for each in comparisons if each.case.name.startswith("width")])


def in_full(comparison: Comparison) -> Table:
    golden = comparison.case.name == GOLDEN
    table = Table(title=f"{comparison.case.title}, {comparison.dtype}", title_justify="left")
    for heading in (
        "backend",
        "× NumPy",
        unit(comparison),
        "spread",
        *(("cold", "restart") if golden else ("first",)),
    ):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    table.add_column("goal reached")
    for outcome in comparison.outcomes:
        if outcome.problem:
            table.add_row(outcome.name, f"[bold red]{outcome.problem.partition(':')[0]}[/]")
            continue
        table.add_row(
            outcome.name,
            f"{times(comparison.ratio(outcome))}",
            speed(comparison, outcome),
            f"{outcome.spread:.0%}" if len(outcome.seconds) > 1 else "–",
            *starts(comparison, outcome),
            judgement(comparison, outcome),
        )
    return table


def starts(comparison: Comparison, outcome: Outcome) -> list[str]:
    """First runs: cold and restarted for the golden job. A dash where they were of a part of it, or not done."""
    golden = comparison.case.name == GOLDEN
    whole = outcome.case.steps == comparison.case.steps
    again = duration(outcome.first) if whole else "–"
    if not golden:
        return [again]
    return [
        duration(outcome.cold) if whole else "–",
        again if outcome.first != outcome.cold else "–",
    ]


def judgement(comparison: Comparison, outcome: Outcome) -> str:
    """Whether the goal of a backend, or of several of which it is the best, has been reached."""
    for goal, best, ratio in comparison.goals():
        if best is outcome:
            mark = "[green]yes[/]" if ratio >= goal.ratio else "[red]no[/]"
            best_of = "best " if len(goal.backends) > 1 else ""
            beside = "" if goal.reference == REFERENCE else f" {goal.reference}: {times(ratio)}"
            return f"{mark}: {best_of}≥ {goal.ratio:g}×{beside}"
    return ""


def widths(comparisons: Sequence[Comparison]) -> Table:
    rows = comparisons[0].case.rows
    table = Table(
        title=f"widths, {rows:,} rows, full batch, {comparisons[0].dtype}: speed × NumPy's",
        title_justify="left",
    )
    table.add_column("features")
    for comparison in comparisons:
        table.add_column(str(comparison.case.features), justify="right")
    for name, device in dict.fromkeys(
        (o.backend, o.device) for c in comparisons for o in c.outcomes
    ):
        found = [comparison.of(name, device) for comparison in comparisons]
        cells = [
            cell(comparison, outcome)
            for comparison, outcome in zip(comparisons, found, strict=True)
        ]
        label = next(o.name for o in found if o)
        table.add_row("numpy, steps/s" if label == REFERENCE else label, *cells)
    return table


def cell(comparison: Comparison, outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    if outcome.problem:
        return f"[bold red]{outcome.problem.partition(':')[0]}[/]"
    if outcome.name == REFERENCE:
        return speed(comparison, outcome)
    return times(comparison.ratio(outcome))


NAMES = {
    REFERENCE: "NumPy",
    "python": "pure Python",
    "numba": "Numba",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    EXACT: "`--exact`",
}


def markdown(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """All cases for a page, as multiples of NumPy's speed; what misses its goal in italics."""
    found = dict.fromkeys(o.name for c in comparisons for o in c.outcomes if o.backend != BARE)
    yield f"| case | {' | '.join(NAMES.get(name, name) for name in found)} |"
    yield "|---" * (len(found) + 1) + "|"
    for comparison in comparisons:
        missed = {best.name for goal, best, ratio in comparison.goals() if ratio < goal.ratio}
        by_name = {outcome.name: outcome for outcome in comparison.outcomes}
        told = [_plain(comparison, by_name.get(name)) for name in found]
        told = [f"*{t}*" if n in missed else t for n, t in zip(found, told, strict=True)]
        yield f"| {comparison.case.title} | {' | '.join(told)} |"


def _plain(comparison: Comparison, outcome: Outcome | None) -> str:
    if outcome is None or outcome.problem:
        return outcome.problem.partition(":")[0] if outcome else ""
    if outcome.name != REFERENCE:
        return times(comparison.ratio(outcome))
    golden = comparison.case.name == GOLDEN
    return speed(comparison, outcome) + ("" if golden else f" {unit(comparison)}")


def unit(comparison: Comparison) -> str:
    """Of ``speed``: the golden job is known for its time."""
    if comparison.case.name == GOLDEN:
        return "best"
    return "steps/s" if comparison.case.passes > 1 else "records/s"


def speed(comparison: Comparison, outcome: Outcome) -> str:
    """The best warm run."""
    if comparison.case.name == GOLDEN:
        return duration(comparison.case.records / outcome.rate)
    return short(outcome.rate / (outcome.case.batch if comparison.case.passes > 1 else 1))
