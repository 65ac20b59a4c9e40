"""``gradstream chaos``: the fault matrix on a real stack of its own."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rich.table import Table

from faults.attempt import Attempt, Plan
from faults.lab import FRAMEWORKS, Lab, installed
from faults.record import Account, Record
from faults.table import show
from gradstream import command
from gradstream.console import notes, progress, results
from gradstream.errors import GradstreamError, UsageError

PACKAGES = ("confluent-kafka", "fastavro", "jax", "numba", "numpy", "tensorflow", "torch")
ABOUT = """\
Break what can break, on a stack of its own, and count what it costs: no record
lost, none trained twice, the weights those of the run that was left alone, to
the bit. Exit code 1 where anything failed.

  gradstream chaos                      all of it, an hour or more
  gradstream chaos --sample             some attempts of each scenario
  gradstream chaos kills --attempts 30  one scenario
  gradstream chaos --list               what there is"""
# The order in which they run; those that are not named here follow.
ORDER = "unkilled kills zombies rebalances broker registry engine".split()


def names() -> list[str]:
    """Of all scenarios."""
    folder = Path(__file__).parent / "scenarios"
    found = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    return sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def scenario(name: str) -> ModuleType:
    return import_module(f"faults.scenarios.{name}")


def flags() -> command.Parser:
    parser = command.parser("chaos", ABOUT)
    add = parser.add_argument
    add("names", nargs="*", metavar="SCENARIO", help="which ones (default: all)")
    add("--list", action="store_true", help="tell the scenarios and their questions")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--sample", action="store_true", help="a few attempts of each")
    size.add_argument("--full", action="store_true", help="all attempts of each (default)")
    add("--attempts", metavar="N", type=_count, help="of each scenario")
    add("--seed", metavar="N", type=int, default=1, help="of phases and moments [1]")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="for the record [out]")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError("BAD_VALUE", f"--attempts {text}: give a whole number, at least 1")
    return int(text)


def run_scenario(
    name: str, lab: Lab, plan: Plan, seed: int, record: Record, moved: Callable[[Attempt], None]
) -> Account:
    """Runs one to its end. A scenario that cannot go on fails; what it has shown before is kept."""
    module = scenario(name)
    account = record.begin(name, module.QUESTION, plan.attempts)
    began = time.monotonic()
    try:
        for made in module.attempts(lab, plan):
            made.scenario = name
            if isinstance(made, Attempt):
                made.number, made.seed = len(account.attempts) + 1, seed
                account.attempts.append(made)
                moved(made)
            else:
                account.endings.append(made)
            record.write(made.to_row())
        account.finished = True
    except Exception as error:  # noqa: BLE001  the other scenarios go on
        account.broken = f"cannot go on: {type(error).__name__}: {error}"
    finally:
        account.seconds = time.monotonic() - began
        record.write(account.to_row())
    return account


def plan_of(name: str, sample: bool, asked: int | None, seed: int) -> Plan:
    """Each scenario has chance of its own, so that it makes the same attempts alone and among the others."""
    module = scenario(name)
    attempts = asked or int(module.SAMPLE if sample else module.FULL)
    return Plan(attempts, sample, random.Random(f"{seed} {name}"))  # noqa: S311  to be repeated


def listed() -> Table:
    table = Table()
    table.add_column("scenario", no_wrap=True)
    table.add_column("question")
    table.add_column("sample", justify="right")
    table.add_column("full", justify="right")
    for name in names():
        module = scenario(name)
        table.add_row(name, module.QUESTION, str(module.SAMPLE), str(module.FULL))
    return table


def chosen(asked: list[str]) -> list[str]:
    """In our order.

    Raises:
        UsageError: an unknown one.
    """
    known = names()
    for name in asked:
        if name not in known:
            raise UsageError(
                "USAGE", f"no scenario {name!r}; give some of {', '.join(known)}, or none for all"
            )
    return [name for name in known if name in asked or not asked]


def main(argv: list[str]) -> int:
    given = flags().parse_args(argv)
    if given.list:
        results.print(listed())
        return 0
    wanted = chosen(given.names)
    from benchmarks.machine import describe

    record = Record(given.out / "faults.jsonl", {**describe(PACKAGES), "seed": given.seed})
    try:
        with Lab() as lab:
            perform(wanted, lab, given.sample, given.attempts, given.seed, record)
    finally:  # Ctrl-C too: what has been shown so far is worth telling
        show(record.accounts)
        if absent := sorted({*FRAMEWORKS} - {*installed(FRAMEWORKS)}):
            notes.print(f"not installed, so not tried: {', '.join(absent)}", soft_wrap=True)
        record.sum_up()
        notes.print(f"written to {given.out}: {record.files}", markup=False, soft_wrap=True)
    return int(not record.passed)


def perform(
    wanted: list[str], lab: Lab, sample: bool, asked: int | None, seed: int, record: Record
) -> None:
    """Each scenario in turn, on a laboratory that is whole again before the next."""
    plans = {name: plan_of(name, sample, asked, seed) for name in wanted}
    with progress("attempts", rate=False) as bar:
        task = bar.add_task("", total=sum(plan.attempts for plan in plans.values()))

        def moved(attempt: Attempt) -> None:
            """Attempts that do not count are made again, so they are no step towards the end."""
            last = f"{attempt.scenario}: {attempt.subject} {attempt.phase}"
            bar.update(task, advance=attempt.verdict != "not counted", description=last)

        for name, plan in plans.items():
            bar.update(task, description=name)
            account = run_scenario(name, lab, plan, seed, record, moved)
            lab.clear()
            try:
                lab.heal()
            except GradstreamError as error:
                account.broken = account.broken or f"the stack did not come back: {error}"


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
