"""No hot path has lost a third of its speed; and the guard would tell if one had."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import guard, hot, kernels, topics
from benchmarks.guard import Pair
from benchmarks.hot import Hot
from gradstream.wire.codec_avro import encode
from producers.schemas import avro_schema
from trainers import backends, models
from trainers.descent import Descent


def test_no_hot_path_has_lost_a_third_of_its_speed() -> None:
    baseline = guard.read()
    pairs = guard.measured(hot.paths(), baseline)
    assert {pair.hot.name for pair in pairs} == set(baseline)
    assert not guard.complaints(pairs, baseline)


@pytest.fixture(scope="module")
def steady() -> tuple[Hot, dict[str, float]]:
    """A real path, and its ratio now."""
    X, y = hot._matrix(topics.plain_rows(hot.CHUNK))
    found = hot.steps("steps", "numba", kernels.descend, X, y)
    (pair,) = guard.measured([found], {})
    pair.look(5 * guard.TURNS)
    return found, {"steps": pair.ratio}


def test_a_path_that_does_its_work_twice_is_caught(steady: tuple[Hot, dict[str, float]]) -> None:
    found, baseline = steady
    twice = found._replace(path=lambda: (found.path(), found.path()))
    pairs = guard.measured([twice], baseline)
    (said,) = guard.complaints(pairs, baseline)
    assert said.startswith("steps: 0.")
    assert "it has lost" in said
    assert said.endswith("gradstream bench guard --renew")


def test_a_path_that_is_as_fast_as_it_was_is_left_alone(
    steady: tuple[Hot, dict[str, float]],
) -> None:
    found, baseline = steady
    assert not guard.complaints(guard.measured([found], baseline), baseline)


def test_one_slow_moment_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LOOK", 0.0)
    calls = 0

    def seldom_slow() -> object:
        nonlocal calls
        calls += 1
        return sum(range(20_000 if calls <= 1 + guard.TURNS else 1000))

    def kernel() -> object:
        return sum(range(1000))

    (pair,) = guard.measured([Hot("seldom", seldom_slow, kernel)], {"seldom": 1.0})
    assert not guard.complaints([pair], {"seldom": 0.9})
    assert calls > 1 + guard.TURNS


def test_a_machine_that_is_never_quiet_makes_no_path_slow() -> None:
    """The kernel had one quiet moment, the path had none."""
    pair = Pair(Hot("busy", list, list), path=[2.0, 2.2, 2.1], kernel=[2.0, 1.0, 2.1])
    assert pair.ratio == 1


def test_a_path_that_nobody_has_measured_is_told() -> None:
    pair = Pair(Hot("new", list, list), path=[1], kernel=[1])
    (said,) = guard.complaints([pair], {})
    assert said == "new: guard.toml does not know it; run: gradstream bench guard --renew"


def test_ratios_are_written_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "guard.toml")
    guard.write([Pair(Hot("a, b", list, list), path=[2], kernel=[1])])
    assert guard.read() == {"a, b": 0.5}
    assert tomllib.loads(guard.BASELINE.read_text()) == {"ratio": {"a, b": 0.5}}


def test_kernels_read_and_write_what_the_codec_does() -> None:
    """Else they would be no measure of it."""
    rows = topics.fraud_rows(500)
    kinds = np.array([hot.KINDS[column.type] + kernels.NULLABLE for column in rows.columns])
    values = encode(rows, avro_schema(rows.schema), hot.SCHEMA_ID)
    ends, data = (
        hot._ends(values),
        np.frombuffer(values.buffers()[2], np.uint8)[: hot._ends(values)[-1]],
    )
    numbers = np.empty((500, len(kinds)), np.int64)
    kernels.read_avro(data, ends, kinds, numbers)
    for place, column in enumerate(rows.columns):
        assert np.array_equal(numbers[:, place], hot._bits(column)), rows.schema.names[place]
    written = np.zeros(2 * len(data), np.uint8)
    assert kernels.write_avro(numbers, kinds, written) == len(data)
    for start, end in pairwise(ends.tolist()):
        assert np.array_equal(written[start + 5 : end], data[start + 5 : end])


def test_kernels_descend_to_the_same_weights() -> None:
    X, y = hot._matrix(topics.plain_rows(1024))
    compiled, plain = np.zeros(10), np.zeros(10)
    kernels.descend(X, y, compiled, 256, 0.01)
    kernels.descend_in_numpy(X, y, plain, 256, 0.01)
    model = models.get("linear", 10, bias=False)
    backend = backends.get("numpy")(model, Descent(0.01))
    weights = backend.export(backend.steps(backend.init(), X, y, 256).state)["w"]
    np.testing.assert_allclose(compiled, weights, rtol=1e-12)
    np.testing.assert_allclose(plain, weights, rtol=1e-12)


def test_kernels_find_all_fields() -> None:
    out = np.zeros(10, np.int64)
    assert kernels.read_digits(np.frombuffer(b"12,-3.5,a7\n", np.uint8), out) == 3
    assert out[:3].tolist() == [12, 35, 7]
