"""Class weights: given ones, and balanced ones that know only what was before."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from gradstream.errors import ConfigError
from trainers.class_weights import ClassWeights
from trainers.models import Floats


def classes(n: int) -> Floats:
    return (np.random.default_rng(3).random(n) < 0.03).astype(np.float64)


def test_given_weights_are_those_of_the_classes() -> None:
    weights, _ = ClassWeights((0.5, 20.0)).of(np.array([0.0, 1.0, 1.0, 0.0, 0.0]), 2)
    np.testing.assert_array_equal(weights, [0.5, 20, 20, 0.5, 0.5])


def test_balanced_weights_know_only_what_was_before_the_batch() -> None:
    weights, counts = ClassWeights("balanced").of(np.array([0.0, 0, 0, 1, 1, 0, 1]), 3)
    before_second = [(3 + 2) / (2 * (3 + 1)), (3 + 2) / (2 * (0 + 1))]
    before_third = [(6 + 2) / (2 * (4 + 1)), (6 + 2) / (2 * (2 + 1))]
    zero, one = before_second
    np.testing.assert_array_equal(weights, [1, 1, 1, one, one, zero, before_third[1]])
    np.testing.assert_array_equal(counts, [4, 3])


def test_balanced_weights_tend_to_scikit_learns() -> None:
    y = classes(200_000)
    balanced = ClassWeights("balanced")
    _, after = balanced.of(y, 256)
    balanced.adopt(after)
    found, _ = balanced.of(np.array([0.0, 1.0]), 2)
    wanted = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=y)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_how_batches_are_grouped_into_calls_changes_no_bit() -> None:
    y = classes(640 + 9)
    whole, counts = ClassWeights("balanced").of(y, 64)
    balanced, parts = ClassWeights("balanced"), []
    for first, last in [(0, 64), (64, 128), (128, 320), (320, 640), (640, 649)]:
        part, after = balanced.of(y[first:last], 64)
        balanced.adopt(after)
        parts.append(part)
        resumed = ClassWeights("balanced")
        resumed.load(balanced.export())
        balanced = resumed
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert balanced.export()["class_weights/counts"].tobytes() == counts.tobytes()
    assert counts.sum() == len(y)


def test_a_result_that_is_dropped_leaves_no_trace() -> None:
    balanced = ClassWeights("balanced")
    first, _ = balanced.of(classes(500), 50)
    again, _ = balanced.of(classes(500), 50)
    assert first.tobytes() == again.tobytes()
    assert not balanced.export()["class_weights/counts"].any()


def test_no_rows_have_no_weights() -> None:
    weights, counts = ClassWeights("balanced").of(np.empty(0), 256)
    assert weights.shape == (0,)
    assert not counts.any()


def test_missing_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'class_weights/counts'"):
        ClassWeights("balanced").load({})
