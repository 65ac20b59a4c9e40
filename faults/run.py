"""One run of a trainer: started again after each accident, watched from outside, and compared at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from faults.attempt import Died, Ending
from faults.child import PATIENCE, Child
from faults.compare import compared, hash_of
from faults.topic import Topic
from faults.watch import Watch
from gradstream.failpoints import VARIABLE
from trainers.chain import WeightsRecord

LONG = 300.0  # seconds that a whole run may take
SELDOM = {"publish_every": 20}  # steps: what is left of a run when all its accidents are over


class Trainer(Child):
    """``gradstream train`` in a process of its own.

    Attributes:
        first_commit: seconds from its start to the first commit that readers could see; None before.
    """

    def __init__(
        self, run: Run, log: Path, flags: Mapping[str, object], more: Mapping[str, str]
    ) -> None:
        self.run = run
        self.first_commit: float | None = None
        self._before = run.seen()
        super().__init__(run.argv(flags), run.topic.services, log, more, self.look)

    def look(self) -> None:
        self.run.watch.look()
        if self.first_commit is None and self.run.watch.seen(self.run.name) > self._before:
            self.first_commit = round(time.monotonic() - self.started, 3)

    def commits(self, timeout: float = PATIENCE) -> bool:
        """Waits until readers can see a commit of it; False where it has ended before, with nothing left to do, or where a
        failpoint has stopped it.

        Raises:
            Died: it ended with an error.
        """
        self.wait_until(
            lambda: self.first_commit is not None or not self.alive or self.stopped,
            "its first commit",
            timeout,
        )
        self.run.catch_up(self._before)
        if self.code and self.first_commit is None:
            raise Died(f"{self.state()} before it had committed")
        return self.run.watch.seen(self.run.name) > self._before

    def await_first_commit(self, timeout: float = PATIENCE) -> float:
        """Seconds from the start of the process to its first commit that readers can see.

        Raises:
            Died: it ended before.
        """
        if not self.commits(timeout):
            raise Died(f"{self.state()} before it had committed")
        self.look()
        assert self.first_commit is not None
        return self.first_commit

    def await_commit(self, timeout: float = PATIENCE) -> float:
        """Seconds from now to the next commit of this run that readers can see; what is on its way already counts.

        Raises:
            Died: the process ended before.
        """
        self.look()
        watch, name = self.run.watch, self.run.name
        before = watch.seen(name)
        took = self.wait_until(
            lambda: watch.seen(name) > before or not self.alive, "a commit", timeout
        )
        self.run.catch_up(before)
        if watch.seen(name) <= before:
            raise Died(f"{self.state()} before it had committed")
        return round(took, 3)


class Run:
    """A chain of weights on a topic. Its trainers have the same flags, one after another.

    Args:
        flags: of ``gradstream train``, with underscores; True for one without a value.
    """

    def __init__(
        self, name: str, topic: Topic, watch: Watch, folder: Path, flags: Mapping[str, object]
    ) -> None:
        self.name, self.topic, self.watch = name, topic, watch
        self.flags = dict(flags)
        self.starts = 0
        self._folder = folder
        self.trainers: list[Trainer] = []

    @property
    def backend(self) -> str:
        return str(self.flags.get("backend", "numpy"))

    def argv(self, more: Mapping[str, object]) -> list[str]:
        flags = {
            "source": self.topic.name,
            "target": "Y",
            "run": self.name,
            "weights_topic": self.topic.weights,
            "dead_letters_topic": self.topic.dead,
            **self.flags,
            **more,
        }
        words = [
            (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
            for name, value in flags.items()
        ]
        return [
            sys.executable,
            "-m",
            "gradstream.cli",
            "train",
            *(w for pair in words for w in pair),
        ]

    def start(
        self, failpoint: str = "", flags: Mapping[str, object] | None = None, **more: str
    ) -> Trainer:
        """The next trainer, resuming where the one before has left the run.

        Args:
            failpoint: such as ``after_flush:3=stop``.
            flags: other than the run's.
            more: of its environment.
        """
        self.starts += 1
        log = self._folder / f"{self.name}-{self.starts}.log"
        armed = {VARIABLE: failpoint} if failpoint else {}
        self.trainers.append(Trainer(self, log, flags or {}, {**armed, **more}))
        return self.trainers[-1]

    def seen(self) -> int:
        """Commits that readers can see by now."""
        self.catch_up(self.watch.seen(self.name))
        return self.watch.seen(self.name)

    def catch_up(self, before: int) -> None:
        """A commit that has just been made may need a moment to be read; returns early when one has."""
        for _ in range(5):
            if self.watch.seen(self.name) > before:
                return
            self.watch.look()

    def newest(self) -> WeightsRecord | None:
        self.seen()
        return self.watch.newest(self.name)

    @property
    def ended(self) -> bool:
        """Whether its newest record says that nothing is left to do."""
        newest = self.newest()
        return newest is not None and not newest.unfinished

    def place(self) -> str:
        """The newest committed step, and the sum of the offsets that were committed with it."""
        newest = self.newest()
        if newest is None:
            return "nothing committed"
        return f"step {newest.step}, offset {sum(newest.commits.values())}"

    def finish(self, timeout: float = LONG) -> WeightsRecord:
        """Trains to the end of the log, undisturbed; its last record. Where the run publishes often, that is over now.

        Raises:
            Died, Hang: it did not get there.
        """
        often = "publish_every" in self.flags
        with self.start(flags=SELDOM if often else {}) as trainer:
            return self.last(trainer, timeout)

    def last(self, trainer: Trainer, timeout: float = LONG) -> WeightsRecord:
        """The last record of the run, which this trainer brings to its end.

        Raises:
            Died, Hang: it does not.
        """
        if trainer.await_exit(timeout):
            raise Died(trainer.state())
        trainer.wait_until(lambda: self.ended, "the last record of a run that says it is over")
        newest = self.newest()
        assert newest is not None
        return newest

    def ending(self, expected: WeightsRecord) -> Ending:
        """Trains to the end if that is not reached, compares every tensor with the unkilled run's, asks the judge."""
        try:
            newest = self.newest()
            last = newest if newest and not newest.unfinished else self.finish()
            return compared(self, last, expected)
        except Exception as error:  # noqa: BLE001  whatever it is, this run has not been shown to end well
            faults = [f"{type(error).__name__}: {error}"]
            return Ending(self.name, faults, expected=hash_of(expected))
