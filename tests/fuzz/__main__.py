"""Fuzz the codecs: ``python -m tests.fuzz --seconds 600 [TARGET …]``; ``--replay FILE …`` runs kept inputs again."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from functools import partial
from pathlib import Path

from tests.fuzz import guarded
from tests.fuzz.run import ROOT, Outcome, fuzz
from tests.fuzz.targets import OTHERS, TARGETS

KEPT = ROOT / "out" / "fuzz"
MOST_FINDINGS = 5  # of one target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--plain", action="store_true", help="without atheris where it is installed"
    )
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE")
    asked = parser.parse_args()
    if strange := set(asked.targets) - {*TARGETS, *OTHERS}:
        parser.error(f"no target {', '.join(strange)}; there are {', '.join(TARGETS)}")
    if not guarded.AVAILABLE:
        parser.error("this system cannot forbid a page of memory; run it on Linux or macOS")
    if asked.replay:
        return replay(asked.replay)
    plain = asked.plain or importlib.util.find_spec("atheris") is None
    print(f"inputs by {'mutation' if plain else 'atheris'}; what fails is kept in {KEPT}")
    targets = asked.targets or list(TARGETS)
    found = sum(
        one_target(name, asked.seconds / len(targets), asked.seed, plain) for name in targets
    )
    return 1 if found else 0


def one_target(name: str, seconds: float, seed: int, plain: bool) -> int:
    """Fuzz a target for some seconds, again after each finding; returns how many there were."""
    total, found = Outcome(), 0
    while total.seconds < seconds and found < MOST_FINDINGS:
        left = max(1.0, seconds - total.seconds)
        show = partial(told, name, found, total)
        outcome = fuzz(name, left, seed + found, KEPT, plain=plain, progress=show)
        total = total.plus(outcome)
        if outcome.finding is not None:
            found += 1
            print(f"\n  {outcome.finding.path}: {outcome.finding.what}")
    told(name, found, total, Outcome(), "\n")
    return found


def told(name: str, found: int, before: Outcome, outcome: Outcome, end: str = "\r") -> None:
    """The progress line, on a terminal; at the end anywhere."""
    now = before.plus(outcome)
    rate = now.executions / max(now.seconds, 0.1)
    line = f"{name:<16}{now.executions:>12,} executions{rate:>9,.0f}/s{now.kept:>6} kept"
    if end == "\n" or sys.stdout.isatty():
        print(f"{line}{now.seconds:>7.0f} s{found:>4} found", end=end, flush=True)


def replay(paths: list[Path]) -> int:
    """Run kept inputs in this process: a traceback, or the end of it, where one fails."""
    for path in paths:
        (TARGETS | OTHERS)[path.name.rpartition(".")[0]]()(path.read_bytes())
        print(f"{path}: good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
