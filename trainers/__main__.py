"""``gradstream train``: a model on a topic, from flags."""

# ruff: noqa: E402  the environment is set before NumPy is imported
from __future__ import annotations

import os

# One thread: more of them split a sum differently from run to run, and batches are too small to gain. Before NumPy.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import re
import sys
from typing import Any

from gradstream import command
from gradstream.console import notes, results
from gradstream.errors import DataError, UsageError
from trainers import backends
from trainers.job import FULL, Job
from trainers.loop import Result, train
from trainers.models import MODELS
from trainers.progress import Watcher

DESCRIPTION = """\
Train a model on an Avro topic. Weights and offsets are published in one
transaction; the same command again goes on where it stopped, whether it ended,
was interrupted or was killed.

  gradstream train --source regression_training --target Y
  gradstream train --source regression_training --target Y \\
      --batch-size full --epochs 10000 --learning-rate 0.001
  gradstream train --source clicks --target PRICE --features AGE,VISITS --mode live
"""
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def parser() -> command.Parser:
    made = command.parser("train", DESCRIPTION)
    add = made.add_argument
    add("--source", required=True, metavar="TOPIC", help="topic to train on, in Avro")
    add("--target", required=True, metavar="COLUMN", help="column to predict")
    add(
        "--features",
        default="",
        metavar="A,B,C",
        help="columns to predict from (default: all other numbers)",
    )
    add(
        "--run",
        default="",
        metavar="ID",
        help="name of the chain of weights (default: TOPIC-MODEL)",
    )
    add("--model", default="linear", metavar="NAME", help=f"one of: {', '.join(MODELS)}")
    add("--no-bias", action="store_true", help="without an intercept")
    add(
        "--backend", default="numpy", metavar="NAME", help=f"one of: {', '.join(backends.BACKENDS)}"
    )
    add(
        "--batch-size",
        default="256",
        metavar="N",
        help="records a step, or full for the whole log (default: 256)",
    )
    add("--learning-rate", default="0.01", metavar="RATE", help="default: 0.01")
    add("--epochs", default="1", metavar="N", help="times over the bounded log (default: 1)")
    add("--no-shuffle", action="store_true", help="keep the log's order in every epoch")
    add("--seed", default="0", metavar="N", help="of the shuffle (default: 0)")
    add(
        "--mode",
        default="bounded",
        choices=["bounded", "live"],
        help="stop at today's end of the log, or never",
    )
    add(
        "--max-wait",
        default="500ms",
        metavar="TIME",
        help="live: how long a record may wait for its batch",
    )
    stop = made.add_argument_group("stopping early")
    stop.add_argument("--tolerance", metavar="X", help="stop when nothing improves by more")
    stop.add_argument(
        "--tolerance-on", default="loss", choices=["loss", "weights"], help="what must improve"
    )
    stop.add_argument(
        "--patience",
        default="1",
        metavar="N",
        help="checks without progress that it takes (default: 1)",
    )
    stop.add_argument("--max-records", metavar="N", help="of the run")
    stop.add_argument("--max-steps", metavar="N", help="of the run")
    stop.add_argument("--max-seconds", metavar="N", help="of this process")
    out = made.add_argument_group("publishing")
    out.add_argument(
        "--publish-every",
        default="1s",
        metavar="TIME|STEPS",
        help="250ms, 1s, 2m, or a number of steps (default: 1s)",
    )
    out.add_argument("--weights-topic", default="gradstream_weights", metavar="TOPIC")
    out.add_argument("--dead-letters-topic", default="gradstream_dead_letters", metavar="TOPIC")
    out.add_argument(
        "--keep-values",
        action="store_true",
        help="dead letters carry the record's bytes, not only their hash",
    )
    command.add_services(made)
    return made


def job(given: argparse.Namespace) -> Job:
    """The job that the flags describe.

    Raises:
        UsageError: naming the flag, what was given and what would do.
    """
    seconds, steps = _interval("--publish-every", given.publish_every)
    made = Job(
        source=given.source,
        target=given.target,
        features=tuple(filter(None, (name.strip() for name in given.features.split(",")))),
        run=given.run,
        model=given.model,
        bias=not given.no_bias,
        backend=given.backend,
        batch_size=_batch_size(given.batch_size),
        learning_rate=_real("--learning-rate", given.learning_rate),
        epochs=_whole("--epochs", given.epochs),
        shuffle=not given.no_shuffle,
        seed=_whole("--seed", given.seed),
        mode=given.mode,
        tolerance=_optional(_real, "--tolerance", given.tolerance),
        tolerance_on=given.tolerance_on,
        patience=_whole("--patience", given.patience),
        max_records=_optional(_whole, "--max-records", given.max_records),
        max_steps=_optional(_whole, "--max-steps", given.max_steps),
        max_seconds=_optional(_real, "--max-seconds", given.max_seconds),
        publish_seconds=seconds,
        publish_steps=steps,
        max_wait=_time("--max-wait", given.max_wait),
        weights_topic=given.weights_topic,
        dead_letters_topic=given.dead_letters_topic,
        keep_values=given.keep_values,
    )
    made.check()
    return made


def _bad(flag: str, text: str, wanted: str) -> UsageError:
    return UsageError("BAD_VALUE", f"{flag} {text}: give {wanted}")


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _bad(flag, text, "a whole number") from None


def _real(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _bad(flag, text, "a number") from None


def _optional(read: Any, flag: str, text: str | None) -> Any:
    return None if text is None else read(flag, text)


def _batch_size(text: str) -> int:
    if text == "full":
        return FULL
    if not text.isdecimal() or int(text) < 1:
        raise _bad("--batch-size", text, "a whole number from 1, or full")
    return int(text)


def _time(flag: str, text: str) -> float:
    if (found := DURATION.fullmatch(text)) is None:
        raise _bad(flag, text, "a time such as 250ms, 1s or 2m")
    return float(found[1]) * SECONDS[found[2]]


def _interval(flag: str, text: str) -> tuple[float, int | None]:
    if text.isdecimal():
        return 1.0, int(text)
    if DURATION.fullmatch(text) is None:
        raise _bad(flag, text, "a time such as 250ms, 1s or 2m, or a number of steps such as 100")
    return _time(flag, text), None


def main(argv: list[str]) -> int:
    given = parser().parse_args(argv)
    described = job(given)
    with Watcher(described) as watcher:
        result = train(
            described, command.services(given), on_publish=watcher.published, watch=watcher.status
        )
    report(described, result, argv)
    check_trained(described, result)
    return 130 if result.reason == "interrupted" else 0


def report(described: Job, result: Result, argv: list[str]) -> None:
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
        f"{last.records_rejected:,} records could not be used: see topic {described.dead_letters_topic}"
        if last.records_rejected
        else "",
        f"weights in topic {described.weights_topic}, sha256 {last.sha256[:12]}",
    ):
        if line:
            notes.print(line, soft_wrap=True, markup=False)
    width = max(map(len, result.weights), default=0)
    for name, weight in result.weights.items():
        results.print(f"{name:<{width}}  {weight:.10g}", soft_wrap=True)
    if result.reason == "interrupted":
        again = " ".join(argv)
        notes.print(
            f"all of this is committed; go on with: gradstream train {again}", soft_wrap=True
        )


def check_trained(described: Job, result: Result) -> None:
    """A run that could use none of its records has not done what was asked.

    Raises:
        DataError: NOTHING_TRAINED.
    """
    last = result.record
    if last is not None and last.records_rejected and not last.records_trained:
        topic = described.dead_letters_topic
        raise DataError(
            "NOTHING_TRAINED",
            f"all {last.records_rejected:,} records of {described.source} are dead letters; see why with "
            f"gradstream sql -e \"PRINT '{topic}' FROM BEGINNING LIMIT 3;\"",
        )


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
