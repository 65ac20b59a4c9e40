"""``gradstream train``: a model on a topic, from flags or a file."""

# ruff: noqa: E402  the environment is set before NumPy is imported
from __future__ import annotations

import os

# One thread: more of them split a sum differently from run to run, and batches are too small to gain. Before NumPy.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from gradstream import command
from gradstream.console import notes, results
from gradstream.errors import DataError
from trainers import job_file
from trainers.flags import described, job, parser
from trainers.job import Job

if TYPE_CHECKING:
    from trainers.chain import WeightsRecord
    from trainers.loop import Result


def main(argv: list[str]) -> int:
    given = parser().parse_args(argv)
    if given.write_job is not None:
        return write_job(given)
    asked = job(given)
    with command.loading():  # not before, so that a wrong flag is told at once
        from trainers.loop import train
        from trainers.progress import Watcher
    with Watcher(asked) as watcher:
        result = train(
            asked, command.services(given), on_publish=watcher.published, watch=watcher.status
        )
    report(asked, result, argv)
    check_trained(asked, result)
    return 130 if result.reason == "interrupted" else 0


def write_job(given: Namespace) -> int:
    """The file that the flags mean; without --source, one to be filled in."""
    made, keys = described(given)
    if made.source:
        made.check()
    job_file.write(given.write_job, made, keys)
    notes.print(
        f"{given.write_job} is written; train with: gradstream train --job {given.write_job}",
        soft_wrap=True,
        markup=False,
    )
    return 0


def report(asked: Job, result: Result, argv: list[str]) -> None:
    """Where the run stands, on stderr; the weights, on stdout."""
    last = result.record
    if last is None:
        notes.print(f"run {result.run}: {result.reason}; no weights were published")
        return
    rate = result.trained / result.seconds if result.seconds else 0.0
    for line in (
        f"run {result.run}, step {last.step:,}: {result.reason}",
        f"{result.trained:,} records trained in {result.seconds:.1f} s, {rate:,.0f} records/s; "
        f"{last.records_trained:,} in all",
        f"{last.records_rejected:,} records could not be used; see why: {listed(asked)}"
        if last.records_rejected
        else "",
        predicted(last),
        *(
            f"CONSTANT_FEATURE: {name} was {value:g} in all records here, so nothing can be learned from it; "
            "leave it out by --features"
            for name, value in result.constants.items()
        ),
        f"weights in topic {asked.weights_topic}, sha256 {last.sha256[:12]}",
    ):
        if line:
            notes.print(line, soft_wrap=True, markup=False)
    width = max(map(len, result.weights), default=0)
    for name, weight in result.weights.items():
        results.print(f"{name:<{width}}  {weight:.10g}", soft_wrap=True)
    if result.reason == "interrupted":
        again = " ".join(argv)
        kept = "all of this is committed"
        if result.unpublished:
            kept = f"{result.unpublished:,} of these records could not be published and will be trained on again"
        notes.print(f"{kept}; go on with: gradstream train {again}", soft_wrap=True, markup=False)


def predicted(last: WeightsRecord) -> str:
    """The prequential metrics, in words."""
    found = [f"{name.partition('/')[2]} {value:.4g}" for name, value in last.metrics.items()]
    return "predicted before it was trained on: " + ", ".join(found) if found else ""


def check_trained(asked: Job, result: Result) -> None:
    """A run that came to its end and could use none of its records has not done what was asked.

    Raises:
        DataError: NOTHING_TRAINED.
    """
    last = result.record
    nothing = last is not None and last.records_rejected and not last.records_trained
    ended = not result.limited and result.reason != "interrupted"
    if last is not None and nothing and ended:
        raise DataError(
            "NOTHING_TRAINED",
            f"all {last.records_rejected:,} records of {asked.source} are dead letters; see why: {listed(asked)}",
        )


def listed(asked: Job) -> str:
    """The command that lists the run's dead letters."""
    usual = asked.dead_letters_topic == Job("").dead_letters_topic
    topic = "" if usual else f" --dead-letters-topic {asked.dead_letters_topic}"
    return f"gradstream dlq list --run {asked.run_id}{topic}"


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
