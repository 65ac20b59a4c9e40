"""Before any kill means something: does a backend end at the same bits whenever it is left alone?"""

from __future__ import annotations

from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.compare import compared, differences, hash_of
from faults.lab import Lab, installed
from faults.run import Run
from trainers.chain import WeightsRecord

QUESTION = "do runs that nobody disturbs end at one hash, with each backend?"
SAMPLE, FULL = 2, 250
NEEDS_STACK = False
BACKENDS = ("numpy", "numba", "jax", "tensorflow", "torch")
AT_ONCE = 2  # on as many cores


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(rows=20_000)
    backends = ["numpy"] if plan.sample else installed(BACKENDS)
    for place, backend in enumerate(backends):
        count = plan.attempts // len(backends) + (place < plan.attempts % len(backends))
        yield from with_one_hash([lab.run(topic, backend=backend) for _ in range(count)])


def with_one_hash(runs: list[Run]) -> Iterator[Attempt | Ending]:
    """Each run, held to the first; that one is shown to the judge, which then speaks for all that are equal to it."""
    first: WeightsRecord | None = None
    for start in range(0, len(runs), AT_ONCE):
        for run, (attempt, last) in together(runs[start : start + AT_ONCE]):
            yield attempt
            if last is not None:
                yield compared(run, last, last) if first is None else held_to(first, run, last)
                first = first or last


def together(runs: list[Run]) -> Iterator[tuple[Run, tuple[Attempt, WeightsRecord | None]]]:
    """Runs side by side, and the last records of those that come to their end."""
    trainers = [run.start() for run in runs]
    for run, trainer in zip(runs, trainers, strict=True):
        attempt, last = Attempt(run.backend, "whole run", "none", run.name), None
        with attempt, trainer:
            last = run.last(trainer)
            attempt.at, attempt.counted = run.place(), True
        yield run, (attempt, last)


def held_to(first: WeightsRecord, run: Run, last: WeightsRecord) -> Ending:
    found = differences(last, first)
    return Ending(run.name, found, sha256=hash_of(last), expected=hash_of(first))
