"""The trainer on a real broker and registry: what it learns, what it commits, and what survives a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.wire.kafka import end_offsets
from tests.crowd import in_time
from tests.trainers.feed import Topic, data, values_of
from tests.trainers.runs import (
    ROOT,
    chain_of,
    crash,
    dead,
    environment,
    everything,
    job_on,
    publish_forged,
    tensor,
)
from trainers import weights
from trainers.backends import get
from trainers.chain import WeightsRecord
from trainers.descent import Descent
from trainers.job import FULL, Job
from trainers.loop import train
from trainers.models import Floats, linear
from trainers.spill import epoch_order

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]
GOLDEN = np.array([2.95985985, 2.03296496])


def recomputed(X: Floats, y: Floats, rate: float = 0.01, size: int = 256) -> Floats:
    """What one pass in the log's order must end at."""
    backend = get("numpy")(linear(X.shape[1]), Descent(rate))
    state, *_ = backend.steps(backend.init(), backend.model.design(X), y, size)
    return backend.export(state)["w"]


def test_one_pass_equals_a_recomputation_bit_for_bit(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 3)
    X, y = data(5000, 3)
    topic.send(X, y, transactional=True)  # markers leave gaps in the offsets, one at the very end
    seen: list[WeightsRecord] = []
    result = train(job_on(topic, "r", publish_steps=7), services, on_publish=seen.append)
    assert tensor(result) == recomputed(X, y).tobytes()
    assert list(result.weights) == ["intercept", "X1", "X2", "X3"]
    assert result.reason == "end of the log"
    chain = chain_of(topic, "r")
    assert [r.sha256 for r in chain] == [r.sha256 for r in seen]
    assert [r.step for r in chain] == [7, 14, 20]
    assert chain[-1].records_trained == 5000
    assert chain[-1].commits == end_offsets(services, topic.name)
    assert [(r.reason != "") for r in chain] == [False, False, True]
    assert all(r.timings_us["compute"] > 0 for r in chain)
    position = 0
    for record in chain:
        (covered,) = record.inputs
        assert covered.start == position
        position = covered.end
    again = train(job_on(topic, "r"), services)
    assert again.reason == "nothing new"
    more_X, more_y = data(700, 3, seed=9)
    topic.send(more_X, more_y)
    last = train(job_on(topic, "r"), services)
    assert last.record is not None
    assert last.record.records_trained == 5700
    assert len(chain_of(topic, "r")) == 4


def test_poison_goes_to_the_dead_letters_while_training_goes_on(
    services: Services, unique: Unique
) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(1000, 2)
    X[500, 1] = np.nan
    good = values_of(X[:1], y[:1], topic.schema_id)[0].as_py()
    null = pa.array([None], pa.float64())
    assert null.null_count == 1
    poison: dict[int, bytes | None] = {
        0: b"",
        10: None,
        20: b"\0\0",
        30: b'{"X1": 1}',
        40: b"\0\x7f\xff\xff\xf0abc",
        50: good[:-3],
        60: good + b"more",
        999: good[:7],
    }
    topic.send(X, y, poison=poison)
    result = train(job_on(topic, "r", publish_steps=1), services)
    letters = dead(topic)
    codes = {d["offset"]: d["code"] for d in letters}
    assert codes == {
        0: "EMPTY_VALUE",
        11: "TOMBSTONE",
        22: "SHORT_FRAME",
        33: "BAD_MAGIC",
        44: "UNKNOWN_SCHEMA_ID",
        55: "TRUNCATED",
        66: "TRAILING_BYTES",
        507: "NON_FINITE",
        1006: "TRUNCATED",
    }
    assert all(d["reason"] and d["topic"] == topic.name for d in letters)
    assert all(d["value"] is None for d in letters)
    assert result.record is not None
    assert result.record.records_trained + len(letters) == 1000 + len(poison)
    assert result.record.records_rejected == len(letters)
    fine = np.isfinite(X).all(axis=1)
    assert tensor(result) == recomputed(X[fine], y[fine]).tobytes()


def test_a_log_of_nothing_but_poison(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(1, 2)
    topic.send(np.full((3, 2), np.inf), np.ones(3))
    result = train(job_on(topic, "r"), services)
    assert result.record is not None
    assert (result.record.step, result.record.loss) == (0, None)
    assert [d["code"] for d in dead(topic)] == ["NON_FINITE"] * 3
    assert train(job_on(topic, "r"), services).reason == "nothing new"
    assert len(dead(topic)) == 3
    del X, y


def test_golden_descent_comes_out_through_kafka(services: Services, unique: Unique) -> None:
    state = np.random.RandomState(444)
    noise = 0.1 * state.randn(10_000)
    x = np.linspace(0, 2, 10_000)
    topic = Topic(services, unique, 1)
    topic.send(x[:, np.newaxis], 3 + 2 * x + noise)
    job = job_on(topic, "golden", batch_size=FULL, epochs=10_000, learning_rate=0.001)
    train(job, services)
    last = chain_of(topic, "golden")[-1]
    np.testing.assert_allclose(last.tensors["w"], GOLDEN, rtol=0, atol=1e-8)
    assert (last.step, last.epoch, last.reason) == (10_000, 10_000, "10000 epochs")
    assert last.commits == end_offsets(services, topic.name)


def test_weights_command_shows_the_newest_last(
    services: Services, unique: Unique, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(2000, 2))
    for run in ("a", "b"):
        train(job_on(topic, run, publish_steps=2), services)
    where = [
        *("--weights-topic", topic.weights, "--bootstrap-servers", services.bootstrap_servers),
        *("--schema-registry-url", services.schema_registry_url),
    ]
    assert weights.main([*where, "--json", "--limit", "100"]) == 0
    everything = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["step"] for r in everything] == [2, 4, 6, 8] * 2
    weights.main([*where, "--json", "--run", topic.run + "a", "--limit", "2"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == everything[2:4]
    weights.main([*where, "--limit", "1"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:2] == ["run", "step"]
    assert shown[2] == "  └ end of the log"
    assert len(shown) == 3
    with pytest.raises(GradstreamError, match="BAD_VALUE: --limit some: give a whole number"):
        weights.main([*where, "--limit", "some"])


def test_epochs_are_shuffled_by_seed(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(1000, 2)
    topic.send(X, y)
    result = train(job_on(topic, "r", epochs=3, batch_size=64, seed=5), services)
    backend = get("numpy")(linear(2), Descent(0.01))
    design, state = backend.model.design(X), backend.init()
    for epoch in range(3):
        order = epoch_order(1000, 5, epoch)
        state, *_ = backend.steps(state, design[order], y[order], 64)
    assert tensor(result) == backend.export(state)["w"].tobytes()
    assert result.record is not None
    assert (result.record.epoch, result.record.records_trained) == (3, 3000)


EVERYTHING: dict[str, Any] = {
    "model": "logistic",
    "standardise": True,
    "class_weights": "balanced",
    "optimizer": "adam",
    "l2": 0.01,
    "clip": 1.0,
    "schedule": "cosine",
    "schedule_steps": 500,
}


@pytest.mark.parametrize(
    ("partitions", "more"),
    [
        (1, {}),
        (3, {}),
        (2, {"epochs": 4}),
        (1, {"epochs": 200, "batch_size": FULL}),
        (1, {"tolerance": 1e-3, "patience": 2, "tolerance_on": "weights"}),
        (2, EVERYTHING),
        (2, {**EVERYTHING, "epochs": 3}),
        (1, {**EVERYTHING, "epochs": 40, "batch_size": FULL}),
        (1, {"model": "autoencoder", "layers": (2,), "optimizer": "momentum", "target": ""}),
        (1, {"exact": True}),
        (1, {"backend": "numba", "standardise": True}),
    ],
    ids=[
        *("online", "online-3-partitions", "epochs", "full-batch", "tolerance", "logistic"),
        *("logistic-epochs", "logistic-full-batch", "autoencoder", "exact", "numba"),
    ],
)
def test_killed_and_resumed_ends_at_the_same_bits(
    services: Services, unique: Unique, partitions: int, more: dict[str, Any]
) -> None:
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):
        X, y = data(6000 + 511 * partition, 3, seed=partition)
        if more.get("model") == "logistic":
            y = (y > 1).astype(np.float64)
        topic.send(X, y, partition, poison={77: b"junk", 3000: None})
    settings = {"publish_steps": 6, "batch_size": 64, **more}
    whole = train(job_on(topic, "whole", **settings), services)
    dead_once = len(dead(topic))
    assert dead_once == 2 * partitions
    job = job_on(topic, "killed", **settings)
    crash(job, services, "after_begin:2")
    crash(job, services, "after_begin:3")
    resumed = train(job, services)
    assert everything(resumed) == everything(whole)
    assert resumed.record is not None
    assert whole.record is not None
    for name in ("step", "epoch", "records_trained", "records_rejected", "reason", "commits"):
        assert getattr(resumed.record, name) == getattr(whole.record, name)
    assert len(dead(topic)) == 2 * dead_once  # each run its own, each once
    chain = chain_of(topic, "killed")
    steps = [r.step for r in chain[:-1]]  # the last may say no more than that the log has ended
    assert steps == sorted(set(steps))


def command_line(topic: Topic, run: str, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gradstream.cli", "train", "--source", topic.name, "--target", "Y"),
        *(
            "--run",
            topic.run + run,
            "--weights-topic",
            topic.weights,
            "--dead-letters-topic",
            topic.dead,
            *flags,
        ),
    ]


def started(topic: Topic, run: str, *flags: str) -> subprocess.Popen[str]:
    """A trainer in a process of its own, once it has published for the first time."""
    process = subprocess.Popen(
        command_line(topic, run, *flags),
        cwd=ROOT,
        env=environment(topic.services),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not end_offsets_or_none(topic):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def end_offsets_or_none(topic: Topic) -> int:
    try:
        return end_offsets(topic.services, topic.weights)[topic.weights, 0]
    except GradstreamError:
        return 0  # the trainer has not created it yet


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_commits_says_where_it_stands_and_goes_on(
    services: Services, unique: Unique, number: signal.Signals
) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(5000, 2)
    topic.send(X, y)
    process = started(topic, "r", "--mode", "live", "--max-wait", "1m")
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert in_time(time.monotonic() - began, 2)
    assert process.returncode == 130
    assert "step 19: interrupted\n4,864 records trained in " in err
    assert "go on with: gradstream train --source" in err
    assert "Traceback" not in err
    assert out.startswith("intercept")
    resumed = train(job_on(topic, "r"), services)
    assert tensor(resumed) == recomputed(X, y).tobytes()


def test_second_trainer_of_a_run_fences_the_first(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(5000, 2)
    topic.send(X, y)
    older = started(topic, "r", "--mode", "live", "--max-wait", "1m", "--publish-every", "100ms")
    newer = train(job_on(topic, "r"), services)
    topic.send(X[:300], y[:300])
    out, err = older.communicate(timeout=20)
    assert older.returncode == 75, err
    *progress, told = (
        err.strip().splitlines()
    )  # a line every ten seconds, where a machine is that slow
    assert told.startswith(f"FENCED: another trainer of run '{topic.run}r' has taken over")
    assert all(line.startswith(f"{topic.run}r: step ") for line in progress)
    assert not out
    assert tensor(newer) == recomputed(X, y).tobytes()
    assert chain_of(topic, "r")[-1].reason == "end of the log"


def test_tolerance_stops_early_and_says_why(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(2000, 2)
    topic.send(X, y)
    job = job_on(topic, "r", epochs=500, learning_rate=0.1, tolerance=1e-6, patience=3)
    result = train(job, services)
    last = chain_of(topic, "r")[-1]
    assert last.reason == result.reason
    assert last.reason.startswith("tolerance: the loss did not fall by more than 1e-06 at 3 checks")
    assert 3 < last.epoch < 500
    np.testing.assert_allclose(last.tensors["w"], [0.5, 1, 2], atol=0.02)


@pytest.mark.parametrize(
    ("limit", "reason", "step"),
    [({"max_steps": 5}, "limit: 5 steps", 5), ({"max_records": 1000}, "limit: 1000 records", 4)],
)
def test_limits(
    services: Services, unique: Unique, limit: dict[str, int], reason: str, step: int
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(5000, 2))
    result = train(job_on(topic, "r", **limit), services)
    assert result.record is not None
    assert (result.reason, result.record.step) == (reason, step)
    assert train(job_on(topic, "r", **limit), services).reason == reason
    assert len(chain_of(topic, "r")) == 1


def test_live_mode_trains_a_short_batch_after_the_wait(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(300, 2)
    topic.send(X, y)
    job = job_on(topic, "r", mode="live", max_wait=0.3, max_records=300, publish_seconds=0.1)
    result = train(job, services)
    assert result.record is not None
    assert (result.record.step, result.record.records_trained) == (2, 300)
    assert tensor(result) == recomputed(X, y).tobytes()


def test_python_backend_ends_where_numpy_does(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(2000, 2))
    ends = [
        train(job_on(topic, name, backend=name), services).weights for name in ("python", "numpy")
    ]
    for name in ends[0]:
        assert ends[0][name] == pytest.approx(ends[1][name], rel=1e-12)


def test_explosion_stops_with_the_step_and_a_rate_that_works(
    services: Services, unique: Unique
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(5000, 2))
    job = job_on(topic, "r", learning_rate=50.0, publish_steps=1)
    with pytest.raises(
        GradstreamError,
        match=r"^DIVERGED: .* at step \d+ .*learning rate 50; .*try --learning-rate 0\.",
    ) as error:
        train(job, services)
    for record in chain_of(topic, "r"):
        assert np.isfinite(record.tensors["w"]).all()
    advised = float(str(error.value).split("--learning-rate ")[1].split(",")[0])
    done = train(replace(job, run=topic.run + "advised", learning_rate=advised), services)
    assert done.record is not None
    assert done.record.loss is not None
    assert done.record.loss < 1


def test_resuming_as_something_else_is_refused(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 3)
    topic.send(*data(1000, 3))
    job = job_on(topic, "r", max_steps=2)
    train(job, services)
    for other, message in [
        (
            replace(job, features=("X1", "X2")),
            "was trained with --features X1,X2,X3, not X1,X2;",
        ),
        (
            replace(job, target="X1"),
            "was trained with --features X1,X2,X3, not X2,X3,Y",
        ),
        (
            replace(job, bias=False),
            "was trained with the intercept True, not False",
        ),
    ]:
        with pytest.raises(GradstreamError) as error:
            train(other, services)
        assert f"RESUME_MISMATCH: run '{topic.run}r' {message}" in str(error.value)


def test_weights_and_offsets_that_disagree_stop_the_trainer(
    services: Services, unique: Unique
) -> None:
    topic = Topic(services, unique, 2)
    topic.send(*data(3000, 2))
    job = job_on(topic, "r", max_steps=4)
    train(job, services)
    with pytest.raises(
        GradstreamError,
        match=r"^TORN_TRANSACTION: run '\w+': no weights stand for offsets \{\}, but",
    ):
        train(replace(job, weights_topic=unique("other")), services)
    record = chain_of(topic, "r")[-1]
    forged = replace(record, step=9, parent=record.sha256, commits={(topic.name, 0): 5})
    publish_forged(topic, forged)
    with pytest.raises(
        GradstreamError, match=r"^TORN_TRANSACTION: run '\w+': weights of step 9 stand for"
    ):
        train(job, services)


def test_mistakes_that_the_services_reveal(services: Services, unique: Unique) -> None:
    topic = Topic(services, unique, 2)
    job = job_on(topic, "r")
    cases = [
        (replace(job, target="y"), "UNKNOWN_COLUMN: --target y: the source has no such column; did you mean 'Y'?"),
        (replace(job, target="FLAG"), "NOT_NUMERIC: --target FLAG: the column is boolean, not a number; convert it"),
        (replace(job, features=("X1", "SENSR")), "UNKNOWN_COLUMN: --features SENSR: the source has no such column; did you mean 'SENSOR'?"),
        (replace(job, source=topic.name[:-1]), f"UNKNOWN_TOPIC: there is no topic '{topic.name[:-1]}'; did you mean"),
        (replace(job, backend="torhc"), "UNKNOWN_BACKEND: no backend 'torhc'"),
        (replace(job, model="forest"), "UNKNOWN_MODEL: no model 'forest'; give --model one of: linear"),
    ]  # fmt: skip
    for wrong, message in cases:
        with pytest.raises(GradstreamError) as error:
            pytest.fail(f"{train(wrong, services)}, not {message}")
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("which", ["bootstrap_servers", "schema_registry_url"])
def test_unreachable_services_are_named_within_ten_seconds(
    services: Services, unique: Unique, which: str
) -> None:
    nowhere = {"bootstrap_servers": "127.0.0.1:9", "schema_registry_url": "http://127.0.0.1:9"}
    began = time.monotonic()
    with pytest.raises(GradstreamError, match=r"_UNREACHABLE: .*127\.0\.0\.1:9") as error:
        train(Job("t", "Y"), replace(services, **{which: nowhere[which]}))
    assert in_time(time.monotonic() - began, 10)
    assert error.value.exit_code == 69
