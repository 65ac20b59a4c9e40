"""What the laboratory makes of attempts: what counts, what fails, and what people are shown."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from faults import __main__ as chaos
from faults.attempt import Attempt, Died, Ending, Hang, Plan
from faults.child import Child
from faults.compare import differences, hash_of
from faults.record import Account, Record
from faults.scenarios import kills
from faults.table import table
from gradstream.config import Services
from gradstream.errors import UsageError
from trainers.chain import WeightsRecord


def account(*made: Attempt | Ending, planned: int = 0) -> Account:
    attempts = [each for each in made if isinstance(each, Attempt)]
    endings = [each for each in made if isinstance(each, Ending)]
    return Account("kills", "?", planned or len(attempts), attempts, endings, finished=True)


def kill(run: str = "r", **more: object) -> Attempt:
    made = Attempt("numpy", "after_flush", "SIGKILL", run, counted=True)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def well(run: str = "r") -> Ending:
    return Ending(run, sha256="a", expected="a")


def test_what_is_raised_in_an_attempt_fails_it_and_nothing_else() -> None:
    with kill() as attempt:
        raise Hang("a commit did not happen in 60 s")
    assert attempt.verdict == "failed"
    assert attempt.fault == "Hang: a commit did not happen in 60 s"
    with pytest.raises(KeyboardInterrupt), kill() as attempt:
        raise KeyboardInterrupt
    assert not attempt.fault


def test_a_kill_that_hit_nothing_is_not_counted() -> None:
    missed = kill(counted=False)
    assert missed.verdict == "not counted"
    assert account(missed, well()).passed is False
    assert account(kill(), missed, well()).counted == 1


@pytest.mark.parametrize(
    ("said", "code", "odd"),
    [
        ("FENCED: another", "exit(75)", ""),
        ("rd_kafka_txn_set_state: Assertion", "abort()", "ended by an assertion of librdkafka"),
        ("malloc(): corrupted", "abort()", None),
        ("FENCED: another", "exit(70)", None),
    ],
)
def test_who_is_superseded_must_say_so(
    tmp_path: Path, said: str, code: str, odd: str | None
) -> None:
    program = f"import faulthandler, os, sys; faulthandler.enable(); print({said!r}, file=sys.stderr, flush=True); "
    services = Services("127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9")
    end = {"abort()": "os.abort()"}.get(code, f"sys.{code}")
    with Child([sys.executable, "-c", program + end], services, tmp_path / "log") as child:
        if odd is None:
            with pytest.raises(Died):
                child.expect_fenced()
        else:
            assert child.expect_fenced() == odd


def test_a_run_that_ends_badly_fails_all_its_attempts() -> None:
    bad = Ending("r", ["LOST: 3 records of rows/0"], lost=3, sha256="b", expected="a")
    judged = account(kill(), kill(), kill("other"), bad, well("other"))
    assert not judged.passed
    assert len(judged.failed) == 2
    assert judged.hashes == (1, 2)
    assert account(kill(), well()).passed


def test_what_was_broken_off_has_not_passed() -> None:
    stopped = account(kill(), kill("jax-run", subject="jax"), well())
    stopped.finished = False
    assert not stopped.passed
    assert [part.finished for part in stopped.by_subject()] == [True, False]  # no ending for JAX


def test_restarts_are_told_without_the_framework() -> None:
    slow = kill(restart_seconds=7.0, import_seconds=4.0)
    assert account(kill(restart_seconds=2.0), slow, kill(), well()).restarts == [2.0, 3.0]


def test_kills_are_shared_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "installed", list)
    full = kills.share(Plan(300, False, random.Random(1)))
    assert {backend: len(phases) for backend, phases in full.items()} == {
        "numpy": 200, "numba": 25, "jax": 25, "tensorflow": 25, "torch": 25,
    }  # fmt: skip
    assert full["numpy"].count(kills.RANDOM) >= 38
    assert all(full["numpy"].count(phase) >= 18 for phase in kills.PHASES)
    assert full == kills.share(Plan(300, False, random.Random(1)))
    assert full != kills.share(Plan(300, False, random.Random(2)))


def record(w: list[float]) -> WeightsRecord:
    blank: dict[str, object] = dict.fromkeys(WeightsRecord.__dataclass_fields__, 0)
    whole = {**blank, "tensors": {"w": np.array(w)}, "created": datetime.now(UTC), "commits": {}}
    return WeightsRecord(**whole)  # type: ignore[arg-type]


def test_one_bit_is_a_difference() -> None:
    one, other = record([1.0, 2.0]), record([1.0, np.nextafter(2.0, 3.0)])
    assert differences(one, record([1.0, 2.0])) == []
    assert differences(other, one) == ["WRONG_WEIGHTS: tensor 'w' is not that of the unkilled run"]
    assert hash_of(one) != hash_of(other)
    assert differences(replace(one, step=4), one) == [
        "OTHER_END: step is 4, and 0 in the unkilled run"
    ]


def test_a_scenario_that_cannot_go_on_fails_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempts(lab: object, plan: Plan) -> Iterator[Attempt | Ending]:
        yield kill()
        raise RuntimeError("no broker")

    module = SimpleNamespace(QUESTION="?", attempts=attempts)
    monkeypatch.setattr(chaos, "scenario", lambda name: module)
    kept = Record(tmp_path / "faults.jsonl", {})
    moved: list[Attempt] = []
    plan = Plan(3, True, random.Random(1))
    made = chaos.run_scenario("x", None, plan, 7, kept, moved.append)  # type: ignore[arg-type]
    assert (made.counted, made.passed, len(moved)) == (1, False, 1)
    assert made.broken == "cannot go on: RuntimeError: no broker"
    lines = [json.loads(line) for line in kept.path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["laboratory", "attempt", "scenario"]
    assert (lines[1]["scenario"], lines[1]["number"], lines[1]["seed"]) == ("x", 1, 7)
    assert lines[1]["verdict"] == "passed"
    assert lines[2]["faults"] == [made.broken]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(width: int) -> None:
    console = Console(width=width, record=True, file=None, quiet=False, force_terminal=False)
    long = [kill(restart_seconds=12.5), kill(subject="tensorflow", restart_seconds=3.0)]
    accounts = [account(*long, well(), planned=300), account(kill(fault="Hang"), planned=50)]
    accounts[1].scenario = "rebalances"
    with console.capture() as shown:
        console.print(table(accounts))
    text = shown.get()
    assert "…" not in text
    for words in ("kills", "  tensorflow", "2/300", "7.8 ≤ 12.5", "so far", "1 failed", "1/1"):
        assert words in text


def test_scenarios_are_known_by_their_files() -> None:
    known = chaos.names()
    assert known[:4] == ["unkilled", "kills", "zombies", "rebalances"]
    for name in known:
        module = chaos.scenario(name)
        assert module.QUESTION.endswith("?")
        assert 0 < module.SAMPLE <= module.FULL
    assert chaos.chosen(["zombies", "kills"]) == ["kills", "zombies"]
    with pytest.raises(UsageError, match="no scenario 'kill'"):
        chaos.chosen(["kill"])
    with pytest.raises(UsageError, match="--attempts 0: give a whole number, at least 1"):
        chaos.main(["kills", "--attempts", "0"])
