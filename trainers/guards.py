"""What stops a run rather than let it learn or publish something wrong: each a check that raises one line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradstream.errors import ConfigError, DataError, RetryError
from gradstream.wire.records import TopicPartition
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.job import Job
from trainers.models import Floats

EXPLODED = 1e12  # times the target's mean square: no descent comes back from there


def check_losses(losses: Floats, X: Floats, y: Floats, step: int, rate: float) -> None:
    """Raises:
    ConfigError: DIVERGED when a loss has exploded, with the step and a rate that would do.
    """
    limit = EXPLODED * (float(np.mean(np.square(y))) + 1.0)
    bad = np.flatnonzero(~(losses <= limit))
    if not len(bad):
        return
    # Descent on a squared error is stable below 1 / (largest eigenvalue of XᵀX / n); half of it is fast and safe.
    with np.errstate(all="ignore"):
        curvature = float(np.linalg.eigvalsh(X.T @ X / len(y))[-1])
    if np.isfinite(curvature) and curvature > 0:
        advice = f"try --learning-rate {0.5 / curvature:.1g}, or scale the features"
    else:
        advice = "scale the features"
    raise ConfigError(
        "DIVERGED",
        f"the loss exploded at step {step + int(bad[0]) + 1} ({losses[bad[0]]:.3g}) with learning rate {rate:g}; "
        f"nothing since the last publication counts; {advice}",
    )


def check_finite(tensors: Mapping[str, Floats], step: int, rate: float) -> None:
    """Raises:
    ConfigError: DIVERGED when a weight is not finite.
    """
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ConfigError(
                "DIVERGED",
                f"{name!r} is not finite after step {step} with learning rate {rate:g}; "
                "nothing since the last publication counts; try a tenth of the rate, or scale the features",
            )


def check_retention(
    starts: Mapping[TopicPartition, int], lows: Mapping[TopicPartition, int]
) -> None:
    """Raises:
    DataError: OFFSET_LOST when the log no longer has what comes next, PARTITIONS_ADDED when it has grown.
    """
    for at, low in lows.items():
        if starts and at not in starts:
            raise DataError(
                "PARTITIONS_ADDED",
                f"topic {at[0]!r} has a new partition {at[1]}, which changes the order of training; "
                "train with a new --run",
            )
        if starts and starts[at] < low:
            raise DataError(
                "OFFSET_LOST",
                f"the run stands at offset {starts[at]} of {at[0]!r} partition {at[1]}, and the log now begins "
                f"at {low}: records were removed before they were trained on; train with a new --run",
            )


def check_same_log(last: WeightsRecord, log: list[Range]) -> None:
    """Raises:
    DataError: LOG_CHANGED when what was read again is not what the epochs began with.
    """
    before = sum(r.records for r in last.inputs)
    now = sum(r.records for r in log)
    if before != now:
        raise DataError(
            "LOG_CHANGED",
            f"the epochs of run {last.run!r} began over {before} good records, and the same offsets now hold {now}; "
            "train with a new --run",
        )


def fenced(job: Job) -> RetryError:
    return RetryError(
        "FENCED",
        f"another trainer of run {job.run_id!r} has taken over; this one stops, and nothing that it had not "
        "published counts. To train two models side by side, give each a --run of its own",
    )
