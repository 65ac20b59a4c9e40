"""The demo's picture: loss, fit, rows before and after the SQL, and what the autoencoder makes of frauds."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.story import Fraud, Regression, Story

INK = "#1b2a41"
LEARNED = "#d1495b"
EXACT = "#00798c"
POINTS = "#b8c4d0"


def draw(story: Story, path: Path) -> None:
    """Write the picture as PNG, 1600 × 1100 pixels."""
    with mpl.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(16, 11), dpi=100, layout="constrained")
        figure.suptitle(
            "gradstream: producer → Kafka → KSQL → trainer → weights topic",
            fontsize=17,
            color=INK,
            weight="bold",
        )
        loss, fit, rows, scores = figure.subplots(2, 2).flat
        draw_loss(loss, story.regression)
        draw_fit(fit, story.regression)
        draw_rows(rows, story)
        draw_scores(scores, story.fraud)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def draw_loss(axes: Axes, job: Regression) -> None:
    axes.loglog(job.epochs + 1, job.losses, color=LEARNED, lw=2.2, label="published loss")
    residual = job.y - job.exact[0] - job.exact[1] * job.x
    floor = float((residual**2).mean())
    axes.axhline(floor, color=EXACT, ls="--", lw=1.4, label=f"least squares: {floor:.5f}")
    axes.set(title="Loss of the regression stream", xlabel="epoch", ylabel="mean squared error")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)


def draw_fit(axes: Axes, job: Regression) -> None:
    step = max(1, len(job.x) // 2000)
    axes.plot(job.x[::step], job.y[::step], ".", ms=2.5, color=POINTS, label="training records")
    ends = job.x[[job.x.argmin(), job.x.argmax()]]
    for weights, colour, style, name in (
        (job.true, INK, ":", "true"),
        (job.exact, EXACT, "--", "least squares"),
        (job.learned, LEARNED, "-", "published"),
    ):
        label = f"{name}: {weights[0]:.5f} + {weights[1]:.5f}·x"
        axes.plot(ends, weights[0] + weights[1] * ends, style, color=colour, lw=2, label=label)
    axes.set(title="Fit after 10,000 full-batch epochs", xlabel="X1", ylabel="Y")
    axes.legend(frameon=False, loc="upper left")


def draw_rows(axes: Axes, story: Story) -> None:
    axes.set_axis_off()
    axes.set_title("What the SQL did: masked, filtered, converted")
    for top, heading, rows, colour in (
        (0.98, "source topic  (DELIMITED)", story.before, INK),
        (
            0.46,
            "training topic  (AVRO, SENSOR masked, rows without Y dropped)",
            story.after,
            EXACT,
        ),
    ):
        axes.text(
            0.0, top, heading, color=colour, weight="bold", va="top", transform=axes.transAxes
        )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        text = "\n".join(
            "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows
        )
        axes.text(0.0, top - 0.07, text, family="monospace", fontsize=12, color=INK, va="top", linespacing=1.6, transform=axes.transAxes)  # fmt: skip


def draw_scores(axes: Axes, job: Fraud) -> None:
    bins = np.geomspace(job.scores.min(), job.scores.max(), 60).tolist()
    for chosen, colour, name in ((~job.frauds, EXACT, "normal"), (job.frauds, LEARNED, "frauds")):
        scores = job.scores[chosen]
        share = np.full(len(scores), 100 / max(1, len(scores)))
        axes.hist(
            scores, bins, weights=share, color=colour, alpha=0.75, label=f"{len(scores):,} {name}"
        )
    axes.set_xscale("log")
    axes.set(
        title=f"Frauds found by an autoencoder that was shown none: ROC-AUC {job.roc_auc:.3f}",
        xlabel="reconstruction error of a payment, 30 standardised features",
        ylabel="% of its class",
    )
    axes.legend(frameon=False)
