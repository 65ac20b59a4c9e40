"""What only the compiled loops can get wrong: their own e^x and ln, tiles and what is left over, compiling again."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from trainers import models
from trainers.backends import numba_loops as loops
from trainers.backends.on_numba import NumbaBackend
from trainers.backends.on_numpy import NumpyBackend
from trainers.descent import Descent
from trainers.models import Floats


@njit
def each(x: Floats, exponential: Floats, logarithm: Floats) -> None:
    for i in range(len(x)):
        exponential[i] = loops._exp(x[i])
        logarithm[i] = loops._log1p(np.exp(x[i]))


def test_exponential_and_logarithm_are_right_to_the_last_digits() -> None:
    x = -np.concatenate([np.linspace(0, 40, 100_001), np.geomspace(1e-300, 700, 10_001)])
    exponential, logarithm = np.empty_like(x), np.empty_like(x)
    each(x, exponential, logarithm)
    np.testing.assert_allclose(exponential, np.exp(x), rtol=5e-16)
    np.testing.assert_allclose(logarithm, np.log1p(np.exp(x)), rtol=1e-15)


def test_exponential_of_what_is_no_number_and_of_minus_infinity() -> None:
    x = np.array([np.nan, -np.inf, -1e308, -0.0])
    found = np.empty(4)
    each(x, found, np.empty(4))
    assert np.isnan(found[0])
    assert np.all((found[1:3] >= 0) & (found[1:3] < 1e-300))
    assert found[3] == 1


@pytest.mark.parametrize("rows", [127, 128, 129, 1023, 1024, 1025, 3001])
@pytest.mark.parametrize("model", list(models.MODELS))
@pytest.mark.parametrize("features", [1, 3, 9])
def test_tiles_and_what_is_left_over_give_numpys_answer(
    rows: int, model: str, features: int
) -> None:
    random = np.random.default_rng(rows)
    chosen = models.get(model, features)
    X = chosen.design(random.normal(size=(2 * rows, features)))
    y, weights = random.integers(0, 2, 2 * rows).astype(np.float64), random.uniform(size=2 * rows)
    for s in (None, weights):
        ends = []
        for kind in (NumbaBackend, NumpyBackend):
            backend = kind(chosen, Descent(0.05))
            made = backend.steps(backend.init(1), X, y, rows, passes=2, weights=s)
            ends.append((backend.export(made.state), made.losses, made.scores))
        for name, tensor in ends[1][0].items():
            np.testing.assert_allclose(ends[0][0][name], tensor, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-12)
        if ends[1][2] is not None:
            np.testing.assert_allclose(ends[0][2], ends[1][2], rtol=1e-11)


@pytest.mark.parametrize("features", [1, 5])
@pytest.mark.parametrize("rows", [200, 2500])
def test_passes_in_one_call_or_in_many_change_no_bit(features: int, rows: int) -> None:
    """Some loops turn the rows of several passes once; the sums must be the same."""
    random = np.random.default_rng(2)
    backend = NumbaBackend(models.linear(features), Descent(0.05))
    X, y = backend.model.design(random.normal(size=(rows, features))), random.normal(size=rows)
    whole = backend.steps(backend.init(), X, y, rows, passes=4).state
    state = backend.init()
    for _ in range(4):
        state = backend.steps(state, X, y, rows).state
    assert backend.export(state)["w"].tobytes() == backend.export(whole)["w"].tobytes()


@pytest.mark.parametrize("model", list(models.MODELS))
def test_a_number_that_is_none_is_not_swallowed(model: str) -> None:
    backend = NumbaBackend(models.get(model, 4), Descent(0.1))
    X = backend.model.design(np.ones((300, 4)))
    X[7, 2] = np.nan
    made = backend.steps(backend.init(1), X, np.ones(300), 300)
    assert np.isnan(made.losses[0])
    assert any(np.isnan(t).any() for t in backend.export(made.state).values())


def test_memory_that_is_read_only_is_not_compiled_for_again() -> None:
    backend = NumbaBackend(models.logistic(2), Descent(0.1))
    X, y = backend.model.design(np.ones((64, 2))), np.ones(64)
    writable = backend.steps(backend.init(), X, y, 32).state
    compiled = len(loops.descend.signatures)
    X.setflags(write=False)
    y.setflags(write=False)
    locked = backend.steps(backend.init(), X, y, 32).state
    assert len(loops.descend.signatures) == compiled
    np.testing.assert_array_equal(locked["w"], writable["w"])


def test_time_to_compile_is_told_apart() -> None:
    backend = NumbaBackend(models.linear(2), Descent(0.1))
    loops.COMPILED.discard("float64")
    backend.predict(backend.init(), np.ones((3, 3)))
    assert "compile" in backend.spent
    assert backend.spent.keys() <= {"compile", "transfer"}


def test_memory_in_any_order_and_no_rows_at_all() -> None:
    backend = NumbaBackend(models.linear(4, bias=False), Descent(0.1))
    table = np.asfortranarray(np.random.default_rng(3).normal(size=(90, 5)))
    X, y = table[:, :4], table[:, 4]
    found = backend.steps(backend.init(), X, y, 30).state
    wanted = backend.steps(backend.init(), X.copy("C"), y.copy(), 30).state
    np.testing.assert_array_equal(found["w"], wanted["w"])
    np.testing.assert_allclose(backend.predict(found, X), X @ found["w"], rtol=1e-12)
    assert backend.predict(found, X[:0]).shape == (0,)
