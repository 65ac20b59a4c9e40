"""The comparison as tables, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from rich.table import Table

from benchmarks.figure import Figure, spread
from benchmarks.peers.catalogue import NONE
from benchmarks.peers.feeds import FRAUD
from benchmarks.peers.outcome import Outcome, fastest
from benchmarks.wording import times
from gradstream.console import short

COLUMNS = (
    "who",
    "records",
    "best",
    "median",
    "spread",
    "gradstream",
    "CPU µs",
    "error",
    "offsets",
    "weights",
)


def cells(outcome: Outcome, outcomes: Sequence[Outcome]) -> list[str]:
    """One row; ``gradstream`` is how many times as fast gradstream is on the same records, best against best."""
    peer = outcome.peer
    if not outcome.rates or outcome.problem:
        why = outcome.problem.partition(":")[0] or "left out"
        return [peer.name, peer.layout, why, *[""] * (len(COLUMNS) - 5), peer.offsets, peer.weights]
    ours = fastest(outcomes, [o.peer.name for o in outcomes if _ours_beside(o, outcome)])
    return [
        peer.name,
        peer.layout,
        f"{short(outcome.best)}/s",
        f"{short(outcome.median)}/s",
        spread(outcome.rates),
        times(ours.best / outcome.best) if ours else "",
        f"{median(outcome.cpu_us):.2f}",
        f"{max(outcome.errors):.0e}" if outcome.errors else "",
        peer.offsets,
        peer.weights,
    ]


def _ours_beside(ours: Outcome, other: Outcome) -> bool:
    same = (ours.peer.layout == FRAUD) == (other.peer.layout == FRAUD)
    return ours.peer.kind == "ours" and same


def terminal(outcomes: Sequence[Outcome]) -> Table:
    """What fits into a terminal; the promises as one word."""
    shown = Table(title="topic → trained, batches of 256", title_justify="left")
    right = ("best", "spread", "gradstream", "CPU µs")
    for column in ("who", *right, "commits"):
        shown.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right
        )
    for outcome in ranked(outcomes):
        row = dict(zip(COLUMNS, cells(outcome, outcomes), strict=True))
        if outcome.problem:
            row["best"] = f"[bold red]{row['best']}[/]"
        told = [row[column] for column in ("who", *right)]
        shown.add_row(*told, commits(outcome), style="bold" if outcome.peer.kind == "ours" else "")
    return shown


def commits(outcome: Outcome) -> str:
    """What is kept, in a word or two."""
    peer = outcome.peer
    if peer.tied:
        return "both, together"
    kept = [("offsets", peer.offsets), ("weights", peer.weights)]
    return ", ".join(name for name, promise in kept if promise != NONE) or NONE


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Fastest first; what has no figures last, what was not asked for not at all."""
    return sorted(
        (o for o in outcomes if o.rates or o.problem or o.skipped),
        key=lambda o: -o.best if o.rates else 0,
    )


def goals(figures: Sequence[Figure]) -> Table:
    shown = Table(title="gradstream against", title_justify="left")
    for column in ("", "best", "median", "goal"):
        shown.add_column(column, justify="right" if column else "left", no_wrap=bool(column))
    for each in figures:
        shade = "green" if each.reached else "red"
        ratio = f"[{shade}]{times(each.ratio)}[/]"
        shown.add_row(each.reference, ratio, times(each.median_ratio), f"≥ {each.goal:g}×")
    return shown


def markdown(outcomes: Sequence[Outcome], figures: Sequence[Figure]) -> Iterator[str]:
    """Both for a page."""
    yield "| gradstream against | ratio of the best | of the medians | goal |"
    yield "|---|---|---|---|"
    for each in figures:
        goal = f"≥ {each.goal:g}×" if each.reached else f"*≥ {each.goal:g}×: missed*"
        yield f"| {each.reference} | {times(each.ratio)} | {times(each.median_ratio)} | {goal} |"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for outcome in ranked(outcomes):
        row = cells(outcome, outcomes)
        if outcome.peer.kind == "ours":
            row[0] = f"**{row[0]}**"
        yield f"| {' | '.join(row)} |"
    told = [f"{o.peer.name}: {o.problem or o.skipped}" for o in outcomes if o.problem or o.skipped]
    if told:
        yield ""
        yield f"Left out: {'; '.join(told)}."
