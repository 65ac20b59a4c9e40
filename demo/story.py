"""What one run of the demo found, as values that the table and the picture are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(slots=True)
class Regression:
    """The golden job: full-batch descent on 10,000 records that came through Kafka, KSQL and Avro.

    Attributes:
        epochs, losses: shape (k,), mean squared error before the update of that epoch.
        x, y: shape (n,), the training records.
        learned, exact, true: intercept and slope: published, by least squares, and those of the generator.
    """

    epochs: Vector
    losses: Vector
    x: Vector
    y: Vector
    learned: Vector
    exact: Vector
    true: Vector


@dataclass(slots=True)
class Fraud:
    """An autoencoder on the credit-card stream, which learned from normal payments alone.

    Attributes:
        scores: shape (n,), mean squared error of each training record's reconstruction by the newest weights.
        frauds: shape (n,), which of them are frauds.
        roc_auc, pr_auc: how well the score ranked each record before it was trained on for the first time.
        losses: shape (k,), training loss of each published record.
        records: shape (k,), records trained when it was published.
    """

    scores: Vector
    frauds: npt.NDArray[np.bool_]
    roc_auc: float
    pr_auc: float
    losses: Vector
    records: Vector


@dataclass(slots=True)
class Story:
    """Everything that the demo shows at its end.

    Attributes:
        before, after: a few rows of the source topic as text, and the same rows of the training topic.
        stages: seconds by stage, in the order in which they ran.
        rates: records per second by stage.
    """

    regression: Regression
    fraud: Fraud
    before: list[list[str]]
    after: list[list[str]]
    stages: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
