"""``gradstream bench peers``: tables and judgement from made-up figures; real processes on a short topic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import effort
from benchmarks.peers import catalogue, compare, environments, feeds, page, runs, tables
from benchmarks.peers.catalogue import OWN, PEERS
from benchmarks.peers.feeds import ARRAY, ARRAY_JSON, FLAT, FLAT_JSON
from benchmarks.peers.outcome import GOALS, TRUE_WEIGHTS, Outcome, figures
from benchmarks.peers.programs.reading import decoder, matrix
from benchmarks.peers.programs.task import BATCH, Clock, Task
from benchmarks.topics import plain_rows, plain_schema
from gradstream.config import Services
from gradstream.errors import UnavailableError, UsageError

BY_NAME = {peer.name: peer for peer in PEERS}
NAMES = [f"X{number}" for number in range(1, 11)]


def outcome(name: str, *rates: float, error: float = 0.0) -> Outcome:
    """Of a peer whose repeats had such rates."""
    made = Outcome(BY_NAME[name])
    for rate in rates:
        made.add(
            {
                "records": 1000,
                "seconds": 1000 / rate,
                "cpu_seconds": 0.001,
                "weights": list(TRUE_WEIGHTS + error),
                "versions": {"numpy": np.__version__},
            }
        )
    return made


def task(layout: str, **options: object) -> Task:
    schema = {FLAT: plain_schema(10), ARRAY: feeds.ARRAY_SCHEMA}.get(layout, {})
    assert isinstance(schema, dict)
    target = "y" if layout in (ARRAY, ARRAY_JSON) else "Y"
    return Task("", "", "", "", layout, schema, NAMES, target, 100 * BATCH, 60, options=options)


@pytest.mark.parametrize("layout", [FLAT, ARRAY, FLAT_JSON, ARRAY_JSON])
def test_every_layout_holds_the_same_records(layout: str) -> None:
    made = plain_rows(100)
    values = feeds.values(made, layout, 7).to_pylist()
    asked = task(layout)
    X, y = matrix(asked, decoder(asked)(values))
    assert X.shape == (100, 10)
    assert np.array_equal(X, np.stack([made[name].to_numpy() for name in NAMES], axis=1))
    assert np.array_equal(y, made["Y"].to_numpy())
    if asked.schema:
        assert {value[:5] for value in values} == {b"\0\0\0\0\7"}
    # What models are compared with.
    assert np.allclose(X @ TRUE_WEIGHTS, y)


def test_the_clock_leaves_out_the_warm_up_and_stops_at_a_whole_batch() -> None:
    clock = Clock(task(FLAT))
    ticks = 0
    while not clock.tick(BATCH):
        ticks += 1
    assert ticks == 99
    warm = -(-10_000 // BATCH) * BATCH
    assert clock._answer["records"] == 100 * BATCH - warm
    assert clock._answer["seconds"] > 0


def test_goals_are_ratios_of_the_best_and_the_fastest_peer_is_found() -> None:
    measured = [
        outcome(catalogue.NUMBA, 2e6, 3e6),
        outcome(catalogue.NUMPY, 2.5e6),
        outcome(catalogue.KCAT, 4e6),
        outcome(catalogue.NUMPY_FASTAVRO, 3e5, 2e5),
        outcome("NumPy + orjson", 7e5, 6e5),
        outcome("Bytewax, JSON", 9e5, error=0.06),  # has learned nothing, so it is no rival
    ]
    judged = {each.reference: each for each in figures(measured)}
    assert list(judged) == [
        "NumPy + fastavro",
        "the fastest peer: NumPy + orjson",
        "kcat, which only reads",
    ]
    assert judged["NumPy + fastavro"].ratio == pytest.approx(10)
    assert judged["the fastest peer: NumPy + orjson"].ratio == pytest.approx(3 / 0.7)
    assert judged["kcat, which only reads"].ratio == pytest.approx(0.75)
    assert all(each.reached for each in judged.values())
    assert compare.code(measured, quick=True) == 1  # a wrong model, even in a quick run
    assert compare.code(measured[:-1], quick=False) == 0
    slower = [outcome(catalogue.NUMBA, 2e6), *measured[2:4]]
    assert compare.code(slower, quick=False) == 1
    assert compare.code(slower, quick=True) == 0


def test_a_model_that_is_wrong_or_missing_is_told() -> None:
    wrong = outcome("River, learn_one, Avro", 1e5, error=0.2)
    missing = Outcome(BY_NAME["River, learn_many, JSON"])
    missing.add({"records": 1, "seconds": 1, "cpu_seconds": 1, "weights": None, "versions": {}})
    dead = Outcome(BY_NAME["Pathway, rows to Python"])
    dead.add({"failed": "ended with 1: no words"})
    assert wrong.problem == "WRONG: a weight is 0.2 away from the truth"
    assert missing.problem.startswith("WRONG: ")
    assert dead.problem == "FAILED: ended with 1: no words"
    assert [tables.cells(each, [])[2] for each in (wrong, missing, dead)] == [
        "WRONG",
        "WRONG",
        "FAILED",
    ]


def test_a_record_makes_the_same_page_and_a_picture(tmp_path: Path) -> None:
    measured = [
        outcome(catalogue.NUMBA, 2e6, 3e6),
        outcome(catalogue.KCAT, 4e6),
        outcome("River, learn_one, Avro", 1e5, 1.1e5),
        outcome(catalogue.FRAUD_OURS, 1e6),
        outcome(catalogue.FRAUD_NUMPY, 5e4),
        Outcome(BY_NAME["PyTorch + fastavro"], skipped="torch is not installed"),
    ]
    machine = {"processor": "abacus", "cores": 2, "python": "3.11", "time": "2026-11-21T22:00"}
    page.write(tmp_path / "peers.json", machine, False, measured)
    told = json.loads((tmp_path / "peers.json").read_text())
    assert [each["reached"] for each in told["goals"]] == [True, True, True]
    lines = list(page.markdown(told))
    assert lines == list(tables.markdown(measured, figures(measured)))
    assert any(line.startswith("| River, learn_one, Avro | flat | 110 k/s ") for line in lines)
    assert lines[-1] == "Left out: PyTorch + fastavro: torch is not installed."
    page.draw(told, tmp_path / "peers.png", {"Source": "a test"})
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_every_peer_is_complete() -> None:
    assert len(BY_NAME) == len(PEERS)
    named = {name for goal in GOALS for name in (*goal.against, *goal.ours)}
    assert named <= set(BY_NAME)
    for peer in PEERS:
        module, function = peer.program.split(".")
        source = Path(runs.__file__).parent / "programs" / f"{module}.py"
        assert f"\ndef {function}(task: Task, clock: Clock)" in source.read_text()
        assert peer.layout in feeds.ROWS
        if peer.environment != OWN:
            listed = environments.requirements(peer.environment).read_text()
            for library in peer.libraries:
                assert f"\n{library}==" in f"\n{listed}", (peer.name, library)
    assert set(environments.MEGABYTES) == {p.environment for p in PEERS} - {OWN}


def test_requirements_have_hashes_and_name_no_address() -> None:
    for listed in environments.REQUIREMENTS.glob("*.txt"):
        text = listed.read_text()
        pins = [line for line in text.splitlines() if line and line[0] not in " #"]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins), listed
        assert "://" not in text


def test_what_cannot_be_installed_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "quix.txt").write_text("quixstreams==3.28.1\n")  # without a hash
    with pytest.raises(UnavailableError, match=r"^NO_ENVIRONMENT: quix cannot be installed: "):
        environments.make("quix")
    assert not environments.ready("quix")


def test_bad_words_are_one_line() -> None:
    with pytest.raises(UsageError, match=r"^UNKNOWN_PEER: no peer has 'flink' in its name; there"):
        compare.chosen(["flink"])
    names = [peer.name for peer in compare.chosen(["river"])]
    assert names[0] == catalogue.NUMBA
    assert len(names) == 4


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", [catalogue.NUMPY_FASTAVRO, catalogue.NUMPY, catalogue.OWN_LOOP, "consume(256)"]
)
def test_a_peer_learns_from_a_topic_in_a_process_of_its_own(
    services: Services, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort.NOW, "quick", True)
    peer = BY_NAME[name]
    feed = feeds.fill(services, peer.layout, 40_960)
    done = Outcome(peer)
    answer = runs.run(peer, feed, services, 20.0)
    done.add(answer)
    assert done.good, answer
    assert 0 < answer["records"] <= 40_960
    assert done.versions["librdkafka"]


@pytest.mark.integration
def test_a_program_of_another_environment_learns_too(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = BY_NAME["scikit-learn + orjson"]
    monkeypatch.setattr(environments, "python", lambda name: Path(sys.executable))
    monkeypatch.chdir(tmp_path)
    feed = feeds.fill(services, ARRAY_JSON, 40_960)
    done = Outcome(peer)
    done.add(runs.run(peer, feed, services, 20.0))
    assert done.good, done.problem
