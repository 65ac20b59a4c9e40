"""What is written down: each attempt by itself, and how each chain of them ended."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Literal, Self


class Hang(Exception):  # noqa: N818  what it is called
    """Something that should have happened did not in its time: a failure, not a reason to wait longer."""


class Died(Exception):  # noqa: N818
    """A process has ended that should not have, or in another way than it should have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scenario is asked for.

    Attributes:
        attempts: how many; at least one.
        sample: whether little time should be spent.
        random: the only source of chance, so that a seed makes the same attempts again.
    """

    attempts: int
    sample: bool
    random: random.Random


@dataclass(slots=True)
class Attempt:
    """One accident. As a context it takes what is raised inside as its fault, so that the next ones still happen.

    Attributes:
        subject: what it happens to: a backend, or a service.
        phase: a failpoint, ``random``, or in a word what the subject was doing.
        signal: what was done to it: ``SIGKILL``, ``SIGSTOP 5 s``, ``topic deleted``.
        run: of the trainer that it happened to; the run's ending decides about the attempt too.
        at: the newest committed step and offset when it happened.
        counted: whether the subject was alive, with work that was not committed, and went down as was meant.
        restart_seconds: from the start of the successor to its first commit that readers can see; None where there
            was no successor, or it was killed before.
        import_seconds: of them, those that a framework takes to be imported.
        detail: whatever else is worth knowing.
        fault: why the attempt has failed; empty where it has not.
        scenario, number, seed, began, seconds: filled in by who runs it.
    """

    subject: str
    phase: str = ""
    signal: str = ""
    run: str = ""
    at: str = ""
    counted: bool = False
    restart_seconds: float | None = None
    import_seconds: float = 0.0
    detail: str = ""
    fault: str = ""
    scenario: str = ""
    number: int = 0
    seed: int = 0
    began: float = field(default_factory=time.time)
    seconds: float = 0.0

    @property
    def verdict(self) -> Literal["failed", "passed", "not counted"]:
        if self.fault:
            return "failed"
        return "passed" if self.counted else "not counted"

    def fail(self, why: str) -> None:
        """The first reason is kept: what follows is often its consequence."""
        self.fault = self.fault or why

    def note(self, more: str) -> None:
        """What else is worth knowing."""
        self.detail = "; ".join(filter(None, (self.detail, more)))

    def to_row(self) -> dict[str, Any]:
        return {"kind": "attempt", **asdict(self), "verdict": self.verdict}

    def __enter__(self) -> Self:
        self.began = time.time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.seconds = round(time.time() - self.began, 3)
        if not isinstance(error, Exception):
            return False
        self.fail(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return True


@dataclass(slots=True)
class Ending:
    """How a chain of attempts on one run ended.

    Attributes:
        faults: what the judge and the comparison with the unkilled run have found; empty where all is well.
        lost, repeated, torn: of them, by kind.
        sha256, expected: of all tensors of the last record, here and in the run that nobody touched.
        counted, unjudged: what the judge has counted, and what it could not look into.
    """

    run: str
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    repeated: int = 0
    torn: int = 0
    sha256: str = ""
    expected: str = ""
    counted: dict[str, int] = field(default_factory=dict)
    unjudged: list[str] = field(default_factory=list)
    scenario: str = ""

    def to_row(self) -> dict[str, Any]:
        return {"kind": "ending", **asdict(self)}
