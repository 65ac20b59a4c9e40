"""Models, scaling, class weights and exact answers on a real topic: what is learned equals a recomputation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gradstream.config import Services
from gradstream.errors import ConfigError
from tests.trainers.feed import Topic, data
from tests.trainers.runs import chain_of, crash, dead, everything, job_on, tensor
from trainers import backends, models
from trainers.chain import WeightsRecord
from trainers.descent import Descent
from trainers.job import FULL
from trainers.loop import train
from trainers.models import Floats

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]


def labelled(rows: int, columns: int, share: float = 0.3) -> tuple[Floats, Floats]:
    X, answer = data(rows, columns)
    return X, (answer > np.quantile(answer, 1 - share)).astype(np.float64)


def sent(services: Services, unique: Unique, X: Floats, y: Floats) -> Topic:
    topic = Topic(services, unique, X.shape[1])
    topic.send(X, y)
    return topic


def test_logistic_learns_and_measures_itself_before_each_step(
    services: Services, unique: Unique
) -> None:
    X, y = labelled(6000, 3)
    topic = sent(services, unique, X, y)
    result = train(
        job_on(topic, "r", model="logistic", optimizer="adam", l2=0.001, learning_rate=0.1),
        services,
    )
    backend = backends.get("numpy")(models.get("logistic", 3), Descent(0.1, "adam", l2=0.001))
    made = backend.steps(backend.init(), backend.model.design(X), y, 256)
    assert made.scores is not None
    assert tensor(result) == backend.export(made.state)["w"].tobytes()
    assert result.record is not None
    metrics = result.record.metrics
    assert metrics["prequential/roc_auc"] == pytest.approx(roc_auc_score(y, made.scores), abs=2e-3)
    average = average_precision_score(y, made.scores)
    assert metrics["prequential/pr_auc"] == pytest.approx(average, abs=5e-3)
    p = np.where(y == 1, made.scores, 1 - made.scores)
    assert metrics["prequential/log_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-9)
    assert list(result.weights) == ["intercept", "X1", "X2", "X3"]


def test_labels_outside_0_and_1_become_dead_letters(services: Services, unique: Unique) -> None:
    X, y = labelled(1000, 2)
    y[[3, 700]] = 2.0, 0.5
    topic = sent(services, unique, X, y)
    result = train(job_on(topic, "r", model="logistic"), services)
    letters = dead(topic)
    assert [(d["offset"], d["code"]) for d in letters] == [(3, "BAD_LABEL"), (700, "BAD_LABEL")]
    assert letters[0]["reason"] == "Y is neither 0 nor 1"
    assert result.record is not None
    assert result.record.records_trained == 998


def test_standardised_features_learn_at_a_rate_that_raw_ones_explode_at(
    services: Services, unique: Unique
) -> None:
    random = np.random.default_rng(3)
    X = random.normal(size=(20_000, 2)) * [50.0, 1e4] + [1e3, -2e5]
    y = 3 + 0.02 * X[:, 0] - 1e-4 * X[:, 1] + 0.01 * random.normal(size=len(X))
    topic = sent(services, unique, X, y)
    job = {"learning_rate": 0.1, "batch_size": 100}
    with pytest.raises(ConfigError, match=r"^DIVERGED: .*or scale the features \(--standardise\)"):
        train(job_on(topic, "raw", **job), services)
    result = train(job_on(topic, "scaled", standardise=True, **job), services)
    # told in the units of the topic
    assert result.weights["X1"] == pytest.approx(0.02, rel=0.02)
    assert result.weights["X2"] == pytest.approx(-1e-4, rel=0.02)
    assert result.weights["intercept"] == pytest.approx(3, abs=0.5)
    assert result.record is not None
    tensors = result.record.tensors
    assert tensors["scaler/count"] == len(X)
    np.testing.assert_allclose(tensors["scaler/mean"], X.mean(axis=0), rtol=1e-12)


def test_each_record_counts_once_for_the_scaler_however_many_epochs(
    services: Services, unique: Unique
) -> None:
    X, y = data(1000, 2)
    topic = sent(services, unique, 5 + 3 * X, y)
    for run, batch_size in (("batches", 50), ("full", FULL)):
        job = job_on(topic, run, batch_size=batch_size, epochs=30, standardise=True)
        result = train(job, services)
        assert result.record is not None
        assert result.record.tensors["scaler/count"] == 1000
        scaled = (X - X.mean(axis=0)) / X.std(axis=0)
        backend = backends.get("numpy")(models.get("linear", 2), Descent(0.01))
        if (
            batch_size == FULL
        ):  # the first epoch knows nothing of the features, the others everything
            first = backend.model.design(np.zeros_like(X))
            state = backend.steps(backend.init(), first, y, 1000).state
            design = backend.model.design(scaled)
            state = backend.steps(state, design, y, 1000, passes=29).state
            expected = backend.export(state)["w"]
            np.testing.assert_allclose(result.record.tensors["w"], expected, rtol=1e-9)


def test_a_limit_in_the_middle_of_epochs_leaves_the_others_for_later(
    services: Services, unique: Unique
) -> None:
    X, y = data(1000, 2)
    topic = sent(services, unique, X, y)
    how: dict[str, Any] = {"epochs": 6, "batch_size": 64, "standardise": True}
    whole = train(job_on(topic, "whole", **how), services)
    for limit in (5, 16, 40):  # in the first epoch, at its end, later
        part = train(job_on(topic, "parts", max_steps=limit, **how), services)
        assert part.reason == f"limit: {limit} steps"
    rest = train(job_on(topic, "parts", **how), services)
    assert everything(rest) == everything(whole)
    assert rest.reason == "6 epochs"
    assert train(job_on(topic, "parts", **how), services).reason == "nothing new"


def test_fewer_epochs_than_were_begun_end_the_run(services: Services, unique: Unique) -> None:
    X, y = data(1000, 2)
    topic = sent(services, unique, X, y)
    train(job_on(topic, "r", epochs=10, batch_size=64, max_steps=40), services)
    ended = train(job_on(topic, "r", epochs=2, batch_size=64), services)
    assert ended.record is not None
    assert ended.record.reason == "2 epochs"
    topic.send(*data(100, 2, seed=5))
    more = train(job_on(topic, "r", epochs=2, batch_size=64), services)
    assert more.record is not None
    assert more.record.commits == {(topic.name, 0): 1100}


def test_online_then_epochs_killed_ends_at_the_same_bits(
    services: Services, unique: Unique
) -> None:
    """The turn of the partitions at which the online part stopped must not change what the epochs go over."""
    topic = Topic(services, unique, 2, partitions=3)
    for partition, rows in enumerate((300, 100, 100)):
        topic.send(*data(rows, 2, seed=partition), partition)
    how: dict[str, Any] = {"batch_size": 64, "standardise": True}
    for run in ("whole", "killed"):
        train(job_on(topic, run, **how), services)
    for partition in range(3):
        topic.send(*data(400 + 90 * partition, 2, seed=9 + partition), partition)
    how |= {"epochs": 4, "publish_steps": 5}
    whole = train(job_on(topic, "whole", **how), services)
    crash(job_on(topic, "killed", **how), services, "after_begin:2")
    resumed = train(job_on(topic, "killed", **how), services)
    assert everything(resumed) == everything(whole)


@pytest.mark.parametrize(
    ("first", "then", "flag"),
    [
        ({"batch_size": FULL}, {"batch_size": 64}, "--batch-size full, not 64"),
        ({"batch_size": 64}, {"batch_size": FULL}, "--batch-size 64, not full"),
        ({"epochs": 9}, {"epochs": 9, "shuffle": False}, "--shuffle True, not False"),
    ],
)
def test_what_is_unfinished_goes_on_as_it_began(
    services: Services, unique: Unique, first: dict[str, Any], then: dict[str, Any], flag: str
) -> None:
    topic = sent(services, unique, *data(1000, 2))
    how: dict[str, Any] = {"batch_size": 64, "publish_steps": 1}
    with pytest.raises(Dropped):
        train(job_on(topic, "r", **(how | first)), services, on_publish=drop)
    with pytest.raises(ConfigError, match=f"^RESUME_MISMATCH: .*{flag}; give the same"):
        train(job_on(topic, "r", **(how | then)), services)


class Dropped(Exception):  # noqa: N818  nothing is wrong
    """What ends a process between two transactions."""


def drop(record: WeightsRecord) -> None:
    raise Dropped


def test_numbers_too_large_to_square_are_dead_letters(services: Services, unique: Unique) -> None:
    X, y = data(500, 2)
    X[100, 1], y[200] = 1e160, -1e200
    topic = sent(services, unique, X, y)
    for run, more in (("a", {}), ("b", {"exact": True}), ("c", {"standardise": True})):
        result = train(job_on(topic, run, **more), services)
        assert result.record is not None
        assert (result.record.records_trained, result.record.records_rejected) == (498, 2)
    letters = dead(topic)
    assert {(d["offset"], d["code"]) for d in letters} == {
        (100, "OUT_OF_RANGE"),
        (200, "OUT_OF_RANGE"),
    }
    assert letters[0]["reason"] == (
        "a number lies beyond ±1e+150, so that float64 cannot hold its square"
    )


def test_published_weights_that_explode_at_once_need_a_new_run(
    services: Services, unique: Unique
) -> None:
    topic = sent(services, unique, *data(5000, 2))
    job = job_on(topic, "r", learning_rate=50.0, publish_steps=1)
    with pytest.raises(ConfigError, match=r"^DIVERGED: the loss exploded at step"):
        train(job, services)
    with pytest.raises(
        ConfigError, match=r"^DIVERGED: .*exploded already, so train with a new --run"
    ):
        train(replace(job, learning_rate=0.01), services)


def test_exact_answers_do_not_explode(services: Services, unique: Unique) -> None:
    """Early records may pin a slope so badly that those after a gap are predicted at 1e12."""
    random = np.random.default_rng(0)
    time = np.concatenate([np.arange(256.0), np.arange(256.0) + 3e10])
    X = np.column_stack([time, random.normal(size=512)])
    y = X[:, 1] + random.normal(size=512)
    result = train(job_on(sent(services, unique, X, y), "r", exact=True), services)
    assert result.weights["X2"] == pytest.approx(1, abs=0.2)


def test_layers_that_are_the_default_may_be_told(services: Services, unique: Unique) -> None:
    X, y = labelled(300, 3)
    topic = sent(services, unique, X, y)
    train(job_on(topic, "r", model="autoencoder"), services)
    told = {"layers": (14, 7, 7), "class_weights": (1.0, 0.0)}
    assert train(job_on(topic, "r", model="autoencoder", **told), services).reason == "nothing new"


def test_a_second_part_of_one_record_calls_no_feature_constant(
    services: Services, unique: Unique
) -> None:
    X, y = data(300, 2)
    topic = sent(services, unique, X, y)
    train(job_on(topic, "r"), services)
    topic.send(X[:1], y[:1])
    assert train(job_on(topic, "r"), services).constants == {}


def test_autoencoder_learns_normal_rows_and_finds_the_others(
    services: Services, unique: Unique
) -> None:
    random = np.random.default_rng(4)
    hidden = random.normal(size=(8000, 2))
    X = hidden @ random.normal(size=(2, 6)) + 0.05 * random.normal(size=(8000, 6))
    y = (random.random(8000) < 0.02).astype(np.float64)
    X[y == 1] = 2 * random.normal(size=(int(y.sum()), 6))
    topic = sent(services, unique, X, y)
    job = {"model": "autoencoder", "layers": (4, 2, 4), "optimizer": "adam", "batch_size": 32}
    result = train(job_on(topic, "r", **job), services)
    assert result.record is not None
    assert result.record.metrics["prequential/roc_auc"] > 0.8
    assert result.weights == {}
    backend = backends.get("numpy")(
        models.get("autoencoder", 6, True, (4, 2, 4)), Descent(0.01, "adam")
    )
    made = backend.steps(backend.init(), X, y, 32, weights=1 - y)
    assert tensor_of(result, "W1") == backend.export(made.state)["W1"].tobytes()
    alone = train(job_on(topic, "alone", target="", features=("X1", "X2"), **job), services)
    assert alone.record is not None
    assert "prequential/roc_auc" not in alone.record.metrics
    assert alone.record.tensors["W1"].shape == (2, 4)


def tensor_of(result: Any, name: str) -> bytes:
    found: bytes = result.record.tensors[name].tobytes()
    return found


def test_exact_equals_least_squares_and_the_descent_of_all_epochs(
    services: Services, unique: Unique
) -> None:
    X, y = data(5000, 3)
    topic = sent(services, unique, X, y)
    design = np.column_stack([np.ones(len(X)), X])
    solved = train(job_on(topic, "solved", exact=True), services)
    wanted = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(list(solved.weights.values()), wanted, rtol=1e-9)
    how = {"batch_size": FULL, "epochs": 300, "learning_rate": 0.02}
    read_once = train(job_on(topic, "exact", exact=True, **how), services)
    descended = train(job_on(topic, "descended", **how), services)
    assert read_once.record is not None
    assert descended.record is not None
    np.testing.assert_allclose(
        read_once.record.tensors["w"], descended.record.tensors["w"], rtol=1e-10
    )
    np.testing.assert_allclose(read_once.record.tensors["least_squares"], wanted, rtol=1e-9)
    assert (read_once.record.backend, read_once.trained) == ("exact", 5000)


def test_a_feature_that_never_changes_is_told(services: Services, unique: Unique) -> None:
    X, y = data(1000, 3)
    X[:, 1] = 7.5
    topic = sent(services, unique, X, y)
    for run, more in (("a", {}), ("b", {"exact": True}), ("c", {"standardise": True})):
        result = train(job_on(topic, run, **more), services)
        assert result.constants == {"X2": 7.5}
        assert all(np.isfinite(list(result.weights.values())))


@pytest.mark.parametrize("name", [n for n in backends.BACKENDS if n != "numpy"])
def test_another_backend_goes_on_if_it_is_told_to(
    services: Services, unique: Unique, name: str
) -> None:
    if name not in backends.available():
        pytest.skip(f"{backends.BACKENDS[name].needs} is not installed")
    X, y = labelled(3000, 3)
    topic = sent(services, unique, X, y)
    how = {"model": "logistic", "optimizer": "adam", "batch_size": 64, "standardise": True}
    alone = train(job_on(topic, "alone", **how), services)
    train(job_on(topic, "r", max_steps=20, **how), services)
    with pytest.raises(
        ConfigError, match=rf"^RESUME_MISMATCH: .* numpy on cpu, and {name} .* --resume-with {name}"
    ):
        train(job_on(topic, "r", backend=name, **how), services)
    result = train(job_on(topic, "r", resume_with=name, **how), services)
    assert result.record is not None
    assert alone.record is not None
    np.testing.assert_allclose(result.record.tensors["w"], alone.record.tensors["w"], rtol=1e-9)
    assert [r.backend for r in chain_of(topic, "r")][-1] == name
    assert result.record.timings_us["compute"] > 0


def test_a_backend_alone_gives_the_same_bits_twice(services: Services, unique: Unique) -> None:
    X, y = labelled(3000, 3)
    topic = sent(services, unique, X, y)
    how = {"model": "autoencoder", "layers": (2,), "optimizer": "adam", "backend": "numba"}
    first = train(job_on(topic, "a", publish_steps=3, **how), services)
    second = train(job_on(topic, "b", publish_steps=5, **how), services)
    assert everything(first) == everything(second)
    assert first.record is not None
    assert (first.record.device, first.record.dtype) == ("cpu", "float64")


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"dtype": "float32"}, "--dtype float64, not float32"),
        ({"optimizer": "sgd"}, "--optimizer adam, not sgd"),
        ({"standardise": False}, "--standardise True, not False"),
        ({"model": "linear", "class_weights": None}, "--model logistic, not linear"),
        ({"features": ("X1",)}, "--features X1,X2,X3, not X1"),
        ({"class_weights": None}, "--class-weights balanced, not none"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    services: Services, unique: Unique, change: dict[str, Any], flag: str
) -> None:
    X, y = labelled(500, 3)
    topic = sent(services, unique, X, y)
    how: dict[str, Any] = {
        "model": "logistic",
        "optimizer": "adam",
        "standardise": True,
        "class_weights": "balanced",
    }
    train(job_on(topic, "r", **how), services)
    with pytest.raises(ConfigError, match=f"^RESUME_MISMATCH: .*{flag}; give the same"):
        train(job_on(topic, "r", **(how | change)), services)
