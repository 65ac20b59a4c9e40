"""A trainer is killed at each phase of its loop and at random moments, and started again, until it is through."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.lab import Lab, import_seconds, installed
from faults.run import Run
from trainers.chain import WeightsRecord

QUESTION = "does a trainer that is killed anywhere end at the bits of one that nobody killed?"
SAMPLE, FULL = 11, 300
NEEDS_STACK = False

# Phases of the trainer, and the highest count at which one is killed there: a fetch feeds many transactions.
PHASES = {
    "after_fetch": 3,
    "after_decode": 3,
    "after_step": 9,
    "after_begin": 6,
    "after_produce": 6,
    "after_send_offsets": 6,
    "after_flush": 6,
    "during_commit": 6,
    "after_commit": 6,
}
RANDOM = "random"
LONGEST = 0.08  # seconds from a trainer's first commit to a random kill
OTHERS = ("numba", "jax", "tensorflow", "torch")
FLAGS = {"publish_every": 2, "batch_size": 128}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=40_000 if plan.sample else 120_000)
    for backend, phases in share(plan).items():
        flags = {"backend": backend, **FLAGS}
        unkilled = lab.reference(topic, **flags)
        while phases:  # a run that comes to its end makes room for the next
            yield from chain(lab.run(topic, **flags), phases, plan, unkilled)


def share(plan: Plan) -> dict[str, list[str]]:
    """The phases at which each backend is killed: of 300 kills 200 hit NumPy, 40 of them at random, and 25 each other
    backend that is installed. A sample hits NumPy only.
    """
    others = [] if plan.sample else installed(OTHERS)
    each = plan.attempts // 12
    counts = {"numpy": plan.attempts - len(others) * each, **dict.fromkeys(others, each)}
    return {backend: mixed(count, plan) for backend, count in counts.items() if count}


def mixed(count: int, plan: Plan) -> list[str]:
    """So many phases in any order: each as often as the others, and twice as many random moments as one has."""
    each = max(1, count // (len(PHASES) + 2))
    wanted = [*(phase for phase in PHASES for _ in range(each))][:count]
    wanted += [RANDOM] * (count - len(wanted))
    plan.random.shuffle(wanted)
    return wanted


def chain(
    run: Run, phases: list[str], plan: Plan, unkilled: WeightsRecord
) -> Iterator[Attempt | Ending]:
    """Kills one trainer of a run after another, at phases taken off the list, until it is empty or the run is over."""
    last: Attempt | None = None
    while phases:
        attempt = killed(run, phases[-1], plan)
        if last is not None:
            yield resumed(last, run)
        if not attempt.counted and not attempt.fault:  # the log has ended before that moment came
            yield attempt
            last = None
            break
        phases.pop()
        last = attempt
        if attempt.fault:
            break
    ending = run.ending(unkilled)
    if last is not None:
        yield resumed(last, run)
    yield ending


def killed(run: Run, phase: str, plan: Plan) -> Attempt:
    """One start of a trainer, which goes on from where the last one was killed, and its death."""
    attempt = Attempt(run.backend, phase, "SIGKILL", run.name)
    if phase == RANDOM:
        delay = plan.random.uniform(0, LONGEST)
        attempt.detail = f"{delay * 1000:.0f} ms after its first commit"
        with attempt, run.start() as trainer:
            trainer.await_first_commit()
            time.sleep(delay)
            attempt.counted = trainer.kill()
            attempt.at = run.place()
    else:
        attempt.detail = f"{phase}:{plan.random.randint(1, PHASES[phase])}"
        with attempt, run.start(attempt.detail) as trainer:
            attempt.counted = trainer.await_signal(signal.SIGKILL) and trainer.at_failpoint
            attempt.at = run.place()
    if run.ended:  # it died with nothing left to do, which shows nothing
        attempt.counted = False
    return attempt


def resumed(attempt: Attempt, run: Run) -> Attempt:
    """The attempt, with the time that the trainer after it took."""
    attempt.restart_seconds = run.trainers[-1].first_commit
    attempt.import_seconds = import_seconds(run.backend)
    return attempt
