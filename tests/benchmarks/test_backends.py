"""``gradstream bench backends``: real processes, small jobs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import wording
from benchmarks.__main__ import main
from benchmarks.backends import compare, tables
from benchmarks.backends.cases import (
    BARE,
    EXACT,
    GOALS,
    GOLDEN,
    GOLDEN_WEIGHTS,
    MINI,
    WIDTHS,
    Case,
    cases,
    for_backend,
    takes_part,
)
from benchmarks.backends.child import Child
from benchmarks.backends.outcome import Comparison, Outcome
from gradstream.errors import UnavailableError, UsageError


def found(case: str, **seconds: float) -> Comparison:
    """A case of which each backend's best run took so long."""
    made = Comparison(next(each for each in cases() if each.name == case), "float64")
    for name, best in seconds.items():
        outcome = Outcome(made.case, name, "cpu", seconds=[2 * best, best])
        made.outcomes.append(outcome)
    return made


def test_table_record_and_picture_of_a_real_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backends", "python", "--quick", "--device", "cpu", "--out", str(tmp_path)]
    code = main(words)
    shown = capsys.readouterr()
    record = json.loads((tmp_path / "backends.json").read_text())
    assert code == 0, shown.err
    by_name = {case["case"]: case for case in record["cases"]}
    assert list(by_name) == [case.name for case in cases()]
    for name, case in by_name.items():
        done = {outcome["backend"]: outcome for outcome in case["outcomes"]}
        assert set(done) == {"numpy", "python"} | ({BARE} if name == MINI else set())
        assert not any(outcome["problem"] for outcome in done.values())
        assert done["numpy"]["ratio"] == 1
        assert 0 < done["python"]["ratio"] < 1
        assert all(len(outcome["seconds"]) >= 1 for outcome in done.values())
        assert all(outcome["first_seconds"] > 0 for outcome in done.values())
    assert by_name[GOLDEN]["features"] == 1
    assert record["machine"]["versions"]["numpy"] == np.__version__
    assert record["published_seconds"]["NumPy"] == 0.319
    assert (tmp_path / "backends.png").read_bytes().startswith(b"\x89PNG")
    assert "golden job: 10,000 rows, 10,000 epochs" in shown.out
    assert "published, on another machine: pure Python 18.65 s" in shown.out
    assert "WRONG" not in shown.out


def test_a_wrong_answer_is_shown_and_is_exit_code_1() -> None:
    comparison = found(GOLDEN, numpy=1, torch=1)
    right, wrong = comparison.outcomes
    right.weights = {"w": np.array(GOLDEN_WEIGHTS)}
    wrong.weights = {"w": np.array(GOLDEN_WEIGHTS) + 2e-8}
    comparison.check()
    assert right.problem == ""
    assert wrong.problem.startswith("WRONG: [2.9598")
    assert compare.code([comparison], quick=True) == 1
    assert "WRONG" in str(list(tables.in_full(comparison).columns[1].cells)[1])


@pytest.mark.parametrize("bad", [1.001, np.nan])
def test_other_answers_are_compared_with_numpy(bad: float) -> None:
    comparison = found("width 10", numpy=1, jax=1, torch=1)
    for outcome in comparison.outcomes:
        outcome.weights = {"w": np.linspace(1, 2, 10)}
    comparison.outcomes[2].weights["w"] = np.linspace(1, 2, 10) * bad
    comparison.check()
    problems = [outcome.problem.partition(":")[0] for outcome in comparison.outcomes]
    assert problems == ["", "", "WRONG"]


def test_goals_are_ratios_of_best_runs_in_one_run() -> None:
    comparison = found("width 100", numpy=1, jax=0.9, tensorflow=0.4, torch=3)
    ((goal, best, ratio),) = comparison.goals()
    assert (goal.ratio, best.backend, ratio) == (2, "tensorflow", 2.5)
    assert compare.code([comparison], quick=False) == 0
    missed = found(MINI, numpy=1, numba=0.5, **{BARE: 0.75})
    told = {goal.backends: (goal.reference, ratio) for goal, _, ratio in missed.goals()}
    assert told == {("numba",): ("numpy", 2), ("numpy",): (BARE, 0.75)}
    assert compare.code([missed], quick=False) == 1
    assert compare.code([missed], quick=True) == 0


def test_every_goal_is_for_a_case_and_every_case_fits_its_chunks() -> None:
    for quick in (False, True):
        made = {case.name: case for case in cases(quick)}
        assert {goal.case for goal in GOALS} <= set(made)
        for case in made.values():
            for name in ("numpy", "python"):
                each = for_backend(case, name, quick)
                assert each.rows % each.chunk == 0
                assert each.chunk % each.batch == 0
                assert each.records == each.steps * each.batch
    assert [case.features for case in cases() if "width" in case.name] == list(WIDTHS)
    assert [case.name for case in cases() if takes_part(EXACT, case)] == [GOLDEN]
    assert [case.name for case in cases() if takes_part(BARE, case)] == [MINI]


@pytest.fixture
def small() -> Case:
    return for_backend(cases(quick=True)[1], "python", quick=True)


def test_a_backend_that_cannot_do_it_says_why(tmp_path: Path, small: Case) -> None:
    child = Child("python", "cpu", "float32", tmp_path / "scratch")
    assert child.first(small)["skip"].startswith("BAD_DTYPE: --dtype float32: backend 'python'")
    child.close()


def test_a_process_that_dies_leaves_its_last_words(tmp_path: Path, small: Case) -> None:
    child = Child(BARE, "cpu", "float65", tmp_path / "scratch")
    assert child.first(small)["failed"].startswith("ended with 1: TypeError: ")
    assert child.again()["failed"].startswith("ended with 1: TypeError: ")
    child.close()


def test_bad_flags_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^UNKNOWN_BACKEND: no backend 'nunpy'; did you mean 'num"
    ):
        main(["backends", "nunpy"])
    with pytest.raises(UnavailableError, match=r"^NO_DEVICE: --device gpu:97: none of numpy has"):
        main(["backends", "numpy", "--quick", "--device", "gpu:97", "--out", str(tmp_path)])
    with pytest.raises(UsageError, match=r"^USAGE: .*'backend'"):
        main(["backend"])


def test_figures_are_short() -> None:
    assert [wording.times(each) for each in (168.2, 12.34, 1, 0.01234)] == [
        "168×",
        "12.3×",
        "1.00×",
        "0.012×",
    ]
    assert [wording.duration(each) for each in (12.34, 0.01234)] == ["12.3 s", "12.3 ms"]
