"""What administrators and other producers do to a run's topics while it is away or at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions

from faults.attempt import Attempt, Died, Plan
from faults.compare import hash_of, judged
from faults.lab import Lab
from faults.letters import letters_of
from faults.run import Run, Trainer
from faults.topic import Topic, data
from gradstream.wire.kafka import admin, delete_topics, ensure_topics
from gradstream.wire.writer import Writer

QUESTION = "does a run whose topics were changed under it stop with the reason, or go on rightly?"
SAMPLE, FULL = 12, 12
NEEDS_STACK = False
FLAGS = {"publish_every": 2, "batch_size": 128}
PART = 12  # steps before the accident
SHORT = {"max_steps": PART}
TOLD = 10.0  # seconds after which a trainer that waits must have said for what


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt]:
    for number in range(plan.attempts):
        what, accident = list(ACCIDENTS.items())[number % len(ACCIDENTS)]
        topic = lab.topic(rows=6000, partitions=2)
        attempt = Attempt("topic", what, "administrator", "")
        with attempt:
            accident(lab, topic, attempt)
            attempt.counted = True
        yield attempt


def recreated(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    run = begun(lab, topic, attempt)
    anew(topic)
    run.start().expect("TOPIC_RECREATED", 65)
    unmoved(run, attempt)


def recreated_under_it(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """By a trainer that waits for more: it may see the topic gone before it sees another."""
    run = begun(lab, topic, attempt)
    with run.start(flags={"mode": "live", "max_wait": "10m"}) as trainer:
        trainer.await_first_commit()
        anew(topic)
        trainer.await_exit()
        ends_with(trainer, "TOPIC_RECREATED", "UNKNOWN_TOPIC")
    run.start().expect("TOPIC_RECREATED", 65)


def partitions_added(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """It stops, until somebody agrees to the new order."""
    run = begun(lab, topic, attempt)
    grow(topic, 3)
    topic.send(*data(500, topic.columns, 77), partition=2)
    run.start().expect("PARTITIONS_ADDED", 65)
    unmoved(run, attempt)
    with run.start(flags={"accept_partitions": True}) as trainer:
        if trainer.await_exit():
            raise Died(trainer.state())
    holds(run)


def offsets_lost(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """Removed by retention before they were trained on: no reset to what is left."""
    run = begun(lab, topic, attempt)
    newest = run.newest()
    assert newest is not None
    at, offset = max(newest.commits.items())
    removed = [TopicPartition(*at, offset + 100)]
    client = admin(topic.services)  # which must live as long as its answers
    for future in client.delete_records(removed).values():
        future.result(10)
    run.start().expect("OFFSET_LOST", 65)
    unmoved(run, attempt)


def weights_compacted(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    ensure_topics(topic.services, {topic.weights: 1}, {"cleanup.policy": "compact"})
    lab.run(topic, **FLAGS).start().expect("WEIGHTS_COMPACTED", 78)


def weights_too_large(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """Refused before anything is read."""
    ensure_topics(topic.services, {topic.weights: 1}, {"max.message.bytes": "1500"})
    run = lab.run(topic, **FLAGS)
    run.start().expect("WEIGHTS_TOO_LARGE", 78)
    if run.newest() is not None:
        attempt.fail("something was published")


def letters_refused(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """The broker takes no dead letter: nothing of the transaction counts, the weights in it included."""
    ensure_topics(topic.services, {topic.dead: 1}, {"max.message.bytes": "100"})
    run = lab.run(topic, **FLAGS)
    with run.start() as trainer:
        trainer.await_exit(120)
        ends_with(trainer, "SEND_FAILED")
    if run.newest() is not None:
        attempt.fail("weights were published without their dead letters")


def letters_gone(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """The topic of dead letters is deleted before one is written: no commit passes by it."""
    run = lab.run(topic, **FLAGS)
    with run.start("after_decode=stop") as trainer:
        trainer.await_stopped()
        delete_topics(topic.services, [topic.dead])
        trainer.thaw()
        trainer.await_exit(120)
        ends_with(trainer, "SEND_FAILED", "UNKNOWN_TOPIC")
    if run.newest() is not None:
        attempt.fail("weights were published without their dead letters")
    run.finish()
    holds(run)


def upstream_aborts(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """What an upstream transaction has taken back is trained on by nobody."""
    clean, mixed = lab.topic(partitions=1), lab.topic(partitions=1)
    X, y = data(4000, clean.columns, 5)
    for first in range(0, 4000, 1000):
        rows = slice(first, first + 1000)
        clean.send(X[rows], y[rows])
        mixed.send(X[rows], y[rows])
        with Writer(topic.services, transactional_id=lab.name("upstream")) as writer:
            writer.begin()
            writer.send(mixed.name, mixed.values(X[rows] + 9, y[rows]))
            writer.flush()
            writer.abort()
    same_weights(lab, clean, mixed)


def upstream_hangs(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """Behind a transaction that is left open a trainer waits, says so, and goes on when the broker has ended it."""
    with Writer(
        topic.services, transactional_id=lab.name("upstream"), transaction_timeout_ms=15_000
    ) as writer:
        writer.begin()
        writer.send(topic.name, topic.values(*data(10, topic.columns, 6)))
        writer.flush()
        topic.send(*data(300, topic.columns, 7))
        run = lab.run(topic, **FLAGS)
        trainer = run.start()
        trainer.await_first_commit()
        told = "waiting behind an open transaction"
        attempt.detail = (
            f"told after {trainer.wait_until(lambda: told in trainer.errors, told, TOLD):.1f} s"
        )
        if trainer.await_exit():
            raise Died(trainer.state())
    holds(run)


def sent_twice(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """A producer that sends its rows again has made other records, and they are trained on again."""
    again = lab.topic(partitions=1)
    X, y = data(2000, again.columns, 8)
    again.send(X, y)
    again.send(X, y)
    run = lab.run(again, **FLAGS)
    if (trained := run.finish().records_trained) != 4000:
        attempt.fail(f"{trained} records trained of 2000 that were sent twice")
    attempt.detail = "two Kafka records each: trained on twice"
    holds(run)


def letters_compared(lab: Lab, topic: Topic, attempt: Attempt) -> None:
    """A run that is over and started again has nothing new to say."""
    run = lab.run(topic, **FLAGS)
    last = run.finish()
    before = letters_of(topic, run.name)
    with run.start() as trainer:
        if trainer.await_exit():
            raise Died(trainer.state())
    newest = run.newest()
    if newest is None or newest.sha256 != last.sha256 or letters_of(topic, run.name) != before:
        attempt.fail("a start with nothing to do has published something")


ACCIDENTS: dict[str, Callable[[Lab, Topic, Attempt], None]] = {
    "input deleted and created again": recreated,
    "the same while it is read": recreated_under_it,
    "partitions added": partitions_added,
    "offsets lost to retention": offsets_lost,
    "weights topic compacted": weights_compacted,
    "weights too large": weights_too_large,
    "dead letters refused": letters_refused,
    "dead letters deleted": letters_gone,
    "upstream aborts": upstream_aborts,
    "upstream hangs": upstream_hangs,
    "sent twice": sent_twice,
    "started again at the end": letters_compared,
}


def begun(lab: Lab, topic: Topic, attempt: Attempt) -> Run:
    """A run that has trained on a part of the topic."""
    run = lab.run(topic, **FLAGS)
    attempt.run = run.name
    with run.start(flags=SHORT) as trainer:
        if trainer.await_exit():
            raise Died(trainer.state())
    attempt.at = run.place()
    return run


def unmoved(run: Run, attempt: Attempt) -> None:
    if run.place() != attempt.at:
        attempt.fail(f"it went on from {attempt.at} to {run.place()}")


def anew(topic: Topic) -> None:
    """Another topic of the same name, with as many rows."""
    delete_topics(topic.services, [topic.name])
    time.sleep(1.0)  # the broker deletes the files of the old one
    ensure_topics(topic.services, {topic.name: topic.partitions})
    topic.fill(6000, seed=2)


def grow(topic: Topic, partitions: int) -> None:
    wanted = [NewPartitions(topic.name, partitions)]
    client = admin(topic.services)
    for future in client.create_partitions(wanted).values():
        future.result(10)


def ends_with(trainer: Trainer, *codes: str) -> None:
    if not trainer.code or not trainer.last_words.startswith(tuple(f"{code}: " for code in codes)):
        raise Died(f"{trainer.state()}; expected {' or '.join(codes)}")


def holds(run: Run) -> None:
    """What the judge has to say about it."""
    faults = judged(run).faults
    if faults:
        raise Died("; ".join(faults[:3]))


def same_weights(lab: Lab, clean: Topic, other: Topic) -> None:
    ends = [lab.run(topic, **FLAGS).finish() for topic in (clean, other)]
    if len({hash_of(end) for end in ends}) > 1:
        raise Died("the weights are not those of the log without it")
    if len({end.records_trained for end in ends}) > 1:
        raise Died("another number of records was trained on")
