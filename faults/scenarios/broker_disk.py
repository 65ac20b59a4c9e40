"""The disk is full under the broker, which ends itself; a trainer is at a phase of its transaction meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from confluent_kafka import Producer

from faults.attempt import Attempt, Ending, Hang, Plan
from faults.disks import leave, moved
from faults.lab import Lab
from faults.run import Run
from faults.scenarios.broker import FLAGS, RECOVERY
from gradstream.wire.kafka import ensure_topics

QUESTION = (
    "does a trainer outlive a broker whose disk is full, and does it go on once there is room?"
)
SAMPLE, FULL = 1, 6
NEEDS_STACK = True

PHASES = ("after_begin", "after_produce", "after_send_offsets", "during_commit")
SPARE, ROOM = 48, 500  # MiB of the disk that are left at the beginning, and afterwards
AWAY = 5.0  # seconds in which there is no broker
FILLED = 60.0  # seconds after which a broker that is still there counts as hanging


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    if os.geteuid() != 0:
        yield Attempt("broker", detail="not tried: only root may make a small disk of memory")
        return
    topic = lab.topic(rows=40_000)
    unkilled = lab.reference(topic, **FLAGS)
    for _ in range(plan.attempts):
        run = lab.run(topic, **FLAGS)
        yield accident(lab, run, plan)
        lab.heal()
        yield run.ending(unkilled)


def accident(lab: Lab, run: Run, plan: Plan) -> Attempt:
    """A trainer is held at a phase while the disk fills; there is room again before the broker is started."""
    phase, count = plan.random.choice(PHASES), plan.random.randint(2, 6)
    attempt = Attempt("broker", phase, "disk full", run.name)
    data = lab.broker.stack.folders.broker_data
    with attempt:
        lab.broker.kill()
        with moved(data):
            lab.broker.start()
            leave(data, SPARE)
            try:
                held(lab, run, attempt, f"{phase}:{count}=stop")
            finally:
                leave(data, ROOM)
                if lab.broker.alive:
                    lab.broker.kill()
    return attempt


def held(lab: Lab, run: Run, attempt: Attempt, failpoint: str) -> None:
    """The disk fills while a trainer is held, who then finds no broker, and one with room later."""
    with run.start(failpoint) as trainer:
        trainer.await_stopped()
        attempt.at = run.place()
        fill(lab)
        trainer.thaw()
        time.sleep(AWAY)
        leave(lab.broker.stack.folders.broker_data, ROOM)
        lab.broker.start()
        attempt.restart_seconds = trainer.await_commit(RECOVERY)
        run.last(trainer)
        attempt.counted = True


def fill(lab: Lab) -> None:
    """Records that nobody reads, until the broker has ended itself.

    Raises:
        Hang: it has not.
    """
    filler, junk = lab.name("filler"), os.urandom(500_000)
    ensure_topics(lab.services, {filler: 1})
    deadline = time.monotonic() + FILLED
    producer = Producer(
        {
            "bootstrap.servers": lab.services.bootstrap_servers,
            "message.timeout.ms": 5000,
            "queue.buffering.max.messages": 100,
            "log_level": 0,
        }
    )
    while lab.broker.alive:
        if time.monotonic() > deadline:
            raise Hang("the broker has not ended itself, though its disk is full")
        with suppress(BufferError):
            producer.produce(filler, junk)
        producer.poll(0.02)
    producer.purge()
