"""The wall clock of a trainer or of its broker jumps by an hour while a transaction is open, and back."""

from __future__ import annotations

from collections.abc import Iterator

from faults.attempt import Attempt, Died, Ending, Plan
from faults.clock import Clock, possible
from faults.lab import Lab
from faults.run import Run, Trainer

QUESTION = (
    "does a clock that jumps by an hour, forwards or backwards, change a weight or stop a trainer?"
)
SAMPLE, FULL = 2, 20
NEEDS_STACK = True

HOUR = 3600
SUBJECTS = "trainer", "broker"
HOURS = 1, -1
PHASES = "after_step", "after_begin", "after_produce", "after_send_offsets", "after_flush"
RECOVERY = 90.0  # seconds after which a trainer whose clock has jumped counts as hanging
FLAGS = {"publish_every": 2, "batch_size": 128}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    if why := possible():
        yield Attempt("clock", detail=f"not tried: {why}")
        return
    topic = lab.topic(rows=40_000 if plan.sample else 120_000)
    unkilled = lab.reference(topic, **FLAGS)
    clock = Clock(lab.folder / lab.name("clock"))
    jumps = [(SUBJECTS[n % 2], HOURS[n // 2 % 2]) for n in range(plan.attempts)]
    try:
        for subject in SUBJECTS:
            left = [hours for mine, hours in jumps if mine == subject]
            if left and subject == "broker":
                with clock.worn():
                    anew(lab)
            while left:
                run = lab.run(topic, **FLAGS)
                yield from several(run, clock, subject, left, plan)
                yield run.ending(unkilled)
    finally:
        anew(lab)  # with the real clock


def anew(lab: Lab) -> None:
    """The broker, with the environment that we have now."""
    lab.broker.kill()
    lab.broker.start()


def several(run: Run, clock: Clock, subject: str, left: list[int], plan: Plan) -> Iterator[Attempt]:
    """Jumps that are left, as many as there is room for before the run's end."""
    while left and not run.ended:
        attempt = jump(run, clock, subject, left[-1], plan)
        if attempt.counted or attempt.fault:
            left.pop()
            yield attempt
        if attempt.fault:
            return


def jump(run: Run, clock: Clock, subject: str, hours: int, plan: Plan) -> Attempt:
    """A trainer is held at a phase while the clock jumps, must commit, and see the clock put right as well."""
    phase, count = plan.random.choice(PHASES), plan.random.randint(2, 6)
    attempt = Attempt(subject, phase, f"clock {hours:+d} h", run.name)
    worn: dict[str, str] = clock.environment if subject == "trainer" else {}
    with attempt, run.start(f"{phase}:{count}=stop", None, **worn) as trainer:
        try:
            if not trainer.stops():
                return attempt  # the log has ended before
            attempt.at = run.place()
            clock.jump(hours * HOUR)
            trainer.thaw()
            attempt.restart_seconds = trainer.await_commit(RECOVERY)
        finally:
            clock.jump(0)
        goes_on(run, trainer)
        attempt.counted = True
    if odd := strange(run):
        attempt.fail(odd)
    return attempt


def goes_on(run: Run, trainer: Trainer) -> None:
    """Waits for another commit, or the end of the log."""
    before = run.seen()
    trainer.wait_until(lambda: run.seen() > before or not trainer.alive, "a commit", RECOVERY)
    if trainer.code:
        raise Died(trainer.state())


def strange(run: Run) -> str:
    """A time between commits that no clock running forwards can have shown; empty where there is none."""
    spans = [record.elapsed_us for record in run.watch.records(run.name)]
    bad = [span for span in spans if not 0 <= span < HOUR * 1_000_000 // 2]
    return f"between two commits passed {bad[0]:,} µs, it says" if bad else ""
