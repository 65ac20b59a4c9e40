"""What a user can get wrong in a job: one line each, naming the flag, before any service is asked."""

from __future__ import annotations

import pytest

from gradstream.errors import UsageError
from trainers.__main__ import job, parser
from trainers.job import FULL, Job


def described(*flags: str) -> Job:
    return job(parser().parse_args(["--source", "t", "--target", "Y", *flags]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "0"], "--batch-size 0: give a whole number from 1, or full"),
        (["--batch-size", "-1"], "--batch-size -1: give a whole number"),
        (["--batch-size", "1.5"], "--batch-size 1.5: give a whole number"),
        (["--learning-rate", "nan"], "--learning-rate nan: give a number above 0"),
        (["--learning-rate", "0"], "--learning-rate 0: give a number above 0"),
        (["--learning-rate", "-1"], "--learning-rate -1: give a number above 0"),
        (["--learning-rate", "inf"], "--learning-rate inf: give a number above 0"),
        (["--learning-rate", "fast"], "--learning-rate fast: give a number"),
        (["--epochs", "0"], "--epochs 0: give"),
        (["--epochs", "1e3"], "--epochs 1e3: give a whole number"),
        (["--tolerance", "nan"], "--tolerance nan: give a number from 0"),
        (["--patience", "0"], "--patience 0: give"),
        (["--max-steps", "0"], "--max-steps 0: give"),
        (["--max-seconds", "-1"], "--max-seconds -1: give"),
        (["--publish-every", "0"], "--publish-every 0: give"),
        (["--publish-every", "soon"], "--publish-every soon: give a time such as 250ms"),
        (["--max-wait", "3"], "--max-wait 3: give a time"),
        (["--features", "A,Y"], "--features Y: it is the target"),
        (["--features", "A,B,A"], "--features: a column is named twice"),
        (["--run", "a b"], "--run a b: give 1 to 200 letters"),
        (["--mode", "live", "--epochs", "2"], "--mode live has no end"),
        (["--mode", "live", "--batch-size", "full"], "--mode live has no end"),
    ],
)
def test_bad_values(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        described(*flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_flags_become_a_job() -> None:
    made = described("--batch-size", "full", "--publish-every", "250ms", "--features", "A, B")
    assert (made.batch_size, made.publish_seconds, made.publish_steps) == (FULL, 0.25, None)
    assert made.features == ("A", "B")
    assert made.in_epochs
    assert made.run_id == "t-linear"
    assert described("--publish-every", "100").publish_steps == 100
    assert not described().in_epochs


def test_configuration_hash_moves_with_what_decides_the_numbers_only() -> None:
    plain = Job("t", "Y")
    same = Job("t", "Y", publish_seconds=9.0, max_seconds=1.0)
    other = Job("t", "Y", learning_rate=0.02)
    features = ("A",)
    assert plain.configuration_hash(features) == same.configuration_hash(features)
    assert plain.configuration_hash(features) != other.configuration_hash(features)
    assert plain.configuration_hash(features) != plain.configuration_hash(("B",))
