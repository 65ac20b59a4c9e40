"""A stranger joins the group of a trainer that is in the middle of a transaction, takes partitions, and leaves again."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Hang, Plan
from faults.lab import Lab
from faults.run import Run, Trainer
from gradstream.wire.reader import open_reader

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
# A trainer that is frozen hears of the stranger when it goes on, with a transaction of the generation before. Where only
# the transaction sleeps, the loop reads on, and the rebalance is over before the transaction is.
FROZEN, ASLEEP = "SIGSTOP", "transaction asleep"
ACTIONS = {FROZEN: "stop", ASLEEP: "sleep 8"}
FLAGS = {"publish_every": 2, "batch_size": 64}
READ_ON = {"publish_every": 200}  # steps, in which more is read than waits in memory
JOIN = 40.0  # seconds that a stranger may wait for partitions


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=100_000 if plan.sample else 400_000)
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
    phase, how = plan.random.choice(PHASES), plan.random.choice(list(ACTIONS))
    place = f"{phase}:{plan.random.randint(2, 3)}={ACTIONS[how]}"
    attempt = Attempt(run.backend, phase, f"{how}, stranger", run.name, detail=place)
    with attempt, run.start(place, READ_ON if how == ASLEEP else None) as trainer:
        if trainer.reaches() and not run.ended:
            attempt.at = run.place()
            if visited(run, trainer):
                attempt.detail += f", committed again after {trainer.await_commit():.1f} s"
                attempt.counted = True
    return attempt


def visited(run: Run, trainer: Trainer) -> bool:
    """A member without a name of its own joins, lets the trainer go on, waits for its share, and leaves; False where the
    trainer had come to its end before.
    """
    group = f"gradstream-train-{run.name}-{run.topic.name}"
    deadline = time.monotonic() + JOIN
    with open_reader(run.topic.services, [run.topic.name], group) as stranger:
        stranger.fetch(1, 0.1)  # asks to join
        trainer.thaw()
        while not stranger.assignment():
            if trainer.code == 0:
                return False
            if time.monotonic() > deadline:
                raise Hang(f"the stranger got no share in {JOIN:.0f} s; {trainer.state()}")
            stranger.fetch(1, 0.1)
            trainer.look()
    return True
