"""One contract, every backend: the same answers, state as a value, names imported on demand."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from gradstream.errors import ConfigError, UnavailableError, UsageError
from trainers import backends
from trainers.backends import Backend, Entry
from trainers.models import Floats, linear

NAMES = sorted(backends.BACKENDS)
GOLDEN = np.array([2.95985985, 2.03296496])


def golden_data() -> tuple[Floats, Floats]:
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    return x[:, np.newaxis], 3 + 2 * x + noise


def gaussian(rows: int, features: int) -> tuple[Floats, Floats]:
    random = np.random.default_rng(7)
    X = random.normal(size=(rows, features))
    return X, X @ np.arange(1.0, features + 1) + 0.5 + 0.1 * random.normal(size=rows)


def made(name: str, features: int, rate: float = 0.01) -> Backend:
    return backends.get(name)(linear(features), rate)


@pytest.mark.parametrize("name", NAMES)
def test_golden_descent(name: str) -> None:
    x, d = golden_data()
    backend = made(name, 1, 0.001)
    X = backend.model.design(x)
    state, losses = backend.steps(backend.init(), X, d, len(d), passes=10_000)
    np.testing.assert_allclose(backend.export(state)["w"], GOLDEN, rtol=0, atol=1e-8)
    assert losses.shape == (10_000,)
    assert np.all(np.diff(losses) < 0)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_pure_python_after_200_steps(name: str) -> None:
    features, target = gaussian(200 * 32 - 5, 10)  # the last batch is short
    ends = []
    for each in ("python", name):
        backend = made(each, 10)
        X = backend.model.design(features)
        state, losses = backend.steps(backend.init(), X, target, 32)
        assert len(losses) == 200
        ends.append((backend.export(state)["w"], losses))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-12)
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_matches_finite_differences(name: str) -> None:
    features, target = gaussian(50, 3)
    backend = made(name, 3, rate=1.0)
    X = backend.model.design(features)
    w = np.array([0.3, -1.0, 2.0, 0.1])
    state, loss = backend.step(backend.load({"w": w}), X, target)
    gradient = w - backend.export(state)["w"]

    def mean_square(at: Floats) -> float:
        return float(np.mean((X @ at - target) ** 2))

    h = 1e-6
    numeric = [(mean_square(w + h * e) - mean_square(w - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-7)
    assert loss == pytest.approx(mean_square(w), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_how_batches_are_grouped_into_calls_changes_no_bit(name: str) -> None:
    features, target = gaussian(640, 4)
    backend = made(name, 4)
    X = backend.model.design(features)
    whole, _ = backend.steps(backend.init(), X, target, 64)
    state = backend.init()
    for first in range(0, 640, 64):
        state, _ = backend.step(state, X[first : first + 64], target[first : first + 64])
    assert backend.export(state)["w"].tobytes() == backend.export(whole)["w"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_export_and_load_go_on_as_if_never_stopped(name: str) -> None:
    features, target = gaussian(512, 4)
    backend = made(name, 4)
    X = backend.model.design(features)
    unbroken, _ = backend.steps(backend.init(), X, target, 64)
    half, _ = backend.steps(backend.init(), X[:256], target[:256], 64)
    other = made(name, 4)
    resumed, _ = other.steps(other.load(backend.export(half)), X[256:], target[256:], 64)
    assert other.export(resumed)["w"].tobytes() == backend.export(unbroken)["w"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_the_old_state_stay_as_they_were(name: str) -> None:
    features, target = gaussian(100, 2)
    backend = made(name, 2)
    X = backend.model.design(features)
    X_before, y_before = X.copy(), target.copy()
    state, _ = backend.steps(backend.init(), X, target, 10)
    before = backend.export(state)["w"].copy()
    backend.steps(state, X, target, 10)
    exported = backend.export(state)
    exported["w"][:] = 0  # a copy of the caller's own
    assert np.array_equal(backend.export(state)["w"], before)
    assert np.array_equal(X, X_before)
    assert np.array_equal(target, y_before)


@pytest.mark.parametrize("name", NAMES)
def test_predict(name: str) -> None:
    features, _ = gaussian(10, 2)
    backend = made(name, 2)
    X = backend.model.design(features)
    state = backend.load({"w": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_allclose(
        backend.predict(state, X), 1 + 2 * features[:, 0] + 3 * features[:, 1], rtol=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
def test_overflow_comes_out_as_numbers_that_are_not_finite(name: str) -> None:
    features, target = gaussian(256 * 40, 3)
    backend = made(name, 3, rate=1e30)
    _, losses = backend.steps(backend.init(), backend.model.design(features), target, 256)
    assert not np.isfinite(losses).all()


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_another_shape_are_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^WRONG_SHAPE: parameter 'w'.*shape \(3,\), not of shape \(4,\)"
    ):
        made(name, 3).load({"w": np.zeros(3)})


def test_unknown_backend_offers_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no backend 'nunpy'; did you mean 'numpy'\? Available"):
        backends.get("nunpy")


def test_missing_backend_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("trainers.backends.on_absent", "Absent", "no_such_package", "pip install x")
    monkeypatch.setitem(backends.BACKENDS, "absent", entry)
    with pytest.raises(
        UnavailableError, match=r"needs the package no_such_package. Install with: pip install x"
    ):
        backends.get("absent")
    assert "absent" not in backends.available()


def test_the_table_imports_no_backend() -> None:
    code = (
        "import sys, trainers.backends as b; b.available(); "
        "print([m for m in sys.modules if m.startswith('trainers.backends.on_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numpy_costs_little_more_than_its_three_lines() -> None:
    """The contract's price, as a ratio in one run; the goal is 0.8, the bound leaves room for a busy machine."""
    features, target = gaussian(256 * 400, 9)
    backend = made("numpy", 9)
    X = backend.model.design(features)

    def bare() -> float:
        w = np.zeros(10)
        started = time.perf_counter()
        for i in range(0, len(target), 256):
            e = X[i : i + 256] @ w - target[i : i + 256]
            w = w - 0.01 * (2 / 256) * (X[i : i + 256].T @ e)
        return time.perf_counter() - started

    def ours() -> float:
        state = backend.init()
        started = time.perf_counter()
        backend.steps(state, X, target, 256)
        return time.perf_counter() - started

    pairs = [(bare(), ours()) for _ in range(15)]
    ratio = min(b for b, _ in pairs) / min(o for _, o in pairs)
    assert ratio > 0.65, f"{ratio:.2f} of a bare loop"
