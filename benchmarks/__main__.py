"""``gradstream bench``: measure the hot paths against their limits on a real broker, and the backends against NumPy."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks import backends
from benchmarks.figure import Figure
from benchmarks.machine import describe
from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, progress, results

ON_BROKER = ("decode", "produce", "engine", "train")
PACKAGES = ("confluent-kafka", "fastavro", "numba", "numpy", "pyarrow")
ABOUT = """\
Measure this machine: what happens to records, on a real broker, against the
limits of its parts; and the backends against NumPy.

  gradstream bench                  all
  gradstream bench train decode     some
  gradstream bench backends --help  the backends only, with flags of their own"""


@contextlib.contextmanager
def stack() -> Iterator[Services]:
    """The broker named in the environment, else a local stack of our own with fresh data."""
    if "GRADSTREAM_BOOTSTRAP_SERVERS" in os.environ:
        yield Services.find()
        return
    from gradstream.stack import LocalStack

    with (
        TemporaryDirectory(prefix="gradstream-bench-") as folder,
        LocalStack(home=Path(folder)) as local,
    ):
        yield local.services


def table(figures: list[Figure]) -> Table:
    shown = Table(title="gradstream benchmarks: best of the repeats, same run, same machine")
    for heading in ("measured", "per second", "spread", "against", "per second", "ratio", "goal"):
        shown.add_column(heading, justify="left" if heading in ("measured", "against") else "right")
    for figure in figures:
        met = not figure.goal or figure.ratio >= figure.goal
        shown.add_row(
            figure.name,
            f"{max(figure.rates):,.0f} {figure.unit}",
            f"{figure.spread:.0%}",
            figure.reference,
            f"{max(figure.reference_rates):,.0f}",
            f"[{'green' if met else 'red'}]{figure.ratio:.2f}×[/]",
            f"{figure.goal:g}×" if figure.goal else "",
        )
    return shown


def on_broker(names: list[str], folder: Path) -> bool:
    """Runs the named ones; whether all have reached their goals."""
    machine = describe(PACKAGES)
    figures: list[Figure] = []
    with stack() as services, progress("benchmarks") as bar:
        task = bar.add_task("benchmarks", total=len(names))
        for name in names:
            module = import_module(f"benchmarks.{name}")
            bar.update(task, description=module.QUESTION)
            figures += module.measure(services)
            bar.advance(task)
    results.print(table(figures))
    rows = [
        {
            "name": f.name,
            "rates": f.rates,
            "reference": f.reference,
            "reference_rates": f.reference_rates,
            "ratio": f.ratio,
            "goal": f.goal,
            "unit": f.unit,
        }
        for f in figures
    ]
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "benchmarks.json"
    record.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n")
    notes.print(f"written to {record}", markup=False, soft_wrap=True)
    return all(f.ratio >= f.goal for f in figures)


def main(argv: list[str]) -> int:
    if argv[:1] == ["backends"]:
        return backends.main(argv[1:])
    parser = command.parser("bench", ABOUT)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*ON_BROKER, "backends", []],
        help=f"of {', '.join(ON_BROKER)}, backends (default: all)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: %(default)s"
    )
    given = parser.parse_args(argv)
    names = [name for name in ON_BROKER if name in given.names or not given.names]
    reached = not names or on_broker(names, given.out)
    if not given.names or "backends" in given.names:
        reached &= not backends.main(["--out", str(given.out)])
    return 0 if reached else 1


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
