"""Trainers with one change each that breaks a promise, and the accidents in which it matters. They run in a process of
their own, which is forked from one that has loaded everything, so that nothing of the change is left behind.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaException

from gradstream import failpoints
from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.wire import reader
from gradstream.wire.writer import Writer
from tests.trainers import runs
from trainers import checkpoint, loop
from trainers.batches import Batches, Portion
from trainers.job import Job

KILLED = -signal.SIGKILL
Change = Callable[[], None]


def auto_commit() -> None:
    """Kafka's consumer commits what has been fetched, every so often."""
    sound = reader.consumer_settings

    def settings(*arguments: Any) -> dict[str, Any]:
        on = {"enable.auto.commit": True, "enable.auto.offset.store": True}
        return {**sound(*arguments), **on, "auto.commit.interval.ms": 100}

    reader.consumer_settings = settings


def commit_before_publish() -> None:
    """The offsets go first, in a transaction of their own."""
    sound = Writer.commit

    def publish(plan: Any, writer: Writer, record: Any, letters: Any, metadata: object) -> None:
        writer.begin()
        sound(writer, record.commits, metadata)
        writer.begin()
        value = checkpoint.weights_value(plan, record)
        writer.send(plan.job.weights_topic, value, pa.array([record.run.encode()], value.type))
        sound(writer, None, None)

    checkpoint.publish = publish


def swallowed_produce_error() -> None:
    """A record that the client does not take is left out."""
    sound = Writer._produce

    def produce(self: Writer, *arguments: Any) -> None:
        with suppress(KafkaException, UnavailableError, checkpoint.DataError):
            sound(self, *arguments)

    Writer._produce = produce  # type: ignore[method-assign]


def cut_by_fetch() -> None:
    """A batch is what has come, full or not."""

    def whatever(self: Batches, most: int) -> Portion | None:
        for lane in self.lanes:
            if len(lane):
                return self._portion([(lane, min(len(lane), self.batch_size))])
        return None

    Batches.next = whatever  # type: ignore[method-assign]


def chain_check_off() -> None:
    """Weights and offsets that disagree are no reason to stop."""
    checkpoint.check_offsets = lambda *arguments: None


def small_client() -> None:
    """An accident: the client takes less than a dead letter needs, and nobody has looked before it does."""
    loop.LARGEST_RECORD = 300_000 - 2**16
    Writer._check_sizes = lambda *arguments: None  # type: ignore[method-assign]


def late_commit() -> None:
    """An accident as an answer that lands on a later transaction would make it: the second commit has no weights."""
    sound, transactions = Writer.send, 0

    def send(self: Writer, topic: str, values: pa.BinaryArray, *more: Any) -> None:
        nonlocal transactions
        transactions += bool(more)  # weights have a key
        if more and transactions == 2:
            return
        sound(self, topic, values, *more)

    Writer.send = send  # type: ignore[method-assign]


def side_by_side(scenario: Callable[[str, tuple[Change, ...]], None], *changes: Change) -> None:
    """Plays a scenario for a sound trainer and for a mutant, each of which mostly waits for the broker."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(scenario, ("sound", "mutant"), ((), changes)))


def trained(job: Job, services: Services, *changes: Change, failpoint: str = "") -> int:
    """The exit code of a trainer with these changes."""
    child = get_context("forkserver").Process(
        target=_train, args=(job, services, changes, {failpoints.VARIABLE: failpoint})
    )
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode is not None
    return child.exitcode


def _train(
    job: Job, services: Services, changes: tuple[Change, ...], environment: Mapping[str, str]
) -> None:
    for change in changes:
        change()
    failpoints.arm(environment)
    loop.train(job, services)


assert runs  # which has the process loaded that these are forked from
