"""Exact answers from streaming sums, judged by NumPy's lstsq and by descent over the data themselves."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gradstream.errors import ConfigError, UsageError
from trainers import models
from trainers.backends import State
from trainers.backends.exact import ExactBackend
from trainers.backends.on_numpy import NumpyBackend
from trainers.descent import Descent
from trainers.models import Floats

CUTS = [(0, 64), (64, 128), (128, 320), (320, 960), (960, 1000)]  # of 1,000 rows, in batches of 64


def golden_data() -> tuple[Floats, Floats]:
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    return x[:, np.newaxis], 3 + 2 * x + noise


def data(n: int = 1000, features: int = 4) -> tuple[Floats, Floats]:
    random = np.random.default_rng(8)
    X = random.normal(size=(n, features))
    return X, X @ np.linspace(-1, 2, features) + 0.7 + 0.3 * random.normal(size=n)


def exact(features: int, bias: bool = True, passes: int = 0, rate: float = 0.05) -> ExactBackend:
    return ExactBackend(models.linear(features, bias), Descent(rate), passes)


def seen(backend: ExactBackend, features: Floats, y: Floats, batch_size: int = 64) -> State:
    return backend.steps(backend.init(), backend.model.design(features), y, batch_size).state


def assert_least_squares(features: Floats, y: Floats, bias: bool, tolerance: float) -> None:
    """The weights are those of lstsq, relative to the largest."""
    backend = exact(features.shape[1], bias)
    w = backend.export(seen(backend, features, y))["w"]
    wanted = np.linalg.lstsq(backend.model.design(features), y)[0]
    np.testing.assert_allclose(w, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("batch_size", [10_000, 256])
def test_golden_job(batch_size: int) -> None:
    x, y = golden_data()
    backend = exact(1, passes=10_000, rate=0.001)
    found = backend.export(seen(backend, x, y, batch_size))
    np.testing.assert_allclose(found["w"], [2.95985985, 2.03296496], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found["least_squares"], [2.99536719, 2.00288672], rtol=0, atol=1e-8)
    least = exact(1)
    found = least.export(seen(least, x, y, batch_size))
    np.testing.assert_allclose(found["w"], [2.99536719, 2.00288672], rtol=0, atol=1e-8)
    assert found.keys() == {"exact/count", "exact/mean", "exact/comoment", "w"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("features", [1, 2, 10, 40])
def test_least_squares_are_numpys(features: int, bias: bool) -> None:
    X, y = data(2000, features)
    assert_least_squares(X, y, bias, 1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_least_squares_of_badly_scaled_data(bias: bool) -> None:
    """Far from zero, in units from 10⁻⁶ to 10³: raw sums of products would have no digit left.

    With an intercept lstsq itself takes such a design for a singular one. It is asked about the rows around 10⁶, a
    subtraction without rounding that leaves the slopes as they are.
    """
    X, _ = data(5000, 4)
    y = X @ [1.0, 2, -3, 4] + np.random.default_rng(1).normal(size=5000)
    X, units = 1e6 + X, np.array([1e-6, 1, 1e3, 1e-3])
    wanted = np.linalg.lstsq(exact(4, bias).model.design(X - 1e6 if bias else X), y)[0]
    for unit in (1, units):
        backend = exact(4, bias)
        state = seen(backend, X * unit, y)
        w = backend.export(state)["w"]
        np.testing.assert_allclose(w[int(bias) :] * unit, wanted[int(bias) :], rtol=1e-8)
        if bias:
            intercept = wanted[0] - 1e6 * wanted[1:].sum()
            np.testing.assert_allclose(w[0], intercept, rtol=1e-8)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["double", "sum", "constant", "few", "one", "zero"])
def test_of_several_answers_the_shortest(kind: str, bias: bool) -> None:
    X, y = data(1000, 4)
    if kind == "double":
        X[:, 3] = X[:, 1]
    elif kind == "sum":
        X[:, 2] = X[:, 0] + 2 * X[:, 1] - 0.5  # with an intercept that depends, without it does not
    elif kind == "constant":
        X[:, 1] = 0.3
    elif kind == "zero":
        X[:, 1] = 0
    else:
        X, y = X[: 3 if kind == "few" else 1], y[: 3 if kind == "few" else 1]
    assert_least_squares(X, y, bias, 1e-9)


def test_losses_are_those_of_the_answer_to_all_that_was_before() -> None:
    X, y = data(300, 3)
    X[:, 2] = X[:, 0]
    backend = exact(3)
    design = backend.model.design(X)
    losses = backend.steps(backend.init(), design, y, 10).losses
    wanted = [np.mean(y[:10] ** 2)]
    for start in range(10, 300, 10):
        w = np.linalg.lstsq(design[:start], y[:start])[0]
        rows = slice(start, start + 10)
        wanted.append(np.mean((design[rows] @ w - y[rows]) ** 2))
    np.testing.assert_allclose(losses, wanted, rtol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("passes", [1, 2, 17, 1000])
@pytest.mark.parametrize(
    "how",
    [
        Descent(0.05),
        Descent(0.1, schedule="inverse"),
        Descent(0.05, schedule="cosine", schedule_steps=15),
        Descent(0.01, "momentum"),
        Descent(0.01, "adam", l2=0.01, clip=0.5),
    ],
    ids=["constant", "inverse", "cosine", "momentum", "all"],
)
def test_descent_equals_full_batches_of_the_data(how: Descent, passes: int, bias: bool) -> None:
    X, y = data(700, 5)
    X += 0.5
    model = models.linear(5, bias)
    plain, backend = NumpyBackend(model, how), ExactBackend(model, how, passes)
    state = plain.steps(plain.init(), model.design(X), y, len(y), passes=passes).state
    found = backend.export(seen(backend, X, y))["w"]
    np.testing.assert_allclose(found, plain.export(state)["w"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["plain", "double"])
def test_grouping_and_resuming_change_no_bit(kind: str) -> None:
    X, y = data(1000, 4)
    if kind == "double":
        X[:, 3] = X[:, 1]
    backend = exact(4, passes=20)
    design = backend.model.design(X)
    whole = backend.steps(backend.init(), design, y, 64)
    state, losses = backend.init(), []
    for first, last in CUTS:
        made = backend.steps(state, design[first:last], y[first:last], 64)
        losses.append(made.losses)
        state = exact(4, passes=20).load(backend.export(made.state))
    assert np.concatenate(losses).tobytes() == whole.losses.tobytes()
    found = backend.export(state)
    for name, tensor in backend.export(whole.state).items():
        assert tensor.dtype == np.float64
        assert found[name].tobytes() == tensor.tobytes(), name


def test_inputs_and_the_old_state_stay_as_they_were() -> None:
    X, y = data(200, 3)
    backend = exact(3)
    design = backend.model.design(X)
    before = design.tobytes(), y.tobytes()
    state = seen(backend, X, y)
    exported = {name: tensor.tobytes() for name, tensor in backend.export(state).items()}
    backend.steps(state, design, y, 64)
    for tensor in backend.export(state).values():
        tensor[...] = 0
    assert {n: t.tobytes() for n, t in backend.export(state).items()} == exported
    assert (design.tobytes(), y.tobytes()) == before


def test_predict_is_the_published_weights_answer() -> None:
    X, y = data(300, 3)
    for passes in (0, 7):
        backend = exact(3, passes=passes)
        state = seen(backend, X, y)
        design = backend.model.design(X)
        np.testing.assert_array_equal(
            backend.predict(state, design), design @ backend.export(state)["w"]
        )


def test_nothing_seen_is_no_weight() -> None:
    for passes in (0, 5):
        for bias in (True, False):
            backend = exact(3, bias, passes)
            found = backend.export(backend.init())
            assert not any(tensor.any() for tensor in found.values())
            assert backend.constant_features(backend.init()) == []


def test_constant_features_are_named() -> None:
    X, y = data(1000, 5)
    X[:, 1] = 0.1
    X[:, 2] = 1e6 + np.linspace(0, 1e-3, 1000)  # far from zero, and yet no constant
    X[:, 3] = np.where(X[:, 0] > 0, 0.1 + 0.2, 0.3)  # the same but for rounding
    backend = exact(5)
    assert backend.constant_features(seen(backend, X, y)) == [1, 3]
    assert backend.constant_features(seen(backend, X[:1], y[:1])) == []
    X[-1, 1] = 0.2
    assert backend.constant_features(seen(backend, X, y)) == [3]


def test_overflow_comes_out_as_numbers_that_are_not_finite() -> None:
    X, y = data(300, 2)
    backend = exact(2, passes=100, rate=1e30)
    assert not np.isfinite(backend.export(seen(backend, X, y))["w"]).all()
    backend = exact(2)
    made = backend.steps(backend.init(), backend.model.design(X * 1e200), y, 64)
    assert not np.isfinite(backend.export(made.state)["exact/comoment"]).all()


def test_what_is_not_a_sum_over_the_data_is_refused() -> None:
    for name in ("logistic", "autoencoder"):
        with pytest.raises(UsageError, match=rf"^EXACT_NEEDS_LINEAR: --exact: model '{name}'"):
            ExactBackend(models.get(name, 3), Descent())
    X, y = data(64, 3)
    backend = exact(3)
    design = backend.model.design(X)
    with pytest.raises(UsageError, match=r"^EXACT_READS_ONCE"):
        backend.steps(backend.init(), design, y, 64, passes=2)
    with pytest.raises(UsageError, match=r"^EXACT_READS_ONCE"):
        backend.steps(backend.init(), design, y, 64, weights=np.ones(64))
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'exact/mean'"):
        exact(4).load(backend.export(backend.init()))


def test_the_golden_job_is_a_hundred_times_as_fast_as_numpys() -> None:
    """Sums once, then 2 × 2 steps, against 10,000 passes over the data, of which 500 are timed."""
    x, y = golden_data()
    backend, plain = (
        exact(1, passes=10_000, rate=0.001),
        NumpyBackend(models.linear(1), Descent(0.001)),
    )
    X = plain.model.design(x)

    def ours() -> float:
        started = time.perf_counter()
        backend.export(backend.steps(backend.init(), X, y, len(y)).state)
        return time.perf_counter() - started

    def numpys() -> float:
        started = time.perf_counter()
        plain.steps(plain.init(), X, y, len(y), passes=500)
        return 20 * (time.perf_counter() - started)

    ours()  # compiles
    ratio = min(numpys() for _ in range(5)) / min(ours() for _ in range(20))
    assert ratio > 100, f"{ratio:.0f} times"
