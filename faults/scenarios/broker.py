"""The broker is killed or frozen while a trainer is at a phase of its transaction; the trainer has to see it through."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.lab import Lab
from faults.run import Run

QUESTION = "does a trainer outlive a broker that is killed or frozen, without a hand and without a lost record?"
SAMPLE, FULL = 3, 50
NEEDS_STACK = True

PHASES = (
    *("after_step", "after_begin", "after_produce", "after_send_offsets"),
    *("after_flush", "during_commit", "after_commit"),
)
KILL = 0.0
# Of five accidents three are kills. The longer freezes outlast the transaction's timeout (20 s), or the commit's (30 s), too.
SECONDS = (
    *(KILL, 5.0, KILL, KILL, 5.0, KILL, 5.0, KILL, KILL, 24.0, KILL, 5.0, KILL, KILL, 5.0),
    *(KILL, 5.0, KILL, KILL, 5.0, KILL, 30.0, KILL, KILL, 90.0),
)
SAMPLED: tuple[float, ...] = (KILL, 5.0, KILL)
RECOVERY = 90.0  # seconds after which a trainer whose broker is back counts as hanging
FLAGS = {"publish_every": 2, "batch_size": 128}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=40_000 if plan.sample else 120_000)
    unkilled = lab.reference(topic, **FLAGS)
    pattern = SAMPLED if plan.sample else SECONDS
    left = [pattern[number % len(pattern)] for number in range(plan.attempts)]
    while left:
        run = lab.run(topic, **FLAGS)
        while left and not run.ended:
            attempt = accident(lab, run, left[-1], plan)
            if attempt.counted or attempt.fault:
                left.pop()
                yield attempt
            if attempt.fault:
                lab.heal()
                break
        yield run.ending(unkilled)


def accident(lab: Lab, run: Run, frozen: float, plan: Plan) -> Attempt:
    """A trainer is held at a phase while its broker goes away, and must commit again when it is back."""
    phase, count = plan.random.choice(PHASES), plan.random.randint(2, 6)
    signal = f"SIGSTOP {frozen:.0f} s" if frozen else "SIGKILL"
    attempt = Attempt("broker", phase, signal, run.name)
    with attempt, run.start(f"{phase}:{count}=stop") as trainer:
        if not trainer.stops():
            return attempt  # the log has ended before
        attempt.at = run.place()
        if frozen:
            lab.broker.freeze()
            trainer.thaw()
            time.sleep(frozen)
            lab.broker.thaw()
        else:
            lab.broker.kill()
            trainer.thaw()
            lab.broker.start()
        attempt.restart_seconds = trainer.await_commit(RECOVERY)
        attempt.counted = True
    return attempt
