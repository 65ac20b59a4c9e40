"""How long live records take, as a picture: the share of them that were there within so many milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.figure import Figure
from benchmarks.journeys import FIRST, LIMITS, SECOND, WHOLE
from benchmarks.style import GOAL, INK, OURS, QUIET, STYLE, THEIRS

SHADES = {WHOLE: OURS, FIRST: THEIRS, SECOND: QUIET}
TICKS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)  # ms


def draw(
    lines: Mapping[str, Sequence[Figure]], caption: str, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write the picture as PNG, 1600 × 700 pixels.

    Args:
        lines: points by series, those of ``SHADES``; ``at`` is the share in per cent. What is missing stays empty.
        metadata: kept in the file.
    """
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
        canvas = Canvas(figsize=(16, 7), dpi=100, layout=layout)
        canvas.suptitle(
            "10,000 live records a second: producer → KSQL → trainer → weights, exactly once",
            fontsize=20,
            color=INK,
            weight="bold",
        )
        canvas.supxlabel(caption, fontsize=10, color=QUIET)
        axes = canvas.subplots()
        for name, shade in SHADES.items():
            if points := lines.get(name):
                draw_line(axes, name, points, shade)
        for share, most in LIMITS.items():
            axes.plot([most], [share], "v", ms=10, color=GOAL, clip_on=False)
            told = f"goal: {share} % within {most:g} ms"
            axes.annotate(told, (most, share), (most * 1.04, share), color=GOAL, va="center")
        axes.set(xscale="log", ylim=(0, 100), xlabel="milliseconds", ylabel="per cent of records")
        axes.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(alpha=0.25)
        if WHOLE in lines:
            axes.legend(loc="upper left", frameon=False)
        canvas.savefig(path, metadata=dict(metadata))


def draw_line(axes: Axes, name: str, points: Sequence[Figure], shade: str) -> None:
    """One part of the way, its median in the legend."""
    milliseconds, shares = [point.best for point in points], [point.at for point in points]
    median = next(point.best for point in points if point.at == 50)
    wide = 3.0 if shade == OURS else 2.0
    axes.plot(milliseconds, shares, lw=wide, color=shade, label=f"{name}: median {median:.0f} ms")
