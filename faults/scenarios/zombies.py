"""A second trainer takes a run over while the first is frozen in the middle of its work; then the first wakes up."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.lab import Lab, import_seconds
from faults.run import Run, Trainer

QUESTION = "does a superseded trainer stop, and does nothing count of what it still tries?"
SAMPLE, FULL = 4, 50
NEEDS_STACK = False

# Phase: between which counts a trainer stays there. It has committed by then, which ends the duel before.
PHASES = {
    "after_fetch": (2, 3),
    "after_step": (4, 8),
    "after_begin": (3, 6),
    "after_produce": (3, 6),
    "after_send_offsets": (3, 6),
    "after_flush": (3, 6),
    "during_commit": (3, 6),
    "after_commit": (3, 6),
    "random": (0, 0),
}
LONGEST = 0.08  # seconds from its first commit to the moment at which one is frozen at random
FLAGS = {"publish_every": 2, "batch_size": 128}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=40_000 if plan.sample else 120_000)
    unkilled = lab.reference(topic, **FLAGS)
    left = plan.attempts
    while left:
        run = lab.run(topic, **FLAGS)
        for attempt in duels(run, left, plan):
            left -= attempt.verdict != "not counted"
            yield attempt
        yield run.ending(unkilled)


def duels(run: Run, most: int, plan: Plan) -> Iterator[Attempt]:
    """Each trainer supersedes the one before and is superseded by the next, until one comes to the end of the log."""
    older = Duellist(run, plan)
    for _ in range(most):
        attempt = Attempt(run.backend, older.phase, "SIGSTOP, superseded, SIGCONT", run.name)
        attempt.detail = older.told
        newer = None
        with attempt, older.trainer:
            if older.stays() and not run.ended:
                attempt.at = run.place()
                newer = Duellist(run, plan)
                attempt.counted = superseded(older.trainer, newer.trainer, attempt)
                attempt.restart_seconds = newer.trainer.first_commit
                attempt.import_seconds = import_seconds(run.backend)
        yield attempt
        if newer is None or attempt.fault:
            break
        older = newer
    older.trainer.end()


def superseded(older: Trainer, newer: Trainer, attempt: Attempt) -> bool:
    """Wakes the older one once the newer has committed; False where that one had nothing left to commit, or was to stop
    at a phase that it has reached before.
    """
    if not newer.commits():
        return False
    older.thaw()
    attempt.note(older.expect_fenced())
    return True


class Duellist:
    """A trainer that will stay at a phase."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self.phase = plan.random.choice(list(PHASES))
        self.delay = plan.random.uniform(0, LONGEST)
        count = plan.random.randint(*PHASES[self.phase])
        at = "" if self.phase == "random" else f"{self.phase}:{count}=stop"
        self.told = at or f"{self.delay * 1000:.0f} ms after its first commit"
        self.trainer = run.start(at)

    def stays(self) -> bool:
        """Whether it is frozen now; False where it has come to the end of the log before."""
        if self.phase != "random":
            return self.trainer.stops()
        if not self.trainer.commits():
            return False
        time.sleep(self.delay)
        self.trainer.freeze()
        return self.trainer.alive
