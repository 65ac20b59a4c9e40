"""What a broker shows to a reader that believes committed transactions only, read with confluent-kafka's Consumer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

ANSWER = 10.0  # seconds for the broker to answer one question
PATIENCE = 60.0  # seconds without a record before the end, after which the reading is given up
AT_ONCE, WAIT = 10_000, 0.05  # messages and seconds of a call
# What a client reports of its connection while it tries again by itself.
PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)


class Hidden(Exception):  # noqa: N818  the name is what it is
    """The end of a topic cannot be seen, so nothing can be said of it."""


class Message(NamedTuple):
    """A record that a reader sees. A null key or value is None."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Broker:
    """Reads whole topics, and what a group has committed.

    Args:
        servers: host:port, several with commas.
    """

    def __init__(self, servers: str) -> None:
        self._servers = servers

    def _consumer(self, group: str = "judge", isolation: str = "read_committed") -> Any:
        return Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": group,
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                # Markers of transactions take offsets too: only this event tells that a partition has been read up.
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 5,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
                "error_cb": lambda error: None,  # it tries again; PATIENCE is ours
            }
        )

    def partitions(self, topic: str) -> list[int]:
        """Of a topic, in order; none where there is no such topic."""
        with closing(self._consumer()) as consumer:
            found = consumer.list_topics(timeout=ANSWER).topics.get(topic)
            return sorted(found.partitions) if found is not None else []

    def topic_id(self, topic: str) -> str:
        """Another one for a topic that has been deleted and created again; empty where there is none."""
        if not self.partitions(topic):
            return ""
        admin = AdminClient({"bootstrap.servers": self._servers, "log_level": 0})
        asked = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER)
        return str(asked[topic].result(ANSWER).topic_id)

    def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset that is left of each partition, and the end: that of all records, so that those of an open
        transaction are not taken for nothing.
        """
        with closing(self._consumer(isolation="read_uncommitted")) as consumer:
            return {
                partition: consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=ANSWER
                )
                for partition in self.partitions(topic)
            }

    def groups(self, prefix: str) -> list[str]:
        """The groups whose names begin so."""
        admin = AdminClient({"bootstrap.servers": self._servers, "log_level": 0})
        told = admin.list_consumer_groups(request_timeout=ANSWER).result(ANSWER)
        return sorted(g.group_id for g in told.valid if g.group_id.startswith(prefix))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a group has committed, by partition; those of a pending transaction are waited for.

        Raises:
            Hidden: they stay pending.
        """
        places = [TopicPartition(topic, partition) for partition in self.partitions(topic)]
        deadline = time.monotonic() + PATIENCE
        with closing(self._consumer(group)) as consumer:
            while places:
                try:
                    answer = consumer.committed(places, timeout=ANSWER)
                    break
                except KafkaException as error:
                    if time.monotonic() > deadline:
                        raise Hidden(f"offsets of group {group}: {error.args[0].str()}") from error
                    time.sleep(0.1)
            else:
                answer = []
        return {place.partition: place.offset for place in answer if place.offset >= 0}

    def read(self, topic: str) -> list[Message]:
        """Every visible record, partition by partition in the order of offsets, up to the end of now.

        Raises:
            Hidden: the broker does not show it, for instance behind a transaction that stays open.
        """
        bounds = self.bounds(topic)
        if not bounds:
            return []
        with closing(self._consumer()) as consumer:
            consumer.assign([TopicPartition(topic, p, low) for p, (low, _) in bounds.items()])
            ends = {p: high for p, (low, high) in bounds.items() if low < high}
            return sorted(self._until(consumer, topic, ends))

    @staticmethod
    def _until(consumer: Any, topic: str, ends: dict[int, int]) -> Iterator[Message]:
        """Takes partitions out of ``ends`` as they are read up."""
        deadline = time.monotonic() + PATIENCE
        while ends:
            for message in consumer.consume(AT_ONCE, WAIT):
                partition, offset, error = message.partition(), message.offset(), message.error()
                if error is None:
                    deadline = time.monotonic() + PATIENCE
                    yield Message(partition, offset, message.key(), message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    if offset >= ends.get(partition, offset + 1):
                        del ends[partition]
                elif error.code() not in PASSING:  # its value is the words of the error, no record
                    raise Hidden(f"{topic}/{partition}: {error.str()}")
            if time.monotonic() > deadline:
                raise Hidden(
                    f"the end of {topic}, partitions {sorted(ends)}, for {PATIENCE:.0f} s; "
                    "a transaction may be open"
                )
