"""One place for the settings of every Kafka client, and for the questions that are asked of a broker."""

from __future__ import annotations

import difflib
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, GradstreamError, UnavailableError, UsageError
from gradstream.wire import records

Setting = str | int | float | bool
T = TypeVar("T")
_AWAY = (
    *(KafkaError._TRANSPORT, KafkaError._TIMED_OUT),
    *(KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE),
)
# librdkafka says _NOENT where it has asked for the leaders of partitions and was told none.
_NO_LEADER = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._NOENT,
)
# What a broker says that answers again and has not taken everything up yet.
_COMING_BACK = (
    *_NO_LEADER,
    *(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE),
    *(KafkaError.NOT_COORDINATOR, KafkaError.BROKER_NOT_AVAILABLE),
)
ANSWER = (
    6.0  # seconds that a broker gets to answer; with a command's start, less than 10 for the user
)
log = logging.getLogger("gradstream.wire")
_client_log = logging.getLogger("gradstream.wire.librdkafka")
_client_log.addHandler(
    logging.NullHandler()
)  # so that it reaches the terminal only if someone asks for it

# What callers may tune. Everything else is refused, since some settings load libraries or start programs.
_ACCEPTED = """
    acks batch.num.messages batch.size check.crcs client.id client.rack compression.level compression.type
    connections.max.idle.ms delivery.timeout.ms enable.idempotence fetch.error.backoff.ms fetch.max.bytes
    fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.instance.id
    heartbeat.interval.ms linger.ms max.in.flight.requests.per.connection max.partition.fetch.bytes
    max.poll.interval.ms message.max.bytes message.timeout.ms metadata.max.age.ms partitioner
    queue.buffering.max.kbytes queue.buffering.max.messages queued.max.messages.kbytes queued.min.messages
    receive.message.max.bytes reconnect.backoff.max.ms reconnect.backoff.ms request.timeout.ms retries
    retry.backoff.max.ms retry.backoff.ms sasl.mechanism sasl.mechanisms sasl.password sasl.username
    security.protocol session.timeout.ms socket.connection.setup.timeout.ms socket.keepalive.enable
    socket.timeout.ms ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem
    ssl.endpoint.identification.algorithm ssl.key.location ssl.key.password ssl.key.pem
    sticky.partitioning.linger.ms topic.metadata.refresh.interval.ms transaction.timeout.ms
"""
_MAY_BE_SET = frozenset(_ACCEPTED.split())


def settings(services: Services, tuning: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
    """What every client of ours starts from, with the caller's tuning over it.

    Raises:
        ConfigError: a setting is refused or unknown, or switches a check of certificates off.
    """
    chosen = dict(tuning or {})
    for name, value in chosen.items():
        _check_setting(name, value)
    return {
        "bootstrap.servers": services.bootstrap_servers,
        "client.id": "gradstream",
        "socket.keepalive.enable": True,
        # Half of the first, 50 ms by default, also lies between a client's first two connections: the one that asks for
        # the brokers' addresses, and the one that it works with.
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 2000,
        **chosen,
    }


def _check_setting(name: str, value: Setting) -> None:
    if name not in _MAY_BE_SET:
        near = difflib.get_close_matches(name, _MAY_BE_SET, n=1)
        hint = f"did you mean {near[0]}?" if near else "leave it out"
        raise ConfigError("FORBIDDEN_SETTING", f"Kafka setting {name!r} is not accepted; {hint}")
    if not isinstance(value, str | int | float):
        raise ConfigError("BAD_SETTING", f"Kafka setting {name!r} must be a word or a number")
    if name == "ssl.endpoint.identification.algorithm" and value != "https":
        raise ConfigError("FORBIDDEN_SETTING", f"{name} must stay 'https': it checks the host name")


def quiet(chosen: Mapping[str, Setting]) -> dict[str, Any]:
    """Settings for a client of confluent-kafka whose own lines must not land on the user's terminal."""
    return {**chosen, "logger": _client_log}


def admin(services: Services) -> AdminClient:
    """A client for administration; it connects when first asked something. It is not kept for the process: an idle one,
    whose broker was killed and replaced at its address, was seen to end the process from a thread of librdkafka.
    """
    return AdminClient(quiet(settings(services)))


def check_broker(services: Services, timeout: float = ANSWER) -> None:
    """Return when the broker answers; at once with an error where nobody listens at its address.

    Raises:
        UnavailableError: ``BROKER_UNREACHABLE``, with the address and what to do.
    """
    list_topics(services, timeout)


def require_topics(services: Services, topics: Iterable[str], timeout: float = ANSWER) -> None:
    """Check that the broker answers and has these topics.

    Raises:
        UnavailableError: ``BROKER_UNREACHABLE``.
        DataError: ``UNKNOWN_TOPIC``, with the nearest name.
    """
    found = list_topics(services, timeout)
    for topic in topics:
        _check_name(topic)
        if topic not in found:
            raise unknown_topic(topic, found)


def unknown_topic(topic: str, found: Iterable[str] = ()) -> DataError:
    """The error for a topic that is not there."""
    near = difflib.get_close_matches(topic, list(found), n=1)
    hint = f"did you mean {near[0]}?" if near else "create it, or produce to it first"
    return DataError("UNKNOWN_TOPIC", f"there is no topic {topic!r}; {hint}")


def partitions(
    services: Services, topic: str, timeout: float = ANSWER, client: AdminClient | None = None
) -> int:
    """How many partitions a topic has.

    Args:
        client: to ask; it knows the leaders from then on, which it would otherwise wait for, up to a second.

    Raises:
        DataError: ``UNKNOWN_TOPIC``.
    """
    found = list_topics(services, timeout, client)
    if topic not in found:
        raise unknown_topic(topic, found)
    return found[topic]


def ensure_topics(
    services: Services,
    topics: Mapping[str, int],
    configs: Mapping[str, str] | None = None,
    timeout: float = 15.0,
) -> None:
    """Create those of these topics that do not exist, and return when all can be used.

    Args:
        topics: number of partitions by name; a topic that exists stays as it is.
        configs: topic settings, such as ``{"cleanup.policy": "compact"}``, of those that are created.
    """
    for topic in topics:
        _check_name(topic)
    deadline = time.monotonic() + timeout
    missing = topics.keys() - list_topics(services, timeout).keys()
    if not missing:
        return
    client = admin(services)  # its futures live only as long as it does
    new = [NewTopic(name, topics[name], -1, config=dict(configs or {})) for name in sorted(missing)]
    for name, future in client.create_topics(new, request_timeout=timeout).items():
        try:
            future.result(timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _refused(
                    "TOPIC_REFUSED", f"topic {name!r} cannot be created", error
                ) from error
    # A broker answers before its own metadata shows the topic, so ask until it does.
    while missing - answer(services, client.list_topics, timeout).topics.keys():
        if time.monotonic() > deadline:
            raise UnavailableError(
                "TOPIC_NOT_READY", f"topics {sorted(missing)} did not appear in {timeout:.0f} s"
            )
        time.sleep(0.02)


def delete_topics(services: Services, topics: Iterable[str], timeout: float = 15.0) -> None:
    """Delete those of these topics that exist, and return when the broker lists them no more."""
    names = sorted(set(topics))
    if not names:
        return
    client = admin(services)
    deadline = time.monotonic() + timeout
    for name, future in client.delete_topics(names, request_timeout=timeout).items():
        try:
            future.result(timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _refused(
                    "TOPIC_REFUSED", f"topic {name!r} cannot be deleted", error
                ) from error
    # As with new ones, a broker answers before its own metadata knows; whoever makes one anew meanwhile may have it.
    while set(names) & answer(services, client.list_topics, timeout).topics.keys():
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def end_offsets(
    services: Services, topic: str, *, isolation: str = "read_uncommitted", timeout: float = ANSWER
) -> dict[records.TopicPartition, int]:
    """The offset after the last record of each partition.

    By default records of transactions that are still open count. A commit returns shortly before its records
    become visible, so the other choice, ``read_committed``, may miss what was committed a moment ago.
    """
    return _offsets(services, topic, OffsetSpec.latest(), isolation, timeout)


def begin_offsets(
    services: Services, topic: str, *, timeout: float = ANSWER
) -> dict[records.TopicPartition, int]:
    """The first offset that each partition still has."""
    return _offsets(services, topic, OffsetSpec.earliest(), "read_uncommitted", timeout)


def committed_offsets(
    services: Services, group: str, topic: str, *, timeout: float = ANSWER
) -> dict[records.TopicPartition, int]:
    """What a consumer group has committed; partitions without a commit are missing."""
    client = admin(services)
    count = partitions(services, topic, timeout, client)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, at) for at in range(count)])
    found = client.list_consumer_group_offsets([asked], request_timeout=timeout)
    known = answer(services, found[group].result, timeout).topic_partitions
    return {(at.topic, at.partition): at.offset for at in known if at.offset >= 0}


class Member(NamedTuple):
    """One of a consumer group; ``name`` is empty unless it is a static member."""

    id: str
    name: str
    client: str
    host: str


def group_members(services: Services, group: str, timeout: float = ANSWER) -> list[Member]:
    """Those that are in a consumer group now."""
    # Asked while the broker is away, librdkafka looks for the group's coordinator until the broker is back, and by then
    # an assertion may end the process.
    list_topics(services, timeout)
    client = admin(services)
    found = client.describe_consumer_groups([group], request_timeout=timeout)
    try:
        members = answer(services, found[group].result, timeout).members
    except UnavailableError as error:
        # A broker that has just come back does not know its groups yet.
        raise unreachable(services, error.message) from error
    return [Member(m.member_id, m.group_instance_id or "", m.client_id, m.host) for m in members]


def _offsets(
    services: Services, topic: str, spec: OffsetSpec, isolation: str, timeout: float
) -> dict[records.TopicPartition, int]:
    client = admin(services)
    count = partitions(services, topic, timeout, client)
    level = IsolationLevel[isolation.upper()]
    asked = {TopicPartition(topic, partition): spec for partition in range(count)}
    deadline = time.monotonic() + timeout
    while True:
        found = client.list_offsets(asked, isolation_level=level, request_timeout=timeout)
        try:
            return {
                (at.topic, at.partition): answer(services, future.result, timeout).offset
                for at, future in found.items()
            }
        except UnavailableError as error:
            # A partition that was made a moment ago, or moves, has a leader soon.
            if _leaderless(error) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise


def _leaderless(error: UnavailableError) -> bool:
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() in (
        *_NO_LEADER,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )


def topic_ids(services: Services, topics: Iterable[str], timeout: float = ANSWER) -> dict[str, str]:
    """The id that the cluster gave each topic; one that is deleted and created again has a new id.

    Raises:
        DataError: ``UNKNOWN_TOPIC``.
    """
    names = sorted(set(topics))
    if not names:
        return {}
    require_topics(services, names, timeout)
    client = admin(services)
    found = client.describe_topics(TopicCollection(names), request_timeout=timeout)
    return {
        name: str(answer(services, future.result, timeout).topic_id)
        for name, future in found.items()
    }


def cluster_id(services: Services, timeout: float = ANSWER) -> str:
    """The id of the Kafka cluster; other data under the same address has another id."""
    client = admin(services)
    return str(answer(services, client.list_topics, timeout).cluster_id)


def topic_config(services: Services, topic: str, timeout: float = ANSWER) -> dict[str, str]:
    """A topic's settings, such as ``cleanup.policy``, defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(services)
    found = client.describe_configs([resource], request_timeout=timeout)
    entries = answer(services, found[resource].result, timeout)
    return {name: str(entry.value) for name, entry in entries.items()}


def answer(services: Services, ask: Callable[..., T], timeout: float) -> T:
    """The result of ``ask(timeout=…)``, with a broker that does not answer as one line."""
    try:
        return ask(timeout=timeout)
    except TimeoutError:
        raise unreachable(services, f"no answer in {timeout:.0f} s") from None
    except KafkaException as error:
        raise _refused("BROKER_REFUSED", "the broker refused", error, services) from error


def unreachable(services: Services, why: str) -> UnavailableError:
    """The error for a broker that cannot be reached."""
    return UnavailableError(
        "BROKER_UNREACHABLE",
        f"no Kafka broker answers at {services.bootstrap_servers} ({why}); "
        "start one with: gradstream up, or give --bootstrap-servers HOST:PORT",
    )


def _refused(
    code: str, what: str, error: KafkaException, services: Services | None = None
) -> GradstreamError:
    cause = error.args[0]
    if services and cause.code() in (*_AWAY, *_COMING_BACK):
        return unreachable(services, cause.str())
    return UnavailableError(code, f"{what}: {cause.str()}")


def list_topics(
    services: Services, timeout: float = ANSWER, client: AdminClient | None = None
) -> dict[str, int]:
    """Number of partitions by topic name."""
    deadline = time.monotonic() + timeout
    _knock(services, min(timeout, 3.0))
    left = max(0.1, deadline - time.monotonic())
    found = answer(services, (client or admin(services)).list_topics, left)
    return {name: len(topic.partitions) for name, topic in found.topics.items()}


def _knock(services: Services, timeout: float) -> None:
    """Fail at once where no port is open: librdkafka would go on trying until its deadline."""
    why = "no address given"
    for address in services.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition("://")[2].rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(
                "BAD_ADDRESS", f"{address.strip()!r} is no address of a broker; give HOST:PORT"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout).close()
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return
    raise unreachable(services, why.lower())


def _check_name(topic: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in (".", ".."):
        raise UsageError(
            "BAD_TOPIC_NAME",
            f"{topic!r} cannot be a topic's name; use 1 to 249 letters, digits, dots, dashes and underscores",
        )
