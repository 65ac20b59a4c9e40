"""What a peer is asked to do, and the clock that it reports to."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn, Protocol

BATCH = 256  # records a step
WARM = 10_000  # records that are through before the clock starts
WARM_SECONDS = 2.0  # or so much time since the first of them
LAYOUTS = ("flat", "array", "flat JSON", "array JSON", "fraud")


class Weights(Protocol):
    """A vector of any library."""

    def __iter__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a peer.

    Attributes:
        program: ``module.function`` of this folder.
        layout: of the topic's records, one of LAYOUTS.
        schema: that the topic's Avro values were written with, empty for JSON.
        features, target: fields of a record, in the schema's order; the items of an array go by the same names.
        records: the clock stops with the last of so many.
        seconds: or after so long.
        libraries: whose versions the answer tells.
        options: of the program.
    """

    program: str
    bootstrap: str
    registry: str
    topic: str
    layout: str
    schema: dict[str, Any]
    features: list[str]
    target: str
    records: int
    seconds: float
    libraries: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Times trained records, in whole batches: warm-up is not counted, and neither is a last batch that is not full.

    Attributes:
        over: whether the program may end.
        weights: what has been learned, features only; programs set it when ``over``.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._total = task.records // BATCH * BATCH
        self._first = self._start = 0.0
        self._seen = self._skipped = 0
        self._answer: dict[str, Any] = {}
        self._cpu: Callable[[], float] = time.process_time
        self.weights: Weights | None = None

    @property
    def over(self) -> bool:
        return bool(self._answer)

    def of_process(self, cpu: Callable[[], float]) -> None:
        """Has the seconds on the processor measured by a function, where another process does the work."""
        self._cpu = cpu

    def tick(self, count: int) -> bool:
        """Called after so many records more have been trained on; True when it is over."""
        now = time.perf_counter()
        self._seen += count
        if not self._start:
            self._first = self._first or now
            if self._seen >= WARM or now - self._first > WARM_SECONDS:
                self._start, self._skipped, self._before = now, self._seen, self._cpu()
        elif not self.over and (
            self._seen >= self._total or now - self._start > self._task.seconds
        ):
            self._answer = {
                "records": self._seen - self._skipped,
                "seconds": now - self._start,
                "cpu_seconds": self._cpu() - self._before,
            }
        return self.over

    def leave(self) -> NoReturn:
        """Prints the answer as the last line and ends the process on the spot: how long a library takes to stop is
        no part of the question.
        """
        if not self.over:
            sys.stderr.write(f"the clock has not run to its end: {self._seen} records were told\n")
        weights = None if self.weights is None else [float(each) for each in self.weights]
        told = {**self._answer, "weights": weights, "versions": versions(self._task.libraries)}
        sys.stdout.write("\n" + json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if self.over else 1)


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of those that are installed; the client's own C library, too."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
        if name == "confluent-kafka":
            from confluent_kafka import libversion

            found["librdkafka"] = libversion()[0]
    return found
