"""The comparison as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.peers.feeds import FRAUD
from benchmarks.peers.outcome import Outcome, fastest
from benchmarks.style import INK, OURS, QUIET, STYLE, THEIRS
from benchmarks.wording import times
from gradstream.console import short

COLOURS = {"limit": THEIRS, "ours": OURS, "variant": "#6fb7c1", "peer": "#e07b00"}
LEGEND = {
    "limit": "only reads",
    "ours": "gradstream, weights and offsets in one transaction each 100 ms",
    "variant": "the same with another part",
    "peer": "peers",
}


def draw(
    outcomes: Sequence[Outcome],
    machine: Mapping[str, object],
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    """Write the picture as PNG, 1600 pixels wide, with metadata inside."""
    good = [each for each in outcomes if each.good]
    linear = [each for each in good if each.peer.layout != FRAUD]
    fraud = [each for each in good if each.peer.layout == FRAUD]
    parts = [(name, found) for name, found in (("linear", linear), ("fraud", fraud)) if found]
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
        height = 2.6 + 0.36 * len(good)
        figure = Figure(figsize=(16, height), dpi=100, layout=layout)
        figure.suptitle(
            "From a topic to a trained model, on one broker", fontsize=20, color=INK, weight="bold"
        )
        figure.supxlabel(caption(machine), fontsize=10, color=QUIET)
        axes = figure.subplots(
            len(parts), squeeze=False, height_ratios=[len(found) + 1.5 for _, found in parts]
        )[:, 0]
        titles = {
            "linear": "Linear regression, 10 features: records a second",
            "fraud": "Payments, 31 nullable columns in Avro: records a second",
        }
        for each, (name, found) in zip(axes, parts, strict=True):
            draw_rates(each, found)
            each.set_title(titles[name])
        legend(axes[0], {each.peer.kind for each in linear})
        figure.savefig(path, metadata=dict(metadata))


def caption(machine: Mapping[str, object]) -> str:
    return (
        f"{machine['processor']}, {machine['cores']} cores shared with the broker, Python {machine['python']}, best of "
        f"the repeats, thin line: slowest · ✓ weights and offsets committed together · {str(machine['time'])[:10]}"
    )


def draw_rates(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """A bar for each, fastest on top, with the slowest repeat as a thin line."""
    rows = sorted(outcomes, key=lambda each: each.best)
    ours = fastest(rows, [each.peer.name for each in rows if each.peer.kind == "ours"])
    most = rows[-1].best
    for place, each in enumerate(rows):
        axes.barh(place, each.best, height=0.7, color=COLOURS[each.peer.kind])
        axes.plot([min(each.rates), each.best], [place] * 2, color=INK, lw=1.2, alpha=0.6)
        text = f"{short(each.best)}"
        if ours and each is not ours:
            ratio = ours.best / each.best
            text += f" · gradstream {times(ratio)}"
        weight = "bold" if each.peer.kind == "ours" else "normal"
        axes.text(
            each.best + most * 0.008,
            place,
            text,
            va="center",
            fontsize=11,
            color=INK,
            fontweight=weight,
        )
    axes.set(xlim=(0, most * 1.24), ylim=(-0.6, len(rows) - 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_yticks(range(len(rows)), [label(each) for each in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def label(outcome: Outcome) -> str:
    """The name, with a tick where weights and offsets are committed together."""
    return f"{outcome.peer.name} ✓" if outcome.peer.tied else outcome.peer.name


def legend(axes: Axes, kinds: set[str]) -> None:
    patches = [Patch(color=COLOURS[kind], label=LEGEND[kind]) for kind in LEGEND if kind in kinds]
    axes.legend(handles=patches, loc="lower right", frameon=False, fontsize=11)
