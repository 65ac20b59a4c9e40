"""``gradstream bench``: measure the hot paths against their limits on a real broker, and the backends against NumPy."""

# ruff: noqa: E402  the environment is set before NumPy is imported
from __future__ import annotations

import os

from benchmarks.process import ONE_THREAD

for _name, _count in ONE_THREAD.items():
    os.environ.setdefault(_name, _count)

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress, TaskID

from benchmarks import effort, tables, topics
from benchmarks.machine import describe
from benchmarks.record import Record
from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, progress, results

# Files in the order in which they run, and the seconds that each is planned to take; together with the backends' five
# minutes they must stay below fifteen.
PLAN = {
    "startup": 5,
    "decode": 10,
    "encode": 8,
    "learn": 10,
    "fetch": 35,
    "train": 65,
    "exactly_once": 42,
    "fraud": 12,
    "produce": 20,
    "engine": 28,
    "stateful": 45,
    "pulls": 20,
    "at_rest": 60,
    "latency": 40,
    "scaling": 140,
    "memory": 40,
}
BACKENDS = "backends"
PACKAGES = ("confluent-kafka", "fastavro", "numba", "numpy", "pyarrow")
ABOUT = """\
Measure this machine: what happens to records, on a real broker, against the
limits of its parts; and the backends against NumPy.

  gradstream bench                  all
  gradstream bench train decode     some
  gradstream bench backends --help  the backends only, with flags of their own
  gradstream bench peers --help     beside River, Quix Streams, Bytewax, Pathway …
  gradstream bench page RECORD …    put what runs have written on benchmarks' page
  gradstream bench guard            whether a hot path has become slower"""
OTHERS = {
    BACKENDS: "benchmarks.backends.compare",
    "peers": "benchmarks.peers.compare",
    "page": "benchmarks.page",
    "guard": "benchmarks.guard",
}


@contextlib.contextmanager
def stack() -> Iterator[Services]:
    """The broker named in the environment, else a local stack of our own with fresh data."""
    if "GRADSTREAM_BOOTSTRAP_SERVERS" in os.environ:
        services = Services.find()
        try:
            yield services
        finally:
            topics.drop(services)
        return
    from gradstream.stack import LocalStack

    with (
        TemporaryDirectory(prefix="gradstream-bench-") as folder,
        LocalStack(home=Path(folder)) as local,
    ):
        yield local.services


class Bar:
    """Where a run stands in its plan. A file that takes longer than planned waits at its end."""

    def __init__(self, bar: Progress, names: Sequence[str]) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("", total=sum(PLAN[name] for name in names))
        self._done = 0.0
        self._name = ""
        self._since = 0.0

    def begin(self, name: str) -> None:
        self._done += PLAN.get(self._name, 0)
        self._name, self._since = name, time.monotonic()
        self.say("")

    def say(self, text: str) -> None:
        part = min(time.monotonic() - self._since, PLAN[self._name])
        told = f"{self._name}: {text}" if text else self._name
        self._bar.update(self._task, completed=self._done + part, description=told)


def on_broker(names: Sequence[str], path: Path) -> Record:
    """Runs the named files. One that fails does not cost the others' figures; all that there is, is written after each."""
    record = Record(describe(PACKAGES), effort.NOW.quick)
    with stack() as services, progress("planned s") as shown:
        bar = Bar(shown, names)
        effort.NOW.say = bar.say
        for name in names:
            bar.begin(name)
            started = time.monotonic()
            try:
                module = import_module(f"benchmarks.{name}")
                record.questions[name] = module.QUESTION
                record.figures[name] = module.measure(services)
            except (Exception, SystemExit) as error:  # noqa: BLE001  the others go on
                record.failed[name] = f"{type(error).__name__}: {error}"
            record.seconds[name] = round(time.monotonic() - started, 1)
            record.write(path)
    return record


def show(record: Record) -> None:
    """Everything measured, as tables; then what could not be."""
    for name, figures in record.figures.items():
        if any(not each.series for each in figures):
            results.print(tables.terminal(f"{name}: {record.questions[name]}", figures))
        for series, points in tables.lines(figures).items():
            if points[0].reference_rates:
                results.print(tables.line(series, points))
    for name, why in record.failed.items():
        notes.print(f"{name} has failed: {why}", markup=False, soft_wrap=True)


def flags() -> command.Parser:
    parser = command.parser("bench", ABOUT)
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*PLAN, BACKENDS, []],
        help=f"of {', '.join(PLAN)}, {BACKENDS} (default: all)",
    )
    add(
        "--quick",
        action="store_true",
        help="a fiftieth of the records, no repeats: shows that everything works, and nothing else",
    )
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: %(default)s")
    return parser


def main(argv: list[str]) -> int:
    if argv and argv[0] in OTHERS:
        return int(import_module(OTHERS[argv[0]]).main(argv[1:]))
    given = flags().parse_args(argv)
    effort.NOW.quick = given.quick
    names = [name for name in PLAN if name in given.names or not given.names]
    code = 0
    if names:
        record = on_broker(names, given.out / "benchmarks.json")
        show(record)
        notes.print(f"written to {given.out}: benchmarks.json", markup=False, soft_wrap=True)
        code = int(bool(record.failed) if given.quick else not record.reached)
    if not given.names or BACKENDS in given.names:
        quick = ["--quick"] if given.quick else []
        code |= import_module(OTHERS[BACKENDS]).main([*quick, "--out", str(given.out)])
    return code


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
