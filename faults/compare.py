"""What a run is held to when all its accidents are over: the bits of the unkilled run, and then the judge."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from faults.attempt import Ending
from faults.judge import Verdict, verdict
from trainers.chain import WeightsRecord

if TYPE_CHECKING:
    from faults.run import Run

# Fields of the last record that accidents must leave alone, beside its tensors.
SAME = ("step", "epoch", "position", "records_trained", "records_rejected", "commits", "reason")


def hash_of(record: WeightsRecord) -> str:
    """SHA-256 of all tensors: weights, state of the optimizer, of the scaler, of the metrics. Of the chain's own hashes
    each run has others, since they name the run.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(record.tensors.items()):
        digest.update(f"{name}{tensor.dtype.str}{tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def differences(last: WeightsRecord, expected: WeightsRecord) -> list[str]:
    """One line for each tensor and field in which the two records differ."""
    found = []
    for name in sorted({*last.tensors, *expected.tensors}):
        mine, other = last.tensors.get(name), expected.tensors.get(name)
        if mine is None or other is None or mine.tobytes() != other.tobytes():
            found.append(f"WRONG_WEIGHTS: tensor {name!r} is not that of the unkilled run")
    for name in SAME:
        mine, other = getattr(last, name), getattr(expected, name)
        if mine != other:
            found.append(f"OTHER_END: {name} is {mine}, and {other} in the unkilled run")
    return found


def compared(run: Run, last: WeightsRecord, expected: WeightsRecord) -> Ending:
    """The ending of a run that has reached its last record."""
    said = judged(run)
    faults = [*differences(last, expected), *said.faults]
    kinds = [fault.split(":")[0] for fault in faults]
    return Ending(
        run.name,
        faults,
        lost=kinds.count("LOST"),
        repeated=kinds.count("REPEATED"),
        torn=kinds.count("TORN") + kinds.count("BROKEN_CHAIN"),
        sha256=hash_of(last),
        expected=hash_of(expected),
        counted=said.counted,
        unjudged=said.unjudged,
    )


def judged(run: Run) -> Verdict:
    """What the judge says, which reads the topics by itself and imports nothing of ours."""
    services, topic = run.topic.services, run.topic
    return verdict(
        services.bootstrap_servers,
        services.schema_registry_url,
        run.name,
        topic.weights,
        topic.dead,
    )
