"""What the train command says at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gradstream.errors import DataError
from trainers.__main__ import check_trained, report
from trainers.job import Job
from trainers.loop import Result


def result(
    trained: int, rejected: int, reason: str = "end of the log", unpublished: int = 0, **more: float
) -> Result:
    record: Any = SimpleNamespace(
        step=7,
        metrics={"prequential/rmse": 0.25},
        sha256="0" * 64,
        records_trained=trained,
        records_rejected=rejected,
    )
    return Result(
        run="r",
        weights={},
        reason=reason,
        record=cast(Any, record),
        trained=trained,
        unpublished=unpublished,
        seconds=1.0,
        constants=more,
    )


def test_a_run_that_could_use_nothing_is_an_error_that_shows_where_to_look() -> None:
    with pytest.raises(
        DataError, match=r"NOTHING_TRAINED: all 3 records of t .*gradstream dlq list"
    ) as caught:
        check_trained(Job("t", "Y"), result(0, 3))
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(("trained", "rejected"), [(1, 3), (0, 0), (5, 0)])
def test_other_runs_are_not(trained: int, rejected: int) -> None:
    check_trained(Job("t", "Y"), result(trained, rejected))


def test_a_limit_before_the_first_step_is_no_error() -> None:
    check_trained(Job("t", "Y"), result(0, 3, "limit: 1 seconds"))
    check_trained(Job("t", "Y"), result(0, 3, "interrupted"))


def test_it_tells_what_was_predicted_and_what_never_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(Job("t", "Y"), result(5, 0, X2=7.5), [])
    told = capsys.readouterr().err
    assert "predicted before it was trained on: rmse 0.25" in told
    assert "CONSTANT_FEATURE: X2 was 7.5 in all records here" in told


@pytest.mark.parametrize(
    ("unpublished", "said"),
    [(0, "all of this is committed"), (12, "12 of these records could not be published")],
)
def test_ctrl_c_tells_what_is_committed(
    capsys: pytest.CaptureFixture[str], unpublished: int, said: str
) -> None:
    report(Job("t", "Y"), result(5, 0, "interrupted", unpublished), ["--source", "t"])
    told = capsys.readouterr().err
    assert said in told
    assert "go on with: gradstream train --source t" in told
