"""The place where accidents happen: a stack of its own, topics, runs of trainers, and an end that leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from faults.child import Child
from faults.run import Run
from faults.service import Service
from faults.topic import Topic
from faults.watch import Watch
from gradstream.config import Services
from gradstream.errors import ConfigError, GradstreamError
from gradstream.stack import LocalStack
from gradstream.stack.start import undisturbed
from trainers.chain import WeightsRecord

STACK = 180.0  # seconds for the stack to be ready: other work may fill the machine
# What is imported for a backend beside what every trainer imports.
FRAMEWORKS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}


class Lab:
    """A context: everything that was started in it has ended after it.

    Args:
        services: those of somebody else, which must live; None starts a stack in a temporary folder.

    Attributes:
        services: the three addresses.
        stack: of our own, else None.
        folder: for logs and whatever a scenario writes; gone at the end.
    """

    def __init__(self, services: Services | None = None) -> None:
        self._given = services
        self.stack: LocalStack | None = None
        self._temporary = TemporaryDirectory(prefix="gradstream-chaos-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self._name = f"chaos-{uuid.uuid4().hex[:8]}"
        self._topics: list[tuple[Topic, Watch]] = []
        self._runs: list[Run] = []
        self._children: list[Child] = []
        self._references: dict[tuple[str, str], WeightsRecord] = {}

    @property
    def services(self) -> Services:
        return self._given or self._own().services

    @property
    def broker(self) -> Service:
        return Service(self._own(), "broker")

    @property
    def registry(self) -> Service:
        return Service(self._own(), "registry")

    @property
    def engine(self) -> Service:
        return Service(self._own(), "engine")

    def name(self, what: str) -> str:
        """A name for a topic, run or stream that nobody else has."""
        return f"{self._name}-{what}-{uuid.uuid4().hex[:6]}"

    def topic(
        self,
        rows: int = 0,
        partitions: int = 3,
        columns: int = 3,
        seed: int = 1,
        name: str = "",
    ) -> Topic:
        """A training topic; with rows, poison is among them in every partition."""
        made = Topic(self.services, name or self.name("rows"), columns, partitions)
        if rows:
            made.fill(rows, seed)
        self.watch(made)
        return made

    def watch(self, topic: Topic) -> None:
        """Makes a topic known that something else fills, so that there can be runs on it."""
        self._topics.append((topic, Watch(topic)))

    def run(self, topic: Topic, **flags: object) -> Run:
        """A run on it, not started; flags of ``gradstream train`` with underscores."""
        (watch,) = (watch for known, watch in self._topics if known is topic)
        self._runs.append(Run(self.name("run"), topic, watch, self.folder, flags))
        return self._runs[-1]

    def reference(self, topic: Topic, **flags: object) -> WeightsRecord:
        """The last record of such a run that nobody touches; trained once. It publishes as seldom as by default, since how
        often is nobody's business but the broker's.
        """
        flags.pop("publish_every", None)
        key = topic.name, repr(sorted(flags.items()))
        if key not in self._references:
            self._references[key] = self.run(topic, **flags).finish()
        return self._references[key]

    def spawn(
        self, argv: Sequence[str], environment: Mapping[str, str] | None = None, name: str = "child"
    ) -> Child:
        """Any other process, ended with the laboratory at the latest."""
        log = self.folder / f"{self.name(name)}.log"
        self._children.append(Child(argv, self.services, log, environment))
        return self._children[-1]

    def heal(self) -> None:
        """No child lives any more, and the services of our own answer again.

        Raises:
            GradstreamError: they do not; there are new ones now.
        """
        self._end_children()
        if self.stack is not None:
            try:
                self.stack.up()
            except GradstreamError:
                self.stack.down(hurry=True)
                self._new_stack()
                raise

    def clear(self) -> None:
        """After a scenario: nothing that it has opened or started is left."""
        self._end_children()
        for _, watch in self._topics:
            watch.close()
        for kept in (self._runs, self._topics, self._references):
            kept.clear()

    def _end_children(self) -> None:
        """And wakes services, since a frozen one cannot even be asked to end."""
        for child in (*self._children, *(t for run in self._runs for t in run.trainers)):
            child.end()
        self._children.clear()
        if self.stack is not None:
            for service in (self.broker, self.registry, self.engine):
                if service.alive:
                    service.thaw()

    def _new_stack(self) -> None:
        home = self.folder / f"home-{uuid.uuid4().hex[:6]}"
        self.stack = LocalStack(home=home, timeout=STACK)
        self.stack.up()

    def _own(self) -> LocalStack:
        if self.stack is None:
            raise ConfigError(
                "NO_OWN_STACK",
                "these services are somebody else's; a scenario that harms them says NEEDS_STACK = True",
            )
        return self.stack

    def __enter__(self) -> Self:
        if self._given is None:
            self._new_stack()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            self.clear()
            if self.stack is not None:
                self.stack.down(hurry=True)
            self._temporary.cleanup()


def installed(backends: Iterable[str]) -> list[str]:
    """Those of them whose framework is here."""
    return [name for name in backends if find_spec(FRAMEWORKS.get(name, name)) is not None]


@cache
def import_seconds(backend: str) -> float:
    """What a backend's framework takes to be imported on this machine now: the median of three processes."""
    if backend not in FRAMEWORKS:
        return 0.0
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {FRAMEWORKS[backend]}"], check=True, capture_output=True)  # fmt: skip
        seconds.append(time.perf_counter() - began)
    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True, capture_output=True)
    return round(max(0.0, sorted(seconds)[1] - (time.perf_counter() - bare)), 3)
