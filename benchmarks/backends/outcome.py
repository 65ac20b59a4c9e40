"""What was measured of one backend on one case, whether it is right, and whether it is fast enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.backends.cases import (
    AGREES,
    GOALS,
    GOLDEN,
    GOLDEN_WEIGHTS,
    REFERENCE,
    TOLERANCE,
    Case,
    Goal,
    cases,
    for_backend,
)
from benchmarks.backends.child import Answer
from trainers.models import Floats


@dataclass(slots=True)
class Outcome:
    """One backend on one device on one case.

    Attributes:
        case: as it was done, which is less for pure Python.
        first: seconds of the first run: of the golden job from the start of its process, with all imports; of other
            cases with compiling only.
        cold: the same for a process before it that found nothing compiled on disk, where there was one.
        seconds: of each warm run.
        spent: microseconds of transfer and compile in each warm run.
        weights: at the end of the first run.
        problem: why the figures must not be believed: a wrong answer, or the end of the process.
    """

    case: Case
    backend: str
    device: str
    first: float = 0.0
    cold: float = 0.0
    seconds: list[float] = field(default_factory=list)
    spent: list[dict[str, int]] = field(default_factory=list)
    weights: dict[str, Floats] = field(default_factory=dict)
    problem: str = ""

    @property
    def name(self) -> str:
        return self.backend if self.device == "cpu" else f"{self.backend} {self.device}"

    @property
    def rate(self) -> float:
        """Records a second, of the best run: on a shared machine noise only ever makes a run slower."""
        return self.case.records / min(self.seconds)

    @property
    def spread(self) -> float:
        """How far the slowest run's rate lies below the fastest's, as a share."""
        return 1 - min(self.seconds) / max(self.seconds)

    def begin(self, answer: Answer) -> None:
        """The first run."""
        if "failed" in answer:
            self.problem = f"FAILED: {answer['failed']}"
        else:
            self.first = answer["seconds"]
            self.cold = answer.get("cold", self.first)
            self.weights = {name: np.array(t) for name, t in answer["weights"].items()}

    def add(self, answer: Answer) -> None:
        """A warm run."""
        if "failed" in answer:
            self.problem = f"FAILED: {answer['failed']}"
        else:
            self.seconds.append(answer["seconds"])
            self.spent.append(answer["spent"])


@dataclass(slots=True)
class Comparison:
    """All outcomes of one case, NumPy's among them."""

    case: Case
    dtype: str
    outcomes: list[Outcome] = field(default_factory=list)

    def of(self, backend: str, device: str = "cpu") -> Outcome | None:
        for outcome in self.outcomes:
            if (outcome.backend, outcome.device) == (backend, device):
                return outcome
        return None

    def ratio(self, outcome: Outcome, reference: str = REFERENCE) -> float:
        """Of the best rates."""
        against = self.of(reference)
        return outcome.rate / against.rate if against and against.seconds else float("nan")

    def check(self) -> None:
        """Notes as a problem every answer that is wrong."""
        reference = self.of(REFERENCE)
        for outcome in self.outcomes:
            if outcome.weights and not outcome.problem:
                outcome.problem = self._wrong(outcome, reference)

    def _wrong(self, outcome: Outcome, reference: Outcome | None) -> str:
        if self.case.name == GOLDEN and outcome.case.steps == self.case.steps:
            found, wanted = outcome.weights["w"], np.array(GOLDEN_WEIGHTS)
            if not np.allclose(found, wanted, rtol=0, atol=TOLERANCE[self.dtype]):
                return f"WRONG: {found.tolist()}, not {wanted.tolist()}"
        elif reference and (outcome.case.rows, outcome.case.steps) == (
            reference.case.rows,
            reference.case.steps,
        ):
            for name, wanted in reference.weights.items():
                error = np.abs(outcome.weights[name] - wanted).max() / np.abs(wanted).max()
                if not error <= AGREES[self.dtype]:  # nan is no answer either
                    return f"WRONG: {name} differs from NumPy's by {error:.1e}"
        return ""

    def goals(self) -> list[tuple[Goal, Outcome, float]]:
        """Each goal with the best of its backends and the ratio that it has reached; none that nothing was measured for."""
        found = []
        for goal in GOALS:
            if goal.case == self.case.name:
                rivals = [
                    each for name in goal.backends if (each := self.of(name)) and each.seconds
                ]
                if rivals and self.of(goal.reference):
                    best = max(rivals, key=lambda each: each.rate)
                    found.append((goal, best, self.ratio(best, goal.reference)))
        return found

    def record(self) -> dict[str, Any]:
        """For the JSON record."""
        case = self.case
        rows = []
        for outcome in self.outcomes:
            row: dict[str, Any] = {
                "backend": outcome.backend,
                "device": outcome.device,
                "steps": outcome.case.steps,
                "records": outcome.case.records,
                "cold_seconds": outcome.cold,
                "first_seconds": outcome.first,
                "seconds": outcome.seconds,
                "spent_us": outcome.spent,
                "problem": outcome.problem,
            }
            if outcome.seconds:
                row |= {"rate": outcome.rate, "ratio": self.ratio(outcome)}
            rows.append(row)
        goals = [
            {
                "best_of": goal.backends,
                "against": goal.reference,
                "ratio": goal.ratio,
                "reached": ratio,
            }
            for goal, _, ratio in self.goals()
        ]
        shape = {"rows": case.rows, "features": case.features, "batch": case.batch}
        return {
            "case": case.name,
            "title": case.title,
            "dtype": self.dtype,
            **shape,
            "outcomes": rows,
            "goals": goals,
        }

    @classmethod
    def of_record(cls, told: Mapping[str, Any], quick: bool) -> Comparison:
        """From what ``record`` gave, without the weights."""
        case = next(each for each in cases(quick) if each.name == told["case"])
        made = cls(case, told["dtype"])
        for row in told["outcomes"]:
            outcome = Outcome(
                for_backend(case, row["backend"], quick),
                row["backend"],
                row["device"],
                first=row["first_seconds"],
                cold=row["cold_seconds"],
                seconds=row["seconds"],
                spent=row["spent_us"],
                problem=row["problem"],
            )
            made.outcomes.append(outcome)
        return made
