"""Prequential metrics against scikit-learn's over the same predictions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss, r2_score, roc_auc_score

from gradstream.errors import ConfigError
from trainers import models
from trainers.backends.on_numpy import NumpyBackend
from trainers.descent import Descent
from trainers.metrics import HISTOGRAM, Prequential
from trainers.models import Floats

CUTS = [(0, 64), (64, 128), (128, 320), (320, 960), (960, 1000)]  # of 1,000 rows, in batches of 64


def labels_and_probabilities(n: int, share: float, spread: float) -> tuple[Floats, Floats]:
    """Classes, and probabilities that tell them apart as well as ``spread`` allows."""
    random = np.random.default_rng(11)
    y = (random.random(n) < share).astype(np.float64)
    odds = spread * (random.normal(size=n) + 2 * y) - 3
    return y, 1 / (1 + np.exp(-odds))


def of_scores(model: str, y: Floats, scores: Floats, weights: Floats | None = None) -> Prequential:
    metrics = Prequential(models.get(model, 3), labelled=True)
    metrics.update(np.empty(0), y, 64, scores, weights)
    return metrics


def test_regression_is_scored_by_predictions_made_before_training() -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(1000, 3))
    y = features @ [1.0, -2.0, 0.5] + 1e6 + random.normal(size=1000)
    backend = NumpyBackend(models.linear(3), Descent(0.05))
    X = backend.model.design(features)
    state, guesses = backend.init(), []
    metrics = Prequential(backend.model)
    for start in range(0, 1000, 64):
        rows = slice(start, start + 64)
        guesses.append(backend.predict(state, X[rows]))
        state, losses, scores = backend.steps(state, X[rows], y[rows], 64)
        metrics.update(losses, y[rows], 64, scores)
    guess = np.concatenate(guesses)
    found = metrics.values()
    assert found.keys() == {"prequential/rmse", "prequential/r2"}
    assert found["prequential/rmse"] == pytest.approx(np.sqrt(np.mean((guess - y) ** 2)), rel=1e-12)
    assert found["prequential/r2"] == pytest.approx(r2_score(y, guess), rel=1e-9)


@pytest.mark.parametrize(("share", "spread"), [(0.5, 1.0), (0.5, 0.2), (0.02, 2.0), (0.3, 5.0)])
def test_classification_agrees_with_scikit_learn(share: float, spread: float) -> None:
    y, p = labels_and_probabilities(20_000, share, spread)
    found = of_scores("logistic", y, p).values()
    assert found.keys() == {f"prequential/{name}" for name in ("log_loss", "roc_auc", "pr_auc")}
    assert found["prequential/log_loss"] == pytest.approx(log_loss(y, p), rel=1e-12)
    assert found["prequential/roc_auc"] == pytest.approx(roc_auc_score(y, p), abs=5e-4)
    assert found["prequential/pr_auc"] == pytest.approx(average_precision_score(y, p), abs=2e-3)


def test_the_roc_auc_is_as_near_as_the_bins_promise() -> None:
    for spread in (0.01, 0.05, 0.3, 3.0):
        y, p = labels_and_probabilities(5000, 0.2, spread)
        metrics = of_scores("logistic", y, p)
        zeros, ones = metrics.export()["metrics/histogram"]
        bound = float(zeros @ ones) / 2 / (zeros.sum() * ones.sum())
        off = abs(metrics.values()["prequential/roc_auc"] - float(roc_auc_score(y, p)))
        assert off <= bound


def test_scores_apart_by_a_bin_are_never_confused() -> None:
    """Bins are in the order of the scores, and no wider than they say, from the smallest to the largest."""
    random = np.random.default_rng(4)
    low = 2.0 ** random.uniform(-31, 31, 500)
    for factor, wanted in ((1.032, 1.0), (1.0, 0.5), (0.968, 0.0)):
        for value in low:
            found = of_scores("autoencoder", np.array([0.0, 1.0]), value * np.array([1, factor]))
            assert found.values()["prequential/roc_auc"] == wanted


def test_ends_of_the_scale_are_counted() -> None:
    y = np.array([0.0, 1.0, 0.0, 1.0])
    found = of_scores("logistic", y, np.array([0.0, 1.0, 5e-324, 1 - 2**-53])).values()
    assert found["prequential/roc_auc"] == found["prequential/pr_auc"] == 1
    assert found["prequential/log_loss"] == pytest.approx(0, abs=1e-15)
    found = of_scores("logistic", y, np.array([1.0, 0.0, 1.0, 0.0])).values()
    assert found["prequential/roc_auc"] == 0
    assert found["prequential/log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_reconstruction_is_scored_on_rows_learned_from_and_ranked_on_all() -> None:
    random = np.random.default_rng(6)
    y = (random.random(10_000) < 0.01).astype(np.float64)
    errors = random.lognormal(size=10_000) * np.where(y == 1, 20, 1)
    found = of_scores("autoencoder", y, errors, 1 - y).values()
    assert found["prequential/rmse"] == pytest.approx(np.sqrt(errors[y == 0].mean()), rel=1e-12)
    assert found["prequential/roc_auc"] == pytest.approx(roc_auc_score(y, errors), abs=1e-4)
    assert found["prequential/pr_auc"] == pytest.approx(
        average_precision_score(y, errors), abs=0.01
    )


def test_without_labels_a_reconstruction_is_not_ranked() -> None:
    metrics = Prequential(models.get("autoencoder", 3))
    metrics.update(np.empty(0), np.full(2, np.nan), 64, np.array([1.0, 7.0]))
    assert metrics.values() == {"prequential/rmse": 2.0}
    assert HISTOGRAM.name not in metrics.export()


def test_what_is_not_defined_yet_is_left_out() -> None:
    linear, logistic = Prequential(models.linear(3)), Prequential(models.logistic(3))
    assert linear.values() == logistic.values() == {}
    linear.update(np.array([4.0]), np.full(64, 0.1), 64, None)
    assert linear.values() == {"prequential/rmse": 2.0}
    logistic.update(np.array([0.7]), np.zeros(5), 64, np.full(5, 0.5))
    assert logistic.values() == {"prequential/log_loss": pytest.approx(np.log(2))}


@pytest.mark.parametrize("model", list(models.MODELS))
def test_grouping_and_resuming_change_no_bit(model: str) -> None:
    y, p = labels_and_probabilities(1000, 0.3, 1.0)
    losses, scores = np.sin(np.arange(16)) ** 2, None if model == "linear" else p
    whole = Prequential(models.get(model, 3), labelled=True)
    whole.update(losses, y, 64, scores, p)
    parts = Prequential(models.get(model, 3), labelled=True)
    for first, last in CUTS:
        rows = slice(first, last)
        each = None if scores is None else scores[rows]
        parts.update(losses[first // 64 : -(-last // 64)], y[rows], 64, each, p[rows])
        resumed = Prequential(models.get(model, 3), labelled=True)
        resumed.load(parts.export())
        parts = resumed
    assert parts.values() == whole.values()
    for name, tensor in whole.export().items():
        assert tensor.dtype == np.float64
        assert parts.export()[name].tobytes() == tensor.tobytes()


def test_tensors_of_another_model_are_refused() -> None:
    linear = Prequential(models.linear(3))
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'metrics/histogram'.* is missing"):
        Prequential(models.logistic(3)).load(linear.export())


def test_linear_records_cost_little_to_score() -> None:
    """Against NumPy's steps alone, of which the whole of training a chunk is many times as much."""
    backend = NumpyBackend(models.linear(9), Descent(0.01))
    random = np.random.default_rng(1)
    X, y = random.normal(size=(256 * 100, 10)), random.normal(size=256 * 100)
    metrics, state = Prequential(backend.model), backend.init()
    best = [np.inf, np.inf]
    for _ in range(15):
        started = time.perf_counter()
        losses = backend.steps(state, X, y, 256).losses
        between = time.perf_counter()
        metrics.update(losses, y, 256, None)
        spent = between - started, time.perf_counter() - between
        best = [min(b, s) for b, s in zip(best, spent, strict=True)]
    assert best[1] < 0.1 * best[0], f"{best[1] / best[0]:.1%} of NumPy's steps"
