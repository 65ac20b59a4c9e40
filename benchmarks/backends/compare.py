"""``gradstream bench backends``: the same jobs on every backend, in turns, against NumPy and published figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress

from benchmarks.backends import plot, tables
from benchmarks.backends.cases import (
    BARE,
    EXACT,
    GOLDEN,
    PUBLISHED,
    REFERENCE,
    SLOW,
    Case,
    cases,
    for_backend,
    takes_part,
)
from benchmarks.backends.child import Answer, Child
from benchmarks.backends.outcome import Comparison, Outcome
from benchmarks.machine import describe
from gradstream import command
from gradstream.console import notes, progress, results
from gradstream.errors import UnavailableError
from trainers import backends

ABOUT = """\
Compare the backends on this machine: the golden job (10,000 rows, 10,000
epochs), widths of 2 to 100 features, mini-batches and an autoencoder.

Each backend has a process of its own, and they take turns, so that a busy
moment of the machine meets all of them. Every answer is checked. Shows tables,
writes backends.json and backends.png. Takes some minutes; the exit code is 1
when an answer is wrong or a goal is missed."""
PACKAGES = ("gradstream", "numpy", "numba", "jax", "jaxlib", "tensorflow", "torch")


class Comparing:
    """The processes of the backends, and what they have done.

    Attributes:
        comparisons: one for each case.
        skipped: why a backend was left out, by its name.
    """

    def __init__(self, dtype: str, quick: bool, scratch: Path, bar: Progress) -> None:
        self.comparisons = [Comparison(case, dtype) for case in cases(quick)]
        self.skipped: dict[str, str] = {}
        self._dtype = dtype
        self._quick = quick
        self._scratch = scratch
        self._children: list[Child] = []
        self._bar = bar
        self._task = bar.add_task("starting", total=0)

    def start(self, names: Sequence[str], devices: Sequence[str]) -> None:
        """Has each backend do the golden job cold on the CPU, and on those of the devices that it finds."""
        for name in (*names, BARE):
            self._expect(name)
        for name in names:
            found = self._start(name, "cpu")
            for device in devices:
                if device in found:
                    self._expect(name)
                    self._start(name, device)
        self._add(BARE, "cpu")

    def missing(self, devices: Sequence[str]) -> list[str]:
        """Those of the devices that no backend was started on."""
        return [each for each in devices if all(child.device != each for child in self._children)]

    def measure(self) -> None:
        """All cases; the backends take turns, so that a busy moment of the machine meets all of them."""
        for comparison in self.comparisons:
            pairs = [
                (child, outcome)
                for child in list(self._children)
                if (outcome := self._first(child, comparison))
            ]
            for turn in range(comparison.case.repeats):
                for child, outcome in pairs:
                    if turn < outcome.case.repeats and not outcome.problem:
                        with self._step(outcome.case, outcome.name):
                            outcome.add(child.again())
            comparison.check()

    def close(self) -> None:
        for child in self._children:
            child.close()

    def _add(self, name: str, device: str) -> Child:
        scratch = self._scratch / f"{name} {device}"
        self._children.append(Child(name, device, self._dtype, scratch))
        return self._children[-1]

    def _start(self, name: str, device: str) -> dict[str, str]:
        """The devices that the backend has found; none when it cannot be started.

        What compiles is started twice: the second process may find on disk what the first has compiled.
        """
        golden = self.comparisons[0]
        case = for_backend(golden.case, name, self._quick)
        child = self._add(name, device)
        with self._step(case, f"{name} from cold"):
            answer = child.cold(case)
        if "seconds" in answer and self._starts(name) == 2:
            self._drop(child)
            child = self._add(name, device)
            with self._step(case, f"{name} started again"):
                answer = child.cold(case) | {"cold": answer["seconds"]}
        self._note(child, golden, case, answer)
        return child.devices

    def _starts(self, name: str) -> int:
        return 1 if self._quick or name == SLOW else 2

    def _drop(self, child: Child) -> None:
        self._children.remove(child)
        child.close()

    def _first(self, child: Child, comparison: Comparison) -> Outcome | None:
        """The outcome of a child's first run of a case, None where it takes no part."""
        if not takes_part(child.name, comparison.case):
            return None
        if comparison.case.name == GOLDEN:  # done when it was started
            return comparison.of(child.name, child.device)
        case = for_backend(comparison.case, child.name, self._quick)
        with self._step(case, child.name):
            return self._note(child, comparison, case, child.first(case))

    def _note(
        self, child: Child, comparison: Comparison, case: Case, answer: Answer
    ) -> Outcome | None:
        """The first answer as an outcome. A child that cannot go on is closed."""
        if "skip" in answer:
            self.skipped[child.name] = answer["skip"]
        else:
            outcome = Outcome(case, child.name, child.device)
            comparison.outcomes.append(outcome)
            outcome.begin(answer)
            if not outcome.problem:
                return outcome
        self._drop(child)
        self._expect(child.name, -1)
        return None

    def _expect(self, name: str, sign: int = 1) -> None:
        """Counts the steps of a backend into the total of the bar, or out of it."""
        count = 0
        for comparison in self.comparisons:
            if takes_part(name, comparison.case):
                case = for_backend(comparison.case, name, self._quick)
                starts = self._starts(name) if case.name == GOLDEN else 1
                count += case.steps * (starts + case.repeats)
        total = self._bar.tasks[self._task].total or 0
        self._bar.update(self._task, total=total + sign * count)

    @contextmanager
    def _step(self, case: Case, name: str) -> Iterator[None]:
        self._bar.update(self._task, description=f"{case.name}: {name}")
        yield
        self._bar.advance(self._task, case.steps)


def compare(
    names: Sequence[str], devices: Sequence[str], must: bool, dtype: str, quick: bool
) -> Comparing:
    """Measures all.

    Args:
        names: of backends, with NumPy.
        devices: besides the CPU. must: whether each must be found by some backend.

    Raises:
        UnavailableError: NO_DEVICE, naming what was asked for.
    """
    with TemporaryDirectory(prefix="gradstream-bench-") as scratch, progress("steps") as bar:
        made = Comparing(dtype, quick, Path(scratch), bar)
        try:
            made.start(names, devices)
            if must and (missing := made.missing(devices)):
                raise UnavailableError(
                    "NO_DEVICE",
                    f"--device {missing[0]}: none of {', '.join(names)} has found it; "
                    "see gradstream backends for what they find, or give --device cpu",
                )
            made.measure()
        finally:
            made.close()
    return made


def flags() -> command.Parser:
    parser = command.parser("bench backends", ABOUT)
    add = parser.add_argument
    add("names", nargs="*", metavar="BACKEND", help="which ones (default: all that are installed)")
    add(
        "--device",
        default="auto",
        metavar="A,B",
        help="besides cpu: gpu, gpu:1, … (default: gpu where one is found); cpu for the CPU only",
    )
    add("--dtype", default="float64", choices=["float64", "float32"])
    add(
        "--quick",
        action="store_true",
        help="fewer steps and repeats; a missed goal is no error then",
    )
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: %(default)s")
    return parser


def chosen(given: argparse.Namespace) -> tuple[list[str], list[str], bool]:
    """Backends, NumPy always among them; devices besides the CPU; whether these must be there.

    Raises:
        UsageError, UnavailableError: a backend that is unknown or not installed.
    """
    for name in given.names:
        if name != EXACT:
            backends.check(name)
    wanted = given.names or [*backends.available(), EXACT]
    names = [REFERENCE, *(name for name in dict.fromkeys(wanted) if name != REFERENCE)]
    if given.device == "auto":
        return names, ["gpu:0"], False
    asked = ["gpu:0" if each == "gpu" else each for each in given.device.split(",")]
    return names, [each for each in asked if each != "cpu"], True


def main(argv: list[str]) -> int:
    given = flags().parse_args(argv)
    machine = describe(PACKAGES)
    names, devices, must = chosen(given)
    made = compare(names, devices, must, given.dtype, given.quick)
    for shown in tables.all_of(made.comparisons):
        results.print(shown, soft_wrap=isinstance(shown, str))
    complain(made)
    given.out.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine,
        "quick": given.quick,
        "published_seconds": PUBLISHED,
        "skipped": made.skipped,
        "cases": [comparison.record() for comparison in made.comparisons],
    }
    (given.out / "backends.json").write_text(json.dumps(record, indent=1) + "\n")
    plot.draw(made.comparisons, machine, given.out / "backends.png")
    notes.print(f"written to {given.out}: backends.json, backends.png", markup=False)
    return code(made.comparisons, given.quick)


def complain(made: Comparing) -> None:
    """What was left out, and what is wrong."""
    lines = [f"left out: {name}: {why}" for name, why in made.skipped.items()]
    lines += [
        f"{comparison.case.name}: {outcome.name}: {outcome.problem}"
        for comparison in made.comparisons
        for outcome in comparison.outcomes
        if outcome.problem
    ]
    for line in lines:
        notes.print(line, markup=False, soft_wrap=True)


def code(comparisons: Sequence[Comparison], quick: bool) -> int:
    """0 when every answer is right and, unless the run was a quick one, every goal is reached."""
    problems = [o for each in comparisons for o in each.outcomes if o.problem]
    missed = [goal for each in comparisons for goal, _, ratio in each.goals() if ratio < goal.ratio]
    return 1 if problems or (missed and not quick) else 0
