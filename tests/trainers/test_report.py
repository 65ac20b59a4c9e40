"""What the train command says at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gradstream.errors import DataError
from trainers.__main__ import check_trained
from trainers.job import Job
from trainers.loop import Result


def result(trained: int, rejected: int) -> Result:
    record: Any = SimpleNamespace(records_trained=trained, records_rejected=rejected)
    return Result("r", {}, "end of the log", cast(Any, record), trained, 1.0)


def test_a_run_that_could_use_nothing_is_an_error_that_shows_where_to_look() -> None:
    with pytest.raises(DataError, match=r"NOTHING_TRAINED: all 3 records of t .*PRINT") as caught:
        check_trained(Job("t", "Y"), result(0, 3))
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(("trained", "rejected"), [(1, 3), (0, 0), (5, 0)])
def test_other_runs_are_not(trained: int, rejected: int) -> None:
    check_trained(Job("t", "Y"), result(trained, rejected))
