"""Has a hot path become slower? Each is timed beside a fixed kernel, in CPU time, in one run.

Ratios, unlike times, hold on a machine that is busy or another one. They are compared with those in ``guard.toml``;
a path that has lost a third of its speed fails ``make check``. Where that was meant, or one has become faster:

    gradstream bench guard --renew
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.hot import Hot, paths
from benchmarks.machine import processor
from benchmarks.wording import times
from gradstream import command
from gradstream.console import notes, results

BASELINE = Path(__file__).with_name("guard.toml")
KEPT = 2 / 3  # of its speed, at least
TURNS = 40  # of each path and its kernel, for a first look
LOOK = 0.1  # seconds that it takes at least
RETRIES = 4  # looks again, before a path is called slow
ABOUT = """\
Whether a hot path has lost a third of its speed, as a multiple of that of a
fixed kernel timed in the same run. Exit code 1 where one has."""


@dataclass(slots=True)
class Pair:
    """A path, and the CPU seconds that it and its kernel have taken in each turn."""

    hot: Hot
    path: list[float] = field(default_factory=list)
    kernel: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The path's speed as a multiple of the kernel's.

        Whatever else the machine does makes a call slower, so the best are compared. Where one of the two never had a
        quiet moment, both are slow alike in most turns, and what is usual within a turn says more.
        """
        within = [kernel / path for kernel, path in zip(self.kernel, self.path, strict=True)]
        return max(min(self.kernel) / min(self.path), median(within))

    def look(self, turns: int = TURNS) -> None:
        """Times both in turns, for a while at least: a busy moment lasts longer than short calls do."""
        until = time.perf_counter() + turns / TURNS * LOOK
        while turns > 0 or time.perf_counter() < until:
            turns -= 1
            self.kernel.append(spent(self.hot.kernel))
            self.path.append(spent(self.hot.path))


def spent(work: Callable[[], object]) -> float:
    """CPU seconds of this thread."""
    started = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - started) / 1e9


def measured(found: Iterable[Hot], baseline: Mapping[str, float]) -> list[Pair]:
    """All pairs; those that look slow were looked at again, so that one busy moment is no verdict."""
    pairs = []
    for hot in found:
        pair = Pair(hot)
        for work in hot[1:]:
            work()  # loads, or once on a machine compiles, what it needs
        pair.look()
        for _ in range(RETRIES):
            if not slow(pair, baseline):
                break
            pair.look()
        pairs.append(pair)
    return pairs


def slow(pair: Pair, baseline: Mapping[str, float]) -> bool:
    return pair.ratio < KEPT * baseline.get(pair.hot.name, 0.0)


def complaints(pairs: Iterable[Pair], baseline: Mapping[str, float]) -> list[str]:
    """A line for each path that has become slow, or of which nothing is known."""
    found = []
    for pair in pairs:
        name = pair.hot.name
        if name not in baseline:
            found.append(
                f"{name}: {BASELINE.name} does not know it; run: gradstream bench guard --renew"
            )
        elif slow(pair, baseline):
            found.append(
                f"{name}: {pair.ratio:.3g} of its kernel's speed, once {baseline[name]:.3g}: it has lost "
                f"{1 - pair.ratio / baseline[name]:.0%}; where that is meant: gradstream bench guard --renew"
            )
    return found


def read() -> dict[str, float]:
    return {
        name: float(ratio) for name, ratio in tomllib.loads(BASELINE.read_text())["ratio"].items()
    }


def write(pairs: Iterable[Pair]) -> None:
    lines = [
        "# How fast each hot path is beside its kernel: gradstream bench guard --renew",
        f"# made on: {processor()}",
        "[ratio]",
        *(f'"{pair.hot.name}" = {pair.ratio:.3g}' for pair in pairs),
    ]
    BASELINE.write_text("\n".join(lines) + "\n")


def table(pairs: Iterable[Pair], baseline: Mapping[str, float]) -> Table:
    shown = Table(title="hot paths beside their kernels, CPU time", title_justify="left")
    for column in ("path", "ms", "kernel, ms", "ratio", "once", "kept"):
        shown.add_column(column, justify="left" if column == "path" else "right", no_wrap=True)
    for pair in pairs:
        once = baseline.get(pair.hot.name)
        shade = "red" if slow(pair, baseline) else "green"
        shown.add_row(
            pair.hot.name,
            f"{min(pair.path) * 1e3:.3f}",
            f"{min(pair.kernel) * 1e3:.3f}",
            times(pair.ratio),
            times(once) if once else "–",
            f"[{shade}]{pair.ratio / once:.0%}[/]" if once else "–",
        )
    return shown


def main(argv: list[str]) -> int:
    parser = command.parser("bench guard", ABOUT)
    parser.add_argument(
        "--renew", action="store_true", help=f"write today's ratios to {BASELINE.name}"
    )
    given = parser.parse_args(argv)
    baseline = read() if BASELINE.exists() else {}
    pairs = measured(paths(), baseline)
    if given.renew:
        for pair in pairs:
            pair.look(5 * TURNS)
    results.print(table(pairs, baseline))
    if given.renew:
        write(pairs)
        notes.print(f"written to {BASELINE}", markup=False, soft_wrap=True)
        return 0
    found = complaints(pairs, baseline)
    for line in found:
        notes.print(line, markup=False, soft_wrap=True)
    return int(bool(found))
