"""How topic → trained scales, and what memory it takes, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.figure import Figure
from benchmarks.style import GOAL, INK, OURS, QUIET, STYLE, THEIRS, label_ends
from gradstream.console import short

# Of each line of points: what is said above it, and at its axis.
RATES = {
    "features": ("More features, batches of 256", "features"),
    "batch size": ("Larger batches, 10 features", "records a batch"),
    "partitions": ("More partitions, 10 features, batches of 256", "partitions"),
}
MEMORY = "records"


def draw(
    lines: Mapping[str, Sequence[Figure]], caption: str, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write the picture as PNG, 1600 × 1050 pixels.

    Args:
        lines: points by series: those of ``RATES`` and ``MEMORY``; what is missing stays empty.
        metadata: kept in the file.
    """
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
        canvas = Canvas(figsize=(16, 10.5), dpi=100, layout=layout)
        canvas.suptitle("Topic → trained, exactly once", fontsize=20, color=INK, weight="bold")
        canvas.supxlabel(caption, fontsize=10, color=QUIET)
        *rates, memory = canvas.subplots(2, 2).flat
        for axes, (series, (title, below)) in zip(rates, RATES.items(), strict=True):
            axes.set_title(title)
            axes.set_xlabel(below)
            if points := lines.get(series):
                draw_rates(axes, points)
        memory.set_title("Resident memory of one trainer")
        if points := lines.get(MEMORY):
            draw_memory(memory, points)
        canvas.savefig(path, metadata=dict(metadata))


def draw_rates(axes: Axes, points: Sequence[Figure]) -> None:
    """Records a second over what grows, beside the client that only reads."""
    x = [point.at for point in points]
    ours, theirs = [p.best for p in points], [p.best_reference for p in points]
    axes.plot(x, theirs, "o-", ms=6, lw=2.2, color=THEIRS, clip_on=False)
    axes.plot(x, ours, "o-", ms=7, lw=2.6, color=OURS, clip_on=False)
    axes.set(xscale="log", yscale="log", ylabel="records a second")
    axes.set_xticks(x, [f"{each:,.0f}" for each in x])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", alpha=0.25)
    ends = {"gradstream": (x[-1], ours[-1], OURS), points[0].reference: (x[-1], theirs[-1], QUIET)}
    label_ends(axes, ends)


def draw_memory(axes: Axes, points: Sequence[Figure]) -> None:
    """MiB over records, from zero, so that flat looks flat; a band 5 % wide from where it is to stay flat."""
    x, y = [point.at / 1e6 for point in points], [point.best for point in points]
    settled = next(size for at, size in zip(x, y, strict=True) if at >= x[-1] / 10)
    axes.fill_between(
        [x[-1] / 10, x[-1]], settled / 1.05, settled * 1.05, color=GOAL, alpha=0.12, lw=0
    )
    axes.plot(x, y, "-", lw=2.6, color=OURS)
    axes.annotate("within 5 %", (x[-1], settled * 1.06), ha="right", va="bottom", color=GOAL)
    axes.set(
        xlim=(0, x[-1]), ylim=(0, max(y) * 1.25), xlabel="million records trained", ylabel="MiB"
    )
    axes.grid(axis="y", alpha=0.25)
