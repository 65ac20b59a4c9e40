"""``gradstream rebuild``: a run's weights once more, from the log, compared at each record on the way."""

# ruff: noqa: E402  the environment is set before NumPy is imported
from __future__ import annotations

import os

# As in ``gradstream train``: more threads would split a sum differently. Before NumPy.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradstream import command
from gradstream.console import notes, progress, results
from gradstream.errors import DataError
from trainers.lineage import add_topics
from trainers.models import Floats
from trainers.rebuilding import Rebuilt, Status, rebuild

ABOUT = """Learn a run's weights once more, from the records that they were learned from, and compare at each weights record
on the way: on the CPU, with the versions and the processor that trained, they must be the same to the bit.

Nothing is written to Kafka. STEP is the step of a record, or the beginning of its hash; without it the newest."""


def main(argv: list[str]) -> int:
    parser = command.parser("rebuild", ABOUT)
    parser.add_argument("run", metavar="RUN", help="the chain of weights (gradstream train --run)")
    parser.add_argument(
        "step", metavar="STEP", nargs="?", default="", help="or a hash's beginning [the newest]"
    )
    parser.add_argument(
        "--from",
        dest="start",
        default="",
        metavar="STEP",
        help="begin from the tensors of this record instead of the beginning",
    )
    parser.add_argument(
        "--backend",
        default="",
        metavar="NAME",
        help="compute with another one, on the CPU: the same within rounding, not to the bit",
    )
    parser.add_argument("--out", metavar="FILE.npz", help="write the rebuilt tensors to a new file")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object that says how it ended"
    )
    add_topics(parser)
    command.add_services(parser)
    given = parser.parse_args(argv)
    if given.out is not None and Path(given.out).exists():
        raise file_exists(given.out)
    rebuilt = watched(given)
    if given.out is not None:
        write(given.out, rebuilt.tensors)
    if given.json:
        sys.stdout.write(json.dumps(plain(rebuilt)) + "\n")
    else:
        report(rebuilt)
    return 0


def watched(given: Namespace) -> Rebuilt:
    """The rebuilt run, with a bar while it is under way."""
    with progress("rec") as bar:
        task = bar.add_task("reading the chain", total=None)

        def show(status: Status) -> None:
            bar.update(
                task,
                description=f"step {status.step:,}, {status.compared:,} compared",
                completed=status.records,
                total=status.total,
            )

        return rebuild(
            command.services(given),
            given.run,
            given.step,
            start=given.start,
            backend=given.backend,
            weights_topic=given.weights_topic,
            dead_letters_topic=given.dead_letters_topic,
            watch=show,
        )


def report(rebuilt: Rebuilt) -> None:
    """What was compared, on stderr; the hash, on stdout."""
    record = rebuilt.link.record
    rate = rebuilt.records / rebuilt.seconds
    how = "equal to the bit" if rebuilt.exact else f"equal within {rebuilt.largest:.1e}"
    for line in (
        f"run {record.run}, step {record.step:,}: {rebuilt.compared:,} weights records, {how}",
        f"{rebuilt.records:,} records trained in {rebuilt.seconds:.1f} s, {rate:,.0f} records/s; "
        f"{rebuilt.letters:,} dead letters met again",
        *(f"note: {remark}" for remark in rebuilt.remarks),
    ):
        notes.print(line, soft_wrap=True, markup=False)
    results.print(rebuilt.link.sha256, soft_wrap=True)


def plain(rebuilt: Rebuilt) -> dict[str, Any]:
    record = rebuilt.link.record
    return {
        "run": record.run,
        "step": record.step,
        "sha256": rebuilt.link.sha256,
        "bits": rebuilt.exact,
        "largest_difference": rebuilt.largest,
        "compared": rebuilt.compared,
        "records": rebuilt.records,
        "dead_letters": rebuilt.letters,
        "seconds": round(rebuilt.seconds, 3),
        "remarks": list(rebuilt.remarks),
    }


def write(path: str, tensors: Mapping[str, Floats]) -> None:
    """Writes tensors by their names, as numpy.load reads them.

    Raises:
        DataError: FILE_EXISTS, NO_FILE.
    """
    try:
        with Path(path).open("xb") as file:
            np.savez(file, **dict(tensors))  # type: ignore[arg-type]
    except FileExistsError:
        raise file_exists(path) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}; give another --out"
        raise DataError("NO_FILE", message) from None


def file_exists(path: str) -> DataError:
    return DataError("FILE_EXISTS", f"{path} is there already; remove it, or give another --out")


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
