"""A stranger joins the group of a trainer that is in the middle of a transaction, takes partitions, and leaves again."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Hang, Plan
from faults.lab import Lab
from faults.run import Run, Trainer
from gradstream.wire.reader import Reader, open_reader

QUESTION = "does a trainer that loses partitions in mid-transaction train on each record once?"
SAMPLE, FULL = 2, 50
NEEDS_STACK = False

PHASES = (
    "after_begin",
    "after_produce",
    "after_send_offsets",
    "after_flush",
    "during_commit",
    "after_commit",
)
# Frozen, the trainer hears of the stranger when it goes on; asleep, its transaction outlives the rebalance.
ACTIONS = {"stop": "SIGSTOP, stranger joins", "sleep 6": "asleep for 6 s, stranger joins"}
FLAGS = {"publish_every": 2, "batch_size": 16}
JOIN = 40.0  # seconds that a stranger may wait for partitions


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=40_000 if plan.sample else 120_000)
    unkilled = lab.reference(topic, **FLAGS)
    left = plan.attempts
    while left:
        run = lab.run(topic, **FLAGS)
        while left and not run.ended:
            attempt = joined(run, plan)
            left -= attempt.verdict != "not counted"
            yield attempt
            if attempt.fault:
                break
        yield run.ending(unkilled)


def joined(run: Run, plan: Plan) -> Attempt:
    """One start of a trainer, and one stranger. It is killed in the end, so that the next one has something to do."""
    phase, action = plan.random.choice(PHASES), plan.random.choice(list(ACTIONS))
    place = f"{phase}:{plan.random.randint(2, 6)}={action}"
    attempt = Attempt(run.backend, phase, ACTIONS[action], run.name, detail=place)
    with attempt, run.start(place) as trainer:
        if trainer.reaches() and not run.ended:
            attempt.at = run.place()
            visit(run, trainer)
            if trainer.commits():
                attempt.restart_seconds = trainer.await_commit()
            attempt.counted = True
    return attempt


def visit(run: Run, trainer: Trainer) -> None:
    """A member without a name of its own joins, lets the trainer go on, waits for its share, and leaves."""
    group = f"gradstream-train-{run.name}-{run.topic.name}"
    with open_reader(run.topic.services, [run.topic.name], group) as stranger:
        stranger.fetch(1, 0.1)  # asks to join
        trainer.thaw()
        wait_for_share(stranger, trainer)


def wait_for_share(stranger: Reader, trainer: Trainer) -> None:
    deadline = time.monotonic() + JOIN
    while not stranger.assignment():
        stranger.fetch(1, 0.1)
        trainer.look()
        if time.monotonic() > deadline:
            raise Hang(f"the stranger got no partition in {JOIN:.0f} s; {trainer.state()}")
