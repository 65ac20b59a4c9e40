"""``make bench``: run the benchmarks on a real broker, show the table, write benchmarks/results/."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.table import Table

from benchmarks.figure import Figure
from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, progress, results

HERE = Path(__file__).parent
ALL = ("decode", "produce", "engine", "train")


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


def machine() -> dict[str, object]:
    packages = ("confluent-kafka", "fastavro", "numba", "numpy", "pyarrow")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def main(argv: list[str]) -> int:
    parser = command.parser("bench", "Measure the hot paths against their limits.")
    parser.prog = "python -m benchmarks"
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which ones (default: all)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latest.json")
    arguments = parser.parse_args(argv)
    names = arguments.names or list(ALL)
    figures: list[Figure] = []
    with stack() as services, progress("benchmarks") as bar:
        task = bar.add_task("benchmarks", total=len(names))
        for name in names:
            module = import_module(f"benchmarks.{name}")
            bar.update(task, description=module.QUESTION)
            figures += module.measure(services)
            bar.advance(task)
    results.print(table(figures))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
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
    arguments.out.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=1) + "\n")
    notes.print(f"written to {arguments.out}")
    return 0 if all(f.ratio >= f.goal for f in figures) else 1


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
