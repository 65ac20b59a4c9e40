"""One contract, every backend × model: the same answers, state as a value, names imported on demand."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from functools import cache
from itertools import product

import numpy as np
import pytest

from gradstream.errors import ConfigError, UnavailableError, UsageError
from trainers import backends, models
from trainers.backends import Backend, Entry, State
from trainers.descent import Descent
from trainers.models import Floats

NAMES = list(backends.BACKENDS)
MODELS = list(models.MODELS)
GOLDEN = np.array([2.95985985, 2.03296496])
FEATURES, SIZE = (
    4,
    32,
)  # of most tests, so that what a backend has compiled for one serves the others
# Everything that a step may hold, each on its own and together.
DESCENTS = {
    "sgd": Descent(0.05),
    "momentum": Descent(0.02, "momentum"),
    "adam": Descent(0.01, "adam"),
    "l2": Descent(0.05, l2=0.1),
    "clip": Descent(0.05, clip=0.05),
    "inverse": Descent(0.05, schedule="inverse"),
    "cosine": Descent(0.05, schedule="cosine", schedule_steps=150),
    "all": Descent(0.01, "adam", l2=0.01, clip=0.5, schedule="cosine", schedule_steps=300),
}

every_backend = pytest.mark.parametrize("name", NAMES)
every_pair = pytest.mark.parametrize(("name", "model"), list(product(NAMES, MODELS)))


def golden_data() -> tuple[Floats, Floats]:
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    return x[:, np.newaxis], 3 + 2 * x + noise


def data(model: str, rows: int, features: int) -> tuple[Floats, Floats]:
    """Features and a target that suits the model."""
    random = np.random.default_rng(7)
    X = random.normal(size=(rows, features))
    answer = X @ np.linspace(-1, 1, features) + 0.5 + 0.1 * random.normal(size=rows)
    return X, answer if model == "linear" else (answer > 0.5).astype(np.float64)


def new(
    name: str, model: str, features: int, descent: Descent | None = None, dtype: str = "float64"
) -> Backend:
    if name not in backends.available():
        pytest.skip(f"{backends.BACKENDS[name].needs} is not installed")
    kind = backends.get(name)
    if dtype not in kind.dtypes:
        pytest.skip(f"{name} computes in {', '.join(kind.dtypes)} only")
    return kind(models.get(model, features), descent or DESCENTS["sgd"], dtype=dtype)


made = cache(new)  # since state is a value, tests may share a backend


def trained(backend: Backend, X: Floats, y: Floats, batch_size: int, **more: Floats) -> State:
    return backend.steps(backend.init(3), backend.model.design(X), y, batch_size, **more).state


def hash_of(backend: Backend, state: State) -> str:
    tensors = backend.export(state)
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()


def assert_close(found: dict[str, Floats], wanted: dict[str, Floats], tolerance: float) -> None:
    """Relative to the largest number of each tensor, so that one that is near zero by chance counts for little."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape, name
        assert found[name].dtype == np.float64, name
        scale = max(float(np.abs(tensor).max()), 1e-3)
        np.testing.assert_allclose(
            found[name], tensor, rtol=0, atol=tolerance * scale, err_msg=name
        )


@every_backend
def test_golden_descent(name: str) -> None:
    x, d = golden_data()
    backend = made(name, "linear", 1, Descent(0.001))
    X = backend.model.design(x)
    state, losses, _ = backend.steps(backend.init(), X, d, len(d), passes=10_000)
    np.testing.assert_allclose(backend.export(state)["w"], GOLDEN, rtol=0, atol=1e-8)
    assert losses.shape == (10_000,)
    assert np.all(np.diff(losses) < 0)


@cache
def after_200_steps(name: str, model: str, descent: Descent) -> dict[str, Floats]:
    """Tensors, losses and scores; the last batch is short."""
    features, target = data(model, 200 * SIZE - 5, FEATURES)
    backend = made(name, model, FEATURES, descent)
    X = backend.model.design(features)
    state, losses, scores = backend.steps(backend.init(3), X, target, SIZE)
    assert losses.shape == (200,)
    assert (scores is None) == (model == "linear")
    end = {**backend.export(state), "losses": losses}
    return end if scores is None else {**end, "scores": scores}


@pytest.mark.parametrize("how", DESCENTS)
@pytest.mark.parametrize(
    ("name", "model"), list(product([name for name in NAMES if name != "python"], MODELS))
)
def test_agrees_with_pure_python_after_200_steps(name: str, model: str, how: str) -> None:
    descent = DESCENTS[how]
    end, wanted = (after_200_steps(each, model, descent) for each in (name, "python"))
    assert_close(end, wanted, 1e-9)


@every_pair
def test_float32_agrees_to_its_own_precision(name: str, model: str) -> None:
    features, target = data(model, 200 * SIZE, FEATURES)
    descent = Descent(0.02, "momentum", l2=0.01, clip=1.0)
    single = made(name, model, FEATURES, descent, "float32")
    exact = made("numpy", model, FEATURES, descent)
    assert_close(
        single.export(trained(single, features, target, SIZE)),
        exact.export(trained(exact, features, target, SIZE)),
        1e-4,
    )


@pytest.mark.parametrize("weighted", [False, True])
@every_pair
def test_gradient_matches_finite_differences(name: str, model: str, weighted: bool) -> None:
    features, target = data(model, 50, 3)
    l2 = 0.3
    backend = made(name, model, 3, Descent(1.0, l2=l2))
    X = backend.model.design(features)
    random = np.random.default_rng(1)
    weights = random.uniform(0, 2, len(target)) if weighted else None
    start = {
        k: v + 0.3 * random.normal(size=v.shape) for k, v in backend.export(backend.init()).items()
    }

    def loss_at(tensors: dict[str, Floats]) -> float:
        loss = backend.steps(backend.load(tensors), X, target, len(target), weights=weights).losses[
            0
        ]
        decayed = (backend.model.decayed(k) * v * v for k, v in tensors.items())
        return float(loss) + l2 / 2 * sum(float(each.sum()) for each in decayed)

    state = backend.steps(backend.load(start), X, target, len(target), weights=weights).state
    end, h = backend.export(state), 1e-6
    for key, tensor in start.items():
        for place in np.ndindex(tensor.shape):
            up, down = ({k: v.copy() for k, v in start.items()} for _ in range(2))
            up[key][place] += h
            down[key][place] -= h
            numeric = (loss_at(up) - loss_at(down)) / (2 * h)
            assert tensor[place] - end[key][place] == pytest.approx(numeric, rel=1e-6, abs=1e-8)


@every_pair
def test_loss_falls(name: str, model: str) -> None:
    features, target = data(model, 250 * SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["adam"])
    X = backend.model.design(features)
    losses = backend.steps(backend.init(1), X, target, SIZE).losses
    assert losses[-50:].mean() < 0.8 * losses[:50].mean()


@every_pair
def test_how_batches_are_grouped_into_calls_changes_no_bit(name: str, model: str) -> None:
    features, target = data(model, 320 + 9, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["all"])
    X = backend.model.design(features)
    whole = backend.steps(backend.init(1), X, target, SIZE)
    state, losses = backend.init(1), []
    for first, last in [(0, 32), (32, 64), (64, 160), (160, 320), (320, 329)]:
        made_ = backend.steps(state, X[first:last], target[first:last], SIZE)
        state = made_.state
        losses += made_.losses.tolist()
    assert hash_of(backend, state) == hash_of(backend, whole.state)
    np.testing.assert_allclose(losses, whole.losses, rtol=1e-12)


@every_pair
def test_passes_equal_calls(name: str, model: str) -> None:
    features, target = data(model, 3 * SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["momentum"])
    X = backend.model.design(features)
    whole = backend.steps(backend.init(1), X, target, SIZE, passes=3)
    state = backend.init(1)
    for _ in range(3):
        state = backend.steps(state, X, target, SIZE).state
    assert hash_of(backend, state) == hash_of(backend, whole.state)
    assert whole.losses.shape == (9,)
    assert whole.scores is None or whole.scores.shape == (3 * SIZE,)


@pytest.mark.parametrize("how", ["sgd", "momentum", "all"])
@every_pair
def test_export_and_load_go_on_as_if_never_stopped(name: str, model: str, how: str) -> None:
    features, target = data(model, 8 * SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS[how])
    X, half = backend.model.design(features), 4 * SIZE
    unbroken = backend.steps(backend.init(1), X, target, SIZE).state
    first = backend.steps(backend.init(1), X[:half], target[:half], SIZE).state
    other = new(name, model, FEATURES, DESCENTS[how])
    resumed = other.steps(other.load(backend.export(first)), X[half:], target[half:], SIZE).state
    assert hash_of(other, resumed) == hash_of(backend, unbroken)


@every_pair
def test_another_backend_goes_on_to_the_same_answer(name: str, model: str) -> None:
    features, target = data(model, 10 * SIZE, FEATURES)
    first, second = (made(each, model, FEATURES, DESCENTS["all"]) for each in ("numpy", name))
    X, half = first.model.design(features), 5 * SIZE
    begun = first.export(first.steps(first.init(1), X[:half], target[:half], SIZE).state)
    end = second.steps(second.load(begun), X[half:], target[half:], SIZE).state
    alone = first.steps(first.init(1), X, target, SIZE).state
    assert_close(second.export(end), first.export(alone), 1e-9)


@every_pair
def test_inputs_and_the_old_state_stay_as_they_were(name: str, model: str) -> None:
    features, target = data(model, 3 * SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["all"])
    X, weights = backend.model.design(features), np.linspace(0, 1, 3 * SIZE)
    before = X.tobytes(), target.tobytes(), weights.tobytes()
    state = backend.steps(backend.init(), X, target, SIZE, weights=weights).state
    hashed = hash_of(backend, state)
    backend.steps(state, X, target, SIZE, weights=weights)
    for tensor in backend.export(state).values():
        tensor[...] = 0  # a copy of the caller's own
    assert hash_of(backend, state) == hashed
    assert (X.tobytes(), target.tobytes(), weights.tobytes()) == before


@every_pair
def test_twenty_runs_give_one_hash(name: str, model: str) -> None:
    features, target = data(model, 2000, FEATURES)
    hashes = set()
    for _ in range(20):
        backend = new(name, model, FEATURES, DESCENTS["adam"])
        hashes.add(hash_of(backend, trained(backend, features, target, SIZE)))
    assert len(hashes) == 1


@every_pair
def test_row_weights_count_rows(name: str, model: str) -> None:
    """A weight of 0 leaves a row out of the gradient, 2 doubles it; the loss is divided by the rows all the same."""
    features, target = data(model, SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["sgd"])
    X, random = backend.model.design(features), np.random.default_rng(2)
    weights = random.permutation(np.repeat([0.0, 1.0, 2.0], (12, 12, 8)))
    doubled = np.repeat(np.arange(SIZE), weights.astype(int))
    start = backend.init(1)
    end = backend.export(backend.steps(start, X, target, SIZE, weights=weights).state)
    again = backend.export(backend.steps(start, X[doubled], target[doubled], SIZE).state)
    for key, tensor in backend.export(start).items():
        moved = (again[key] - tensor) * len(doubled) / SIZE
        np.testing.assert_allclose(end[key] - tensor, moved, rtol=1e-9, atol=1e-12)


@every_pair
def test_scores_are_what_predict_would_have_said(name: str, model: str) -> None:
    features, target = data(model, 3 * SIZE, FEATURES)
    backend = made(name, model, FEATURES, DESCENTS["sgd"])
    X = backend.model.design(features)
    state = trained(backend, features, target, SIZE)
    predicted = backend.predict(state, X)
    assert predicted.shape == (3 * SIZE,)
    assert predicted.dtype == np.float64
    scores = backend.steps(state, X[:SIZE], target[:SIZE], SIZE).scores
    if model == "linear":
        np.testing.assert_allclose(predicted, X @ backend.export(state)["w"], rtol=1e-12)
    else:
        assert scores is not None
        np.testing.assert_allclose(scores, predicted[:SIZE], rtol=1e-9)
    if model == "logistic":
        assert np.all((predicted > 0) & (predicted < 1))


@pytest.mark.parametrize("rows", [1, 7, 255, 300, 1000])
@every_backend
def test_any_number_of_rows(name: str, rows: int) -> None:
    features, target = data("logistic", rows, 3)
    ends = []
    for each in (name, "numpy"):
        backend = made(each, "logistic", 3)
        X = backend.model.design(features)
        made_ = backend.steps(backend.init(), X, target, 256, weights=np.full(rows, 0.5))
        assert made_.scores is not None
        assert made_.scores.shape == (rows,)
        ends.append({**backend.export(made_.state), "losses": made_.losses, "scores": made_.scores})
    assert_close(ends[0], ends[1], 1e-11)


@pytest.mark.parametrize("model", ["linear", "logistic"])
@every_backend
def test_tall_batches_of_few_columns(name: str, model: str) -> None:
    """Several backends take these by columns."""
    features, target = data(model, 2500, 3)
    ends = []
    for each in (name, "python"):
        backend = made(each, model, 3, DESCENTS["all"])
        X, weights = backend.model.design(features), np.linspace(0, 2, 2500)
        plain = backend.steps(backend.init(), X, target, 1200, passes=2)
        weighted = backend.steps(plain.state, X, target, 1200, weights=weights)
        ends.append({**backend.export(weighted.state), "losses": weighted.losses})
    assert_close(ends[0], ends[1], 1e-9)


@every_backend
def test_overflow_comes_out_as_numbers_that_are_not_finite(name: str) -> None:
    features, target = data("linear", 256 * 40, 3)
    backend = made(name, "linear", 3, Descent(1e30))
    losses = backend.steps(backend.init(), backend.model.design(features), target, 256).losses
    assert not np.isfinite(losses).all()


@every_pair
def test_tensors_of_another_shape_are_refused(name: str, model: str) -> None:
    backend = made(name, model, 3, DESCENTS["adam"])
    other = made(name, model, 4, DESCENTS["adam"])
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor '\w+' of model"):
        backend.load(other.export(other.init()))
    plain = made(name, model, 3, DESCENTS["sgd"])
    with pytest.raises(ConfigError, match=r"^WRONG_SHAPE: tensor 'optimizer/m/\w+'.* is missing"):
        backend.load(plain.export(plain.init()))


@every_backend
def test_rows_of_another_shape_are_refused(name: str) -> None:
    backend = made(name, "linear", 3)
    with pytest.raises(
        ConfigError, match=r"^WRONG_SHAPE: model 'linear' takes X of shape \(n, 4\)"
    ):
        backend.steps(backend.init(), np.zeros((5, 3)), np.zeros(5), 5)


def test_unknown_backend_offers_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no backend 'nunpy'; did you mean 'numpy'\? Available"):
        backends.get("nunpy")


def test_unknown_model_offers_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no model 'logistics'; did you mean 'logistic'\?"):
        models.get("logistics", 3)


def test_missing_backend_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("trainers.backends.on_absent", "Absent", "no_such_package", "pip install x")
    monkeypatch.setitem(backends.BACKENDS, "absent", entry)
    with pytest.raises(
        UnavailableError, match=r"needs the package no_such_package. Install with: pip install x"
    ):
        backends.get("absent")
    assert "absent" not in backends.available()


@every_backend
def test_a_device_that_is_not_there_names_those_that_are(name: str) -> None:
    kind = type(made(name, "linear", 1))
    assert backends.place(kind, "cpu", "float64") == "cpu"
    with pytest.raises(
        UnavailableError, match=rf"^NO_DEVICE: --device gpu:97: backend '{name}' found cpu"
    ):
        backends.place(kind, "gpu:97", "float64")
    assert backends.place(kind, "auto", "float64") in kind.devices()


def test_pure_python_has_no_float32() -> None:
    with pytest.raises(
        UsageError, match=r"^BAD_DTYPE: --dtype float32: backend 'python' computes in float64 only"
    ):
        backends.place(backends.get("python"), "cpu", "float32")


@pytest.mark.parametrize(("model", "dtype"), list(product(MODELS, ["float64", "float32"])))
@pytest.mark.parametrize("name", ["jax", "tensorflow", "torch"])
def test_a_gpu_gives_the_same_answer(name: str, model: str, dtype: str) -> None:
    kind = type(made(name, model, 4, dtype=dtype))
    if "gpu:0" not in kind.devices():
        pytest.skip(f"{name} finds no GPU here")
    features, target = data(model, 2000, 4)
    gpu = kind(models.get(model, 4), DESCENTS["all"], "gpu:0", dtype)
    exact = made("numpy", model, 4, DESCENTS["all"])
    assert_close(
        gpu.export(trained(gpu, features, target, 64)),
        exact.export(trained(exact, features, target, 64)),
        1e-9 if dtype == "float64" else 1e-4,
    )


def test_the_table_imports_no_backend() -> None:
    code = (
        "import sys, trainers.backends as b; b.available(); "
        "print([m for m in sys.modules if m.startswith('trainers.backends.on_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numpy_costs_little_more_than_its_three_lines() -> None:
    """The contract's price, as a ratio in one run; the goal is 0.8, the bound leaves room for a busy machine."""
    features, target = data("linear", 256 * 400, 9)
    backend = made("numpy", "linear", 9, Descent(0.01))
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
