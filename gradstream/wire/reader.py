"""Topics to columns: one way to read, behind which two Kafka clients can stand.

with open_reader(services, ["training"], group="run-1") as reader:
    records = reader.fetch(8192, timeout=0.5)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

from gradstream.config import Services
from gradstream.errors import UnavailableError, UsageError
from gradstream.wire.kafka import Setting, log, require_topics, settings
from gradstream.wire.reader_base import EARLIEST, LATEST, Isolation, OnRebalance, Reader
from gradstream.wire.records import TopicPartition

__all__ = ["EARLIEST", "LATEST", "Reader", "open_log_reader", "open_reader"]


def open_reader(
    services: Services,
    topics: Sequence[str],
    group: str,
    *,
    start: Literal["earliest", "latest"] = "earliest",
    client: Literal["librdkafka", "confluent"] | None = None,
    headers: bool = False,
    statistics: float = 0.0,
    on_rebalance: OnRebalance | None = None,
    isolation: Isolation = "read_committed",
    **tuning: Setting,
) -> Reader:
    """A member of a consumer group that reads topics; it commits nothing by itself.

    Args:
        start: where a partition begins that the group has no offset of; an offset that the log has lost is an
            error and never a reset.
        client: None takes librdkafka's C API where its library is found, else confluent-kafka's Consumer;
            ``GRADSTREAM_CLIENT`` in the environment decides where no client is named.
        headers: whether to keep the records' headers, which costs Python objects.
        statistics: every how many seconds the client tells about itself in ``Reader.statistics``; 0 for never.
        on_rebalance: called inside fetch() and close() with what changed; what it raises, fetch() raises.
        tuning: settings of the Kafka client with underscores for dots, such as ``session_timeout_ms=6000``.

    Raises:
        UnavailableError: ``BROKER_UNREACHABLE``.
        DataError: ``UNKNOWN_TOPIC``.
    """
    require_topics(services, topics)
    made = _reader_class(client)
    asked = consumer_settings(services, group, isolation, tuning)
    asked["statistics.interval.ms"] = int(statistics * 1000)
    return made.in_group(
        asked, list(topics), EARLIEST if start == "earliest" else LATEST, headers, on_rebalance
    )


def open_log_reader(
    services: Services,
    offsets: Mapping[TopicPartition, int],
    *,
    isolation: Isolation = "read_committed",
    client: Literal["librdkafka", "confluent"] | None = None,
    headers: bool = False,
    **tuning: Setting,
) -> Reader:
    """Reads given partitions from given offsets (or EARLIEST, LATEST), without a group and without commits."""
    require_topics(services, {topic for topic, _ in offsets})
    made = _reader_class(client)
    asked = consumer_settings(services, "gradstream-log", isolation, tuning)
    return made.of_log(asked, offsets, headers)


def _reader_class(client: str | None) -> type[Reader]:
    name = client or os.environ.get("GRADSTREAM_CLIENT") or "librdkafka"
    if name not in ("librdkafka", "confluent"):
        raise UsageError(
            "UNKNOWN_CLIENT", f"there is no Kafka client {name!r}; use librdkafka or confluent"
        )
    # Imported here, since the two build on this module, and one of them brings Numba.
    if name == "librdkafka":
        try:
            from gradstream.wire.librdkafka_reader import LibrdkafkaReader

            LibrdkafkaReader.check()
            return LibrdkafkaReader
        except UnavailableError as error:
            if client or "GRADSTREAM_CLIENT" in os.environ:
                raise
            _tell_once(str(error))
    from gradstream.wire.confluent_reader import ConfluentReader

    return ConfluentReader


@cache
def _tell_once(why: str) -> None:
    log.warning("reading with confluent-kafka's Consumer: %s", why)


def consumer_settings(
    services: Services, group: str, isolation: Isolation, tuning: Mapping[str, Setting]
) -> dict[str, Setting]:
    """Settings that both clients read with; tuning may have underscores for dots."""
    return {
        # A full local queue stops librdkafka's fetching for this long: 1,000 by default, which halves the rate.
        "fetch.queue.backoff.ms": 5,
        "fetch.max.bytes": 64 << 20,
        "max.partition.fetch.bytes": 16 << 20,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 64 << 10,
        # The end of a partition is told after an empty fetch, so after this long.
        "fetch.wait.max.ms": 100,
        **settings(services, {name.replace("_", "."): value for name, value in tuning.items()}),
        "group.id": group,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Whole partitions at a time, and the same numbers of several topics to the same member, for joins.
        "partition.assignment.strategy": "range",
        # A lost offset must stop us; where a new group starts we say ourselves at each assignment.
        "auto.offset.reset": "error",
        # The topics were there a moment ago, so one that is not found is gone, and not still on its way.
        "topic.metadata.propagation.max.ms": 3000,
        "enable.partition.eof": True,
    }
