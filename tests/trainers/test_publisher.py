"""Transactions beside the loop: it trains on meanwhile, and what fails there stops it all the same."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import chain_of, job_on, tensor
from tests.trainers.test_training import recomputed
from trainers import loop
from trainers.learner import Rows
from trainers.loop import Trainer, train

pytestmark = pytest.mark.integration


def test_the_loop_trains_while_a_transaction_waits(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit waits until steps have been made that came after it."""
    further = threading.Event()

    class Waiting(Writer):
        def commit(self, *arguments: Any) -> None:
            assert further.wait(60), "no step was made while the transaction was open"
            super().commit(*arguments)

    learn = Trainer.learn

    def learning(trainer: Trainer, rows: Rows) -> float:
        seconds = learn(trainer, rows)
        if trainer.step > 8:
            further.set()
        return seconds

    monkeypatch.setattr(Trainer, "learn", learning)
    monkeypatch.setattr(loop, "Writer", Waiting)
    monkeypatch.setattr(loop, "CHUNK", 256)
    topic = Topic(services, unique, 2)
    X, y = data(20_000, 2)
    topic.send(X, y)
    seen: list[int] = []
    job = job_on(topic, "r", batch_size=64, publish_steps=8)
    result = train(job, services, on_publish=lambda r: seen.append(r.step))
    assert tensor(result) == recomputed(X, y, size=64).tobytes()
    assert seen == [record.step for record in chain_of(topic, "r")]


def test_what_breaks_a_transaction_ends_the_run(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Writer):
        def commit(self, *arguments: Any) -> None:
            self.abort()
            raise UnavailableError("BROKEN", "for good")

    monkeypatch.setattr(loop, "Writer", Broken)
    topic = Topic(services, unique, 2)
    topic.send(*data(1000, 2))
    with pytest.raises(UnavailableError, match=r"^BROKEN"):
        train(job_on(topic, "r", batch_size=64), services)
    assert chain_of(topic, "r") == []


def test_a_transaction_that_never_ends_does_not_keep_the_program(
    services: Services, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops the program by force gets it back, though the broker does not answer."""
    forever = threading.Event()

    class Stuck(Writer):
        def commit(self, *arguments: Any) -> None:
            forever.wait(120)

    learn = Trainer.learn

    def stopped(trainer: Trainer, rows: Rows) -> float:
        if trainer.step >= 4:
            raise KeyboardInterrupt
        return learn(trainer, rows)

    monkeypatch.setattr(Trainer, "learn", stopped)
    monkeypatch.setattr(loop, "Writer", Stuck)
    topic = Topic(services, unique, 2)
    topic.send(*data(1000, 2))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(job_on(topic, "r", batch_size=64, publish_steps=4), services)
    assert time.monotonic() - started < 100
    forever.set()
