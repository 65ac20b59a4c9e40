"""A trainer is asked to end at each phase of its loop, and the next one goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from faults.attempt import Attempt, Died, Ending, Plan
from faults.lab import Lab
from faults.run import Run

QUESTION = "does a trainer that is asked to end do so soon, with nothing lost?"
SAMPLE, FULL = 3, 18
NEEDS_STACK = False

PHASES = (
    *("after_fetch", "after_decode", "after_step", "after_begin", "after_produce"),
    *("after_send_offsets", "after_flush", "during_commit", "after_commit"),
)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
SOON = 2.0  # seconds to end, on a machine that has nothing else to do; in a commit as long as that may take
CROWDED = 3.0  # times as long where others work beside us
FLAGS = {"publish_every": 2, "batch_size": 128}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=6000 if plan.sample else 40_000)
    unkilled = lab.reference(topic, **FLAGS)
    wanted = [(phase, number) for phase in PHASES for number in SIGNALS]
    plan.random.shuffle(wanted)
    left = wanted[: plan.attempts]
    run = lab.run(topic, **FLAGS)
    while left:
        phase, number = left.pop()
        yield asked(run, phase, number)
        if run.ended:
            yield run.ending(unkilled)
            run = lab.run(topic, **FLAGS)
    yield run.ending(unkilled)


def asked(run: Run, phase: str, number: signal.Signals) -> Attempt:
    """The signal comes while it is held at the phase, so that it finds it there when it goes on."""
    attempt = Attempt("trainer", phase, number.name, run.name)
    with attempt, run.start(f"{phase}=stop") as trainer:
        trainer.await_stopped()
        attempt.at = run.place()
        trainer.terminate() if number == signal.SIGTERM else trainer.interrupt()
        began = time.monotonic()
        trainer.thaw()
        code = trainer.await_exit()
        took = time.monotonic() - began
        attempt.detail = f"ended after {took:.2f} s"
        if code != 130:
            raise Died(trainer.state())
        if took > SOON * CROWDED:
            attempt.fail(f"it took {took:.1f} s to end")
        attempt.counted = True
    return attempt
