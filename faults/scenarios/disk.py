"""The disk is full under the rows that a trainer keeps for its epochs."""

from __future__ import annotations

import os
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.disks import small
from faults.lab import Lab

QUESTION = "does a trainer whose disk is full say so, and go on where there is room?"
SAMPLE, FULL = 1, 2
NEEDS_STACK = False
EPOCHS = {"epochs": 3, "batch_size": 128, "publish_every": 20}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    if os.geteuid() != 0:
        yield Attempt("disk", detail="not tried: only root may make a small disk of memory")
        return
    for _ in range(plan.attempts):
        yield from spill(lab)


def spill(lab: Lab) -> Iterator[Attempt | Ending]:
    """Epochs whose rows find no room stop with one line, and go on where there is room."""
    topic = lab.topic(rows=60_000)
    unkilled = lab.reference(topic, **EPOCHS)
    run = lab.run(topic, **EPOCHS)
    attempt = Attempt("trainer", "reading the log", "disk full", run.name)
    with attempt, small(lab.folder / "spill", 1) as folder:
        run.start(TMPDIR=str(folder)).expect("NO_SPACE", 69)
        attempt.counted = True
    yield attempt
    yield run.ending(unkilled)
