"""A trainer is asked to end at each phase of its loop, or finds no more memory, and the next one goes on."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil

from faults.attempt import Attempt, Died, Ending, Plan
from faults.lab import Lab
from faults.run import Run

QUESTION = (
    "does a trainer that is asked to end do so soon, and one without memory too, with nothing lost?"
)
SAMPLE, FULL = 3, 22
NEEDS_STACK = False

PHASES = (
    *("after_fetch", "after_decode", "after_step", "after_begin", "after_produce"),
    *("after_send_offsets", "after_flush", "during_commit", "after_commit"),
)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# No more memory from here on; then our line is the end, or the client's own where it is the client that finds none.
STARVED = ("after_fetch", "after_step", "after_flush", "after_commit")
NO_MEMORY = (69, -signal.SIGABRT)
SOON = 2.0  # seconds to end, on a machine that has nothing else to do; in a commit as long as that may take
CROWDED = 3.0  # times as long where others work beside us
FLAGS = {"publish_every": 2, "batch_size": 128}
Kind = Callable[[Run, str], Attempt]


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=6000 if plan.sample else 40_000)
    unkilled = lab.reference(topic, **FLAGS)
    kinds: list[tuple[Kind, str]] = [
        (partial(asked, number=number), phase) for phase in PHASES for number in SIGNALS
    ]
    if hasattr(resource, "prlimit"):  # Linux
        kinds += [(starved, phase) for phase in STARVED]
    plan.random.shuffle(kinds)
    run = lab.run(topic, **FLAGS)
    for make, phase in kinds[: plan.attempts]:
        yield make(run, phase)
        if run.ended:
            yield run.ending(unkilled)
            run = lab.run(topic, **FLAGS)
    yield run.ending(unkilled)


def asked(run: Run, phase: str, number: signal.Signals = signal.SIGTERM) -> Attempt:
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


def starved(run: Run, phase: str) -> Attempt:
    """From a phase on it is given no more memory than it has."""
    attempt = Attempt("trainer", phase, "RLIMIT_AS", run.name)
    with attempt, run.start(f"{phase}=stop") as trainer:
        trainer.await_stopped()
        attempt.at = run.place()
        most = psutil.Process(trainer.pid).memory_info().vms
        resource.prlimit(trainer.pid, resource.RLIMIT_AS, (most, most))
        trainer.thaw()
        code = trainer.await_exit()
        attempt.detail = f"exit code {code}: {trainer.last_words}"
        attempt.counted = code != 0  # else it had all that it needed
        if code and code not in NO_MEMORY:
            attempt.fail(trainer.state())
    return attempt
