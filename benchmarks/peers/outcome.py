"""What the peers have done, whether it is right, and how far gradstream is ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figure import Figure
from benchmarks.peers import catalogue
from benchmarks.peers.catalogue import Peer
from benchmarks.peers.feeds import FEATURES, FRAUD

TRUE_WEIGHTS = np.linspace(-1, 1, FEATURES)  # of topics.plain_rows
TOLERANCE = 0.05  # a model further away from the truth has not learned


@dataclass(slots=True)
class Outcome:
    """Of one peer.

    Attributes:
        rates: records a second of each repeat.
        cpu_us: microseconds on the processor for a record, of each repeat; the client's own threads included.
        errors: the largest distance of a weight from the truth, of each repeat; empty where nothing is learned, or
            nobody knows the truth.
        versions: of its libraries.
        problem: why the figures must not be believed, or are missing.
        skipped: why it has not taken part.
    """

    peer: Peer
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    skipped: str = ""

    def add(self, answer: dict[str, Any]) -> None:
        """Of a run; the first problem stays."""
        if "failed" in answer:
            self.problem = self.problem or f"FAILED: {answer['failed']}"
            return
        self.rates.append(answer["records"] / answer["seconds"])
        self.cpu_us.append(1e6 * answer["cpu_seconds"] / answer["records"])
        self.versions = answer["versions"]
        if self.peer.kind != "limit" and self.peer.layout != FRAUD:
            self._check(answer["weights"])

    def _check(self, weights: list[float] | None) -> None:
        error = float("nan")
        if weights is not None and len(weights) == FEATURES:
            error = float(np.abs(np.array(weights) - TRUE_WEIGHTS).max())
        self.errors.append(error)
        if not error <= TOLERANCE:  # nan is no answer either
            self.problem = self.problem or f"WRONG: a weight is {error:.2g} away from the truth"

    @property
    def good(self) -> bool:
        return bool(self.rates) and not self.problem

    @property
    def best(self) -> float:
        """On a shared machine noise only ever makes a run slower."""
        return max(self.rates)

    @property
    def median(self) -> float:
        return median(self.rates)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        peer = self.peer
        told = {"name": peer.name, "kind": peer.kind, "layout": peer.layout}
        promised = {"offsets": peer.offsets, "weights": peer.weights}
        measured = {"rates": self.rates, "cpu_us": self.cpu_us, "errors": self.errors}
        notes = {"versions": self.versions, "problem": self.problem, "skipped": self.skipped}
        return {**told, **promised, **measured, **notes}

    @classmethod
    def of(cls, record: dict[str, Any]) -> Outcome:
        """From JSON, if there is still such a peer.

        Raises:
            KeyError: there is not.
        """
        peer = {each.name: each for each in catalogue.PEERS}[record["name"]]
        names = ("rates", "cpu_us", "errors", "versions", "problem", "skipped")
        return cls(peer, **{name: record[name] for name in names})


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times as fast gradstream is to be.

    Attributes:
        against: names of peers, of which the fastest counts; empty: all peers that train on the same records.
    """

    ratio: float
    told: str
    against: tuple[str, ...] = ()
    ours: tuple[str, ...] = (catalogue.NUMBA, catalogue.NUMPY)


GOALS = (
    Goal(3, "the same loop on confluent-kafka's Consumer", (catalogue.ON_CONFLUENT,)),
    Goal(3, "a loop of one's own with our decoder", (catalogue.OWN_LOOP,)),
    Goal(9, "NumPy + fastavro", (catalogue.NUMPY_FASTAVRO,)),
    Goal(4, "the fastest peer"),
    Goal(25, "Quix Streams, exactly-once", (catalogue.QUIX_EXACTLY_ONCE,)),
    Goal(0.65, "kcat, which only reads", (catalogue.KCAT,)),
    Goal(9, "NumPy + fastavro, fraud", (catalogue.FRAUD_NUMPY,), (catalogue.FRAUD_OURS,)),
)


def figures(outcomes: Sequence[Outcome]) -> list[Figure]:
    """Each goal with what was reached, in the order of GOALS; none that nothing was measured for."""
    found = []
    for goal in GOALS:
        ours = fastest(outcomes, goal.ours)
        rival = fastest(outcomes, goal.against or rivals(outcomes))
        if ours and rival:
            told = goal.told if goal.against else f"{goal.told}: {rival.peer.name}"
            rates, others = tuple(ours.rates), tuple(rival.rates)
            found.append(Figure(ours.peer.name, rates, told, others, goal.ratio))
    return found


def rivals(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Names of all peers that train on the records of the linear model, in any layout."""
    return tuple(
        each.peer.name
        for each in outcomes
        if each.peer.kind == "peer" and each.peer.layout != FRAUD
    )


def fastest(outcomes: Sequence[Outcome], names: Sequence[str]) -> Outcome | None:
    """Of those with figures that can be believed."""
    found = [each for each in outcomes if each.peer.name in names and each.good]
    return max(found, key=lambda each: each.best, default=None)
