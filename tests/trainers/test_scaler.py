"""Standardisation learns from what is past only, as exactly as NumPy over the whole of it."""

from __future__ import annotations

import numpy as np
import pytest

from gradstream.errors import ConfigError
from trainers.models import Floats
from trainers.scaler import Scaler


def rows(n: int, features: int = 4) -> Floats:
    """Columns of very different size: seconds up to 172,792, an offset of 10⁶, small ones, and a constant."""
    random = np.random.default_rng(5)
    X = random.normal(size=(n, features))
    X[:, 0] = np.linspace(0, 172_792, n)
    X[:, 1] += 1e6
    X[:, 2] *= 1e-9
    X[:, 3] = 0.1
    return X


def design(features: Floats, bias: bool) -> Floats:
    return np.column_stack([np.ones(len(features)), features]) if bias else features


def trained(X: Floats, bias: bool, batch_size: int) -> tuple[Scaler, Floats]:
    scaler = Scaler(X.shape[1], bias)
    scaled, after = scaler.scaled(X, batch_size)
    scaler.adopt(after)
    return scaler, scaled


@pytest.mark.parametrize("batch_size", [1, 2, 7, 256, 5000])
@pytest.mark.parametrize("bias", [False, True])
def test_each_batch_is_scaled_by_what_came_before_it(bias: bool, batch_size: int) -> None:
    features = rows(1000)
    _, scaled = trained(design(features, bias), bias, batch_size)
    wanted = np.zeros_like(features)
    for start in range(batch_size, 1000, batch_size):
        before = features[:start]
        deviation = before.std(axis=0)
        deviation[3] = np.inf  # NumPy's rounding gives the constant a spread
        if start == 1:
            deviation[:] = np.inf
        end = start + batch_size
        wanted[start:end] = (features[start:end] - before.mean(axis=0)) / deviation
    np.testing.assert_allclose(scaled[:, int(bias) :], wanted, rtol=1e-8, atol=1e-8)
    assert not scaled[:, -1].any()
    if bias:
        assert (scaled[:, 0] == 1).all()


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-13), (1e6, 1e-11), (-1e9, 1e-8)])
def test_statistics_are_numpys_also_far_from_zero(offset: float, tolerance: float) -> None:
    X = np.random.default_rng(1).normal(offset, 1, (20_000, 3))
    scaler, _ = trained(X, False, 256)
    exact = X.astype(np.longdouble)
    found = scaler.export()
    assert found["scaler/count"] == 20_000
    mean = exact.mean(axis=0).astype(float)
    np.testing.assert_allclose(found["scaler/mean"], mean, rtol=1e-15, atol=1e-15)
    deviation = np.sqrt(found["scaler/m2"] / 20_000)
    np.testing.assert_allclose(deviation, exact.std(axis=0).astype(float), rtol=tolerance)


def test_the_first_batch_is_zero_and_a_constant_stays_zero() -> None:
    _, scaled = trained(design(rows(512), True), True, 256)
    assert not scaled[:256, 1:].any()
    assert scaled[256:, 1:4].any(axis=0).all()
    assert not scaled[:, 4].any()


def test_how_batches_are_grouped_into_calls_changes_no_bit() -> None:
    X = design(rows(640 + 9), True)
    whole, scaled = trained(X, True, 64)
    scaler, parts = Scaler(5, True), []
    for first, last in [(0, 64), (64, 128), (128, 320), (320, 640), (640, 649)]:
        part, after = scaler.scaled(X[first:last], 64)
        scaler.adopt(after)
        parts.append(part)
    assert np.concatenate(parts).tobytes() == scaled.tobytes()
    for name, tensor in whole.export().items():
        assert scaler.export()[name].tobytes() == tensor.tobytes()


def test_a_result_that_is_dropped_leaves_no_trace() -> None:
    X = rows(300)
    scaler, _ = trained(X, False, 64)
    before = {name: tensor.tobytes() for name, tensor in scaler.export().items()}
    raw = X.tobytes()
    first, _ = scaler.scaled(X, 64)
    again, _ = scaler.scaled(X, 64)
    assert first.tobytes() == again.tobytes()
    assert {name: tensor.tobytes() for name, tensor in scaler.export().items()} == before
    assert X.tobytes() == raw


def test_export_and_load_go_on_to_the_same_bits() -> None:
    X = rows(600)
    whole, scaled = trained(X, False, 50)
    half, _ = trained(X[:300], False, 50)
    resumed = Scaler(4, False)
    resumed.load(half.export())
    rest, after = resumed.scaled(X[300:], 50)
    assert rest.tobytes() == scaled[300:].tobytes()
    resumed.adopt(after)
    for name, tensor in whole.export().items():
        assert tensor.dtype == np.float64
        assert resumed.export()[name].tobytes() == tensor.tobytes()


def test_frozen_scales_without_learning_also_in_place_and_read_only() -> None:
    X = design(rows(500), True)
    scaler, _ = trained(X, True, 100)
    learned, _ = scaler.scaled(X[:100], 100)
    found = scaler.frozen(X)
    assert found[:100].tobytes() == learned.tobytes()
    np.testing.assert_allclose(found[:, 1:4].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found[:, 1:4].std(axis=0), 1, rtol=1e-9)
    X.flags.writeable = False
    assert scaler.frozen(X).tobytes() == found.tobytes()
    copy = X.copy()
    assert scaler.frozen(copy, copy) is copy
    assert copy.tobytes() == found.tobytes()
    assert scaler.export()["scaler/count"] == 500


def test_unscaled_weights_give_the_same_answers_on_raw_features() -> None:
    X = design(rows(400), True)
    scaler, _ = trained(X, True, 100)
    w = np.array([0.5, -1.0, 2.0, 3.0, 4.0])
    raw = scaler.unscaled(w)
    assert raw[4] == 0  # a constant explains nothing
    np.testing.assert_allclose(X @ raw, scaler.frozen(X) @ w, rtol=1e-8, atol=1e-8)
    plain, _ = trained(X[:, 1:], False, 100)
    np.testing.assert_array_equal(plain.unscaled(w[1:]), raw[1:])


def test_statistics_of_other_features_are_refused() -> None:
    scaler, _ = trained(rows(10), False, 5)
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'scaler/mean'"):
        Scaler(6, False).load(scaler.export())
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'scaler/count'.* is missing"):
        Scaler(4, False).load({})
