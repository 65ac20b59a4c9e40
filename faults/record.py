"""Everything that was tried, written down as it happens, and what it comes to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.attempt import Attempt, Ending


@dataclass(slots=True)
class Account:
    """One scenario.

    Attributes:
        planned: attempts that were asked for.
        finished: whether it has come to its end, so that every run has been looked at.
        broken: why the scenario itself could not go on; empty where it could.
    """

    scenario: str
    question: str
    planned: int
    attempts: list[Attempt] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    finished: bool = False
    broken: str = ""
    seconds: float = 0.0

    @property
    def counted(self) -> int:
        """Attempts in which what was meant to happen has happened."""
        return sum(attempt.counted for attempt in self.attempts)

    @property
    def failed(self) -> list[Attempt]:
        """Attempts that failed by themselves, and those of a run that ended badly."""
        bad = {ending.run for ending in self.endings if ending.faults}
        return [each for each in self.attempts if each.fault or each.run in bad]

    @property
    def faults(self) -> list[str]:
        """All that went wrong, a line each."""
        own = [f"{a.subject} {a.phase} {a.signal}: {a.fault}" for a in self.attempts if a.fault]
        ends = [f"run {ending.run}: {fault}" for ending in self.endings for fault in ending.faults]
        return [*own, *ends, *([self.broken] if self.broken else [])]

    @property
    def hashes(self) -> tuple[int, int]:
        """Runs that have ended at the hash that was expected, of how many."""
        compared = [ending for ending in self.endings if ending.expected]
        return sum(each.sha256 == each.expected for each in compared), len(compared)

    @property
    def restarts(self) -> list[float]:
        """Seconds from a restart to its first commit, import of the framework apart."""
        return [
            max(0.0, each.restart_seconds - each.import_seconds)
            for each in self.attempts
            if each.restart_seconds is not None
        ]

    def by_subject(self) -> Iterator[Account]:
        """The same for each subject; how many attempts were planned for it is not known."""
        for subject in dict.fromkeys(each.subject for each in self.attempts):
            mine = [each for each in self.attempts if each.subject == subject]
            runs = {each.run for each in mine}
            ends = [ending for ending in self.endings if ending.run in runs]
            finished = self.finished or runs == {ending.run for ending in ends}
            yield Account(subject, self.question, 0, mine, ends, finished)

    @property
    def passed(self) -> bool:
        """Whether all was done, nothing went wrong, and something was shown."""
        return self.finished and not self.faults and self.counted > 0

    def to_row(self) -> dict[str, Any]:
        same, runs = self.hashes
        restarts = self.restarts
        return {
            "kind": "scenario",
            "scenario": self.scenario,
            "question": self.question,
            "planned": self.planned,
            "attempts": len(self.attempts),
            "counted": self.counted,
            "by_subject": _counts(each.subject for each in self.attempts if each.counted),
            "by_phase": _counts(each.phase for each in self.attempts if each.counted),
            "failed": len(self.failed),
            "lost": sum(each.lost for each in self.endings),
            "repeated": sum(each.repeated for each in self.endings),
            "torn": sum(each.torn for each in self.endings),
            "runs": runs,
            "runs_at_the_expected_hash": same,
            "restart_median_seconds": round(statistics.median(restarts), 2) if restarts else None,
            "restart_longest_seconds": round(max(restarts), 2) if restarts else None,
            "restarts": len(restarts),
            "seconds": round(self.seconds, 1),
            "faults": self.faults,
            "finished": self.finished,
            "passed": self.passed,
        }


def _counts(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))


class Record:
    """All scenarios of one call, and the file of lines that grows with each attempt, so that nothing is lost where the
    laboratory itself is killed.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about
        self.accounts: list[Account] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self.write({"kind": "laboratory", **about})

    def begin(self, scenario: str, question: str, planned: int) -> Account:
        self.accounts.append(Account(scenario, question, planned))
        return self.accounts[-1]

    def write(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row, default=str) + "\n")

    @property
    def passed(self) -> bool:
        return bool(self.accounts) and all(account.passed for account in self.accounts)

    def sum_up(self) -> None:
        """Writes beside it what is worth keeping: the machine and each scenario's counts, without the attempts."""
        scenarios = [account.to_row() for account in self.accounts]
        whole = {**self.about, "passed": self.passed, "scenarios": scenarios}
        self.summary.write_text(json.dumps(whole, indent=2, default=str) + "\n")

    @property
    def summary(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def files(self) -> str:
        return f"{self.path.name}, {self.summary.name}"
