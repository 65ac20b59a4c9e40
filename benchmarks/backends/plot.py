"""The comparison of backends as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmarks.backends.cases import AUTOENCODER, BARE, EXACT, GOLDEN, MINI, PUBLISHED, REFERENCE
from benchmarks.backends.outcome import Comparison, Outcome
from benchmarks.style import INK, QUIET, STYLE, label_ends
from benchmarks.wording import duration, times
from gradstream.console import short

COLOURS = {
    "python": "#8d99a6",
    REFERENCE: INK,
    BARE: "#b8c4d0",
    "numba": "#00798c",
    EXACT: "#3d9a50",
    "jax": "#7a4fa3",
    "tensorflow": "#e07b00",
    "torch": "#d1495b",
}
SCALE = 0.1  # what is nowhere as fast as this share of NumPy is told in words, not drawn
PUBLISHED_AS = {"python": "pure Python", REFERENCE: "NumPy", "tensorflow": "TensorFlow 1"}


def draw(
    comparisons: Sequence[Comparison],
    machine: Mapping[str, object],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the picture as PNG, 1600 × 1050 pixels."""
    by_name = {each.case.name: each for each in comparisons}
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
        figure = Figure(figsize=(16, 10.5), dpi=100, layout=layout)
        figure.suptitle("One job, one answer, many backends", fontsize=20, color=INK, weight="bold")
        figure.supxlabel(caption(machine, comparisons[0].dtype), fontsize=10, color=QUIET)
        axes = figure.subplot_mosaic(
            [["widths", "golden"], ["widths", "mini"], ["widths", "auto"]],
            width_ratios=[1.05, 1],
            height_ratios=[
                max(1, len(by_name[n].outcomes)) + 2 for n in (GOLDEN, MINI, AUTOENCODER)
            ],
        )
        draw_widths(axes["widths"], [each for each in comparisons if "width" in each.case.name])
        draw_golden(axes["golden"], by_name[GOLDEN])
        draw_rates(axes["mini"], by_name[MINI])
        draw_rates(axes["auto"], by_name[AUTOENCODER])
        figure.savefig(path, metadata=dict(metadata or {}))


def caption(machine: Mapping[str, object], dtype: str) -> str:
    versions = machine["versions"]
    assert isinstance(versions, dict)
    told = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "jaxlib")
    return (
        f"{machine['processor']}, {machine['cores']} cores, {dtype}, best of the repeats · {told}"
    )


def colour(outcome: Outcome) -> str:
    return COLOURS.get(outcome.backend, QUIET)


def draw_widths(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """Speed relative to NumPy over the number of features, a line for each backend with its name at the end."""
    ends, far_below = {}, []
    for key in dict.fromkeys((o.backend, o.device) for c in comparisons for o in c.outcomes):
        found = [(c, o) for c in comparisons if (o := c.of(*key)) and o.seconds]
        if not found:
            continue
        x = [c.case.features for c, _ in found]
        y = [c.ratio(o) for c, o in found]
        last = found[-1][1]
        if max(y) < SCALE:
            far_below.append(f"{last.name}: {times(max(y))} to {times(min(y))}, far below")
            continue
        style = "o-" if last.device == "cpu" else "s--"
        width = 3 if last.backend == REFERENCE else 2.4
        axes.plot(x, y, style, ms=7, lw=width, color=colour(last), clip_on=False)
        ends[last.name] = (x[-1], y[-1], colour(last))
    widths = [each.case.features for each in comparisons]
    axes.set(
        xscale="log",
        yscale="log",
        title="Full batch of 10,000 rows: speed as a multiple of NumPy's",
        xlabel="features",
    )
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", alpha=0.25)
    axes.text(0.02, 0.02, "\n".join(far_below), transform=axes.transAxes, color=QUIET)
    draw_wish(axes, comparisons[-1])
    named = {(n if n == REFERENCE else f"{n} {times(end[1])}"): end for n, end in ends.items()}
    label_ends(axes, named)


def draw_wish(axes: Axes, comparison: Comparison) -> None:
    """The goal of the widest job, as a short line over its place."""
    for goal, _, _ in comparison.goals():
        x = comparison.case.features
        axes.plot([x * 0.86, x * 1.12], [goal.ratio] * 2, color=INK, lw=1.4, ls=":")
        axes.text(
            x * 0.84,
            goal.ratio,
            f"goal {goal.ratio:g}×",
            ha="right",
            va="center",
            color=QUIET,
            fontsize=10,
        )


def draw_golden(axes: Axes, comparison: Comparison) -> None:
    """Seconds, warm over cold, with the published figures."""
    outcomes = ranked(comparison)
    if not outcomes:
        return
    whole = comparison.case.records
    warm = [whole / o.rate for o in outcomes]
    # A part of the job says nothing about the start of the whole.
    whole_too = [o.case.steps == comparison.case.steps for o in outcomes]
    cold, again = (
        [
            first if complete else w
            for first, complete, w in zip(firsts, whole_too, warm, strict=True)
        ]
        for firsts in ([o.cold for o in outcomes], [o.first for o in outcomes])
    )
    floor = min(warm) / 3
    shades = [colour(o) for o in outcomes]
    rows = range(len(outcomes))
    for seconds, height, alpha in ((cold, 0.3, 0.2), (again, 0.3, 0.35), (warm, 0.68, 1.0)):
        lengths = np.array(seconds) - floor
        axes.barh(rows, lengths, left=floor, height=height, color=shades, alpha=alpha, lw=0)
    wanted = {row: whole / rate for row, rate in goals(comparison, outcomes).items()}
    for row, outcome, w, c in zip(rows, outcomes, warm, cold, strict=True):
        published = PUBLISHED.get(PUBLISHED_AS.get(outcome.backend, ""), 0.0)
        if published:
            axes.plot(published, row, "o", ms=9, mfc="white", mec=INK, mew=1.6, zorder=5)
        if row in wanted:
            mark(axes, row, wanted[row])
        text = f"{duration(w)} · {times(comparison.ratio(outcome))}"
        end = max(w, c, published, wanted.get(row, 0)) * 1.35
        axes.text(end, row, text, va="center", fontsize=11, color=INK)
    axes.set(
        xscale="log",
        xlim=(floor, max(max(cold), *PUBLISHED.values()) * 30),
        title="Golden job: 10,000 rows, 10,000 epochs",
    )
    axes.set_xlabel(
        "warm, restarted, cold (compiling all) · ○ published, another machine · | goal",
        fontsize=10,
        color=QUIET,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    name_rows(axes, outcomes)


def draw_rates(axes: Axes, comparison: Comparison) -> None:
    """Records a second, with a tick where the goal is."""
    outcomes = ranked(comparison)
    if not outcomes:
        return
    rates = [o.rate for o in outcomes]
    rows = range(len(outcomes))
    axes.barh(rows, rates, height=0.68, color=[colour(o) for o in outcomes])
    wanted = goals(comparison, outcomes)
    for row, outcome in enumerate(outcomes):
        text = f"{short(outcome.rate)}/s · {times(comparison.ratio(outcome))}"
        end = max(outcome.rate, wanted.get(row, 0)) + max(rates) * 0.015
        axes.text(end, row, text, va="center", fontsize=11, color=INK)
        if row in wanted:
            mark(axes, row, wanted[row])
    axes.set(
        title=comparison.case.title.capitalize(), xlim=(0, max(*rates, *wanted.values()) * 1.35)
    )
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel("records a second", fontsize=10, color=QUIET)
    name_rows(axes, outcomes)


def goals(comparison: Comparison, outcomes: Sequence[Outcome]) -> dict[int, float]:
    """The rate that is wanted, for each row that has a goal."""
    found = {}
    for goal, best, _ in comparison.goals():
        reference = comparison.of(goal.reference)
        assert reference is not None
        found[outcomes.index(best)] = goal.ratio * reference.rate
    return found


def mark(axes: Axes, row: int, place: float) -> None:
    """A goal, as a tick across its row."""
    for shade, width in (("white", 4), (INK, 1.8)):
        axes.plot([place] * 2, [row - 0.42, row + 0.42], color=shade, lw=width, zorder=4)


def ranked(comparison: Comparison) -> list[Outcome]:
    """Those with figures, slowest first."""
    return sorted((o for o in comparison.outcomes if o.seconds), key=lambda o: o.rate)


def name_rows(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    axes.set_yticks(range(len(outcomes)), [o.name for o in outcomes])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
