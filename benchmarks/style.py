"""How pictures of figures look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

INK = "#1b2a41"
QUIET = "#6b7a8c"
OURS = "#00798c"
THEIRS = "#b8c4d0"
GOAL = "#d1495b"
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Texts at the right ends of lines on logarithmic axes, moved apart where they would cover each other.

    Args:
        ends: where each line ends, and its colour, by the text.
    """
    low, high = np.log(axes.get_ylim())
    gap = (high - low) * 0.05
    place = -np.inf
    for text, (x, y, shade) in sorted(ends.items(), key=lambda end: end[1][1]):
        place = max(place + gap, float(np.log(y)))
        axes.annotate(
            text,
            (x, y),
            (x * 1.16, float(np.exp(place))),
            color=shade,
            va="center",
            weight="bold",
            annotation_clip=False,
        )
