"""What stops a run rather than let it learn or publish something wrong: each a check that raises one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, RetryError
from gradstream.wire.kafka import group_members, topic_ids
from gradstream.wire.records import TopicPartition
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.job import Job
from trainers.models import Floats
from trainers.preflight import Plan

EXPLODED = 1e12  # times the target's mean square: no descent comes back from there
LOST = ("OFFSET_LOST", "TORN_TRANSACTION")  # what a topic of the same name would explain, too
JOINING = 3.0  # seconds for the group's answer to a member that joins


def check_losses(
    losses: Floats, X: Floats, y: Floats, step: int, plan: Plan, resumed: bool = False
) -> None:
    """Looks for a loss that has exploded.

    Args:
        resumed: whether these are the first steps from published weights.

    Raises:
        ConfigError: DIVERGED, with the step and a rate that would do.
    """
    limit = np.inf  # of exact answers, which nothing can make explode
    if not plan.job.exact:
        # A squared error grows from the size of what is predicted; a log loss from nothing.
        size = 0.0
        if plan.model.loss == "mean_squared_error":
            size = float(np.mean(np.square(X if plan.model.reconstructs else y)))
        limit = EXPLODED * (size + 1.0)
    bad = np.flatnonzero(~(np.isfinite(losses) & (losses <= limit)))
    if not len(bad):
        return
    if resumed and bad[0] == 0:
        raise ConfigError(
            "DIVERGED",
            f"the loss of the weights that run {plan.job.run_id!r} has published at step {step} is {losses[0]:.3g}: "
            f"they have exploded already, so train with a new --run; {_advice(X, plan)}",
        )
    raise ConfigError(
        "DIVERGED",
        f"the loss exploded at step {step + int(bad[0]) + 1} ({losses[bad[0]]:.3g}) with learning rate "
        f"{plan.job.learning_rate:g}; nothing since the last publication counts; {_advice(X, plan)}",
    )


def _advice(X: Floats, plan: Plan) -> str:
    scale = "scale the features (--standardise)"
    rate = f"a tenth of the rate, --learning-rate {plan.job.learning_rate / 10:.1g}"
    if plan.model.layers:
        return f"try {rate}" + ("" if plan.job.standardise else f", or {scale}")
    # Descent on a squared error is stable below 1 / (largest eigenvalue of XᵀX / n); half of it is fast and safe. The
    # curvature of a log loss is a quarter of that at most, so the same rate is safer still.
    with np.errstate(all="ignore"):
        products = X.T @ X / len(X)
    curvature = float(np.linalg.eigvalsh(products)[-1]) if np.isfinite(products).all() else 0.0
    if curvature > 0:
        rate = f"--learning-rate {min(0.5 / curvature, plan.job.learning_rate / 10):.1g}"
    return f"try {rate}" + ("" if plan.job.standardise else f", or {scale}")


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
    starts: Mapping[TopicPartition, int],
    lows: Mapping[TopicPartition, int],
    accept_partitions: bool = False,
) -> None:
    """Raises:
    DataError: OFFSET_LOST when the log no longer has what comes next, PARTITIONS_ADDED when it has grown.
    """
    for at, low in lows.items():
        if starts and at not in starts and not accept_partitions:
            raise DataError(
                "PARTITIONS_ADDED",
                f"topic {at[0]!r} has a new partition {at[1]}, which changes the order of training; "
                "go on over all of them with --accept-partitions, or train with a new --run",
            )
        if starts.get(at, low) < low:
            raise DataError(
                "OFFSET_LOST",
                f"the run stands at offset {starts[at]} of {at[0]!r} partition {at[1]}, and the log now begins at {low}",
            )


def lost(plan: Plan, error: DataError) -> DataError:
    """What to say of offsets that the log does not have, or that are not committed any more: it may be another topic of the
    same name, and one that is deleted takes along what was committed for it.

    Raises:
        DataError: UNKNOWN_TOPIC where it is gone.
    """
    job = plan.job
    now = topic_ids(plan.services, [job.source])[job.source]
    if now != plan.topic_id:
        return DataError(
            "TOPIC_RECREATED",
            f"topic {job.source!r} was deleted and created again under run {job.run_id!r} (id {plan.topic_id}, now "
            f"{now}), so its offsets mean nothing now; train with a new --run",
        )
    if error.code != "OFFSET_LOST":
        return error
    return DataError(
        "OFFSET_LOST",
        f"records were removed from {job.source!r} before run {job.run_id!r} was trained on them ({error.message}); "
        "train with a new --run",
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


def check_kept(last: WeightsRecord | None, committed: WeightsRecord | None) -> None:
    """Args:
        last: the newest record in the topic.
        committed: the newest that this process has committed.

    Raises:
        DataError: CHAIN_BROKEN when it is gone.
    """
    if committed is not None and (last is None or last.step < committed.step):
        raise DataError(
            "CHAIN_BROKEN",
            f"run {committed.run!r} has committed weights of step {committed.step}, and the newest in their topic are "
            f"{f'of step {last.step}' if last else 'gone'}; train with a new --run",
        )


def check_ours(
    newest: WeightsRecord | None, ours: Iterable[WeightsRecord | None], job: Job
) -> None:
    """Looks for weights of a trainer that took the run over while we were out of reach for so long that the group gave
    us up: by the time that we have joined it again, it tells us apart no more.

    Args:
        newest: the newest record in the topic.
        ours: that we have begun with or written, whether or not it has been committed.

    Raises:
        RetryError: FENCED.
    """
    if newest is not None and newest.sha256 not in {record.sha256 for record in ours if record}:
        raise fenced(job)


def check_alone(job: Job, services: Services) -> None:
    """Raises:
    RetryError: GROUP_SHARED when others are in the group, so that it will not give us all partitions.
    """
    others = [member for member in group_members(services, job.group) if member.name != job.group]
    if others:
        raise RetryError(
            "GROUP_SHARED",
            f"{len(others)} other member(s) are in group {job.group!r}, such as {others[0].client} at {others[0].host} "
            f"({others[0].id}), and one trainer cuts the batches of all partitions; stop them, or train with another "
            "--run",
        )


def check_not_replaced(
    job: Job, services: Services, known: str, present: Callable[[], str]
) -> None:
    """Looks for a trainer of the run that was started after us, while we were stopped or out of reach.

    Args:
        known: our last id in the group.
        present: tells our id now, another where the group has given us up meanwhile; empty while we join again.

    Raises:
        RetryError: FENCED.
    """
    others = [m.id for m in group_members(services, job.group) if m.name == job.group]
    if not others or known in others:
        return
    # It may be ourselves who have just joined, and the answer is on its way. Our id is asked for after theirs.
    deadline = time.monotonic() + JOINING
    while not (ours := present()) and time.monotonic() < deadline:
        time.sleep(0.02)
    if ours not in others:
        raise fenced(job)


def fenced(job: Job) -> RetryError:
    return RetryError(
        "FENCED",
        f"another trainer of run {job.run_id!r} has taken over; this one stops, and nothing that it had not "
        "published counts. To train two models side by side, give each a --run of its own",
    )
