"""What every reader of topics is, whichever Kafka client stands behind it, and what its errors mean."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from confluent_kafka import KafkaError

from gradstream.errors import (
    ConfigError,
    DataError,
    GradstreamError,
    RetryError,
    UnavailableError,
)
from gradstream.wire.kafka import Setting, log, unknown_topic
from gradstream.wire.records import Records, TopicPartition
from gradstream.wire.statistics import Statistics

Isolation = Literal["read_committed", "read_uncommitted"]
Change = Literal["assigned", "revoked", "lost"]
OnRebalance = Callable[[Change, frozenset[TopicPartition]], None]

EARLIEST = -2  # as an offset: the first one that the partition still has
LATEST = -1  # as an offset: after the last one

LONGEST_WAIT = 1.0  # seconds in one fetch
SLICE = 0.1  # seconds in one call of the client, which is deaf to Ctrl-C meanwhile
JOIN_DEADLINE = (
    45.0  # seconds; a dead member's open transaction hides the committed offsets for up to 30
)
ANSWER_DEADLINE = 10.0  # seconds for any other question to the broker
FAREWELL = 1.0  # seconds that close() waits for an answer that is still out
LOOK_EVERY = 2.0  # seconds after which a topic may be another one, which librdkafka does not tell
CHUNK_BYTES = 1 << 30  # so that offsets of 32 bits always do

# What the client recovers from by itself: worth telling, not worth stopping.
_PASSING_NAMES = """
_TRANSPORT _ALL_BROKERS_DOWN _TIMED_OUT _RESOLVE _WAIT_COORD _TIMED_OUT_QUEUE
COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR REQUEST_TIMED_OUT
LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION BROKER_NOT_AVAILABLE REBALANCE_IN_PROGRESS
UNKNOWN_MEMBER_ID ILLEGAL_GENERATION UNSTABLE_OFFSET_COMMIT NETWORK_EXCEPTION
"""
_PASSING = frozenset(getattr(KafkaError, name) for name in _PASSING_NAMES.split())


class Reader(ABC):
    """Reads records of topics into columns. Belongs to the thread that uses it, and does not survive a fork.

    Attributes:
        rebalances: grows each time that the group gives or takes partitions; watch it between fetches.
        lost: whether the last change took partitions without asking, so that others may own them already.
        trouble: what the client last reported about its connections, None since records came in again.
        statistics: what the client last told about itself, where it was asked to.
        topic_ids: the id that the cluster gave each topic that is read, as far as known: soon after the first fetch.
    """

    rebalances: int = 0
    lost: bool = False
    trouble: str | None = None
    statistics: Statistics | None = None

    def __init__(
        self,
        topics: Sequence[str],
        start: int,
        headers: bool,
        on_rebalance: OnRebalance | None,
    ) -> None:
        self._topics = list(topics)
        self._start = start
        self._with_headers = headers
        self._on_rebalance = on_rebalance
        self._owned: frozenset[TopicPartition] = frozenset()
        self._positions: dict[TopicPartition, int] = {}
        self.topic_ids: dict[str, str] = {}
        self._missing: frozenset[str] = frozenset()  # topics that were not there the last time
        self._next_look = 0.0
        self._answer_by = 0.0  # while a question is out
        self._closed = False
        self._raised: BaseException | None = None  # in a callback, where nobody could catch it

    @classmethod
    @abstractmethod
    def in_group(
        cls,
        settings: Mapping[str, Setting],
        topics: Sequence[str],
        start: int,
        headers: bool,
        on_rebalance: OnRebalance | None,
    ) -> Self:
        """See open_reader; ``start`` is EARLIEST or LATEST."""

    @classmethod
    @abstractmethod
    def of_log(
        cls, settings: Mapping[str, Setting], offsets: Mapping[TopicPartition, int], headers: bool
    ) -> Self:
        """See open_log_reader."""

    def fetch(self, max_records: int, timeout: float) -> Records:
        """The next records, at most ``max_records``: what is there already, else the first to come.

        Empty when ``timeout`` is over, the end of a partition is met or the group changes. After Ctrl-C it is open
        whether the records that position() counts have reached the caller: seek to where you stand.

        The records' values are copied out of the client's messages when they are asked for, or by the next fetch() if
        somebody has the records by then; ``Records.spans`` tells where they lie meanwhile.

        Args:
            timeout: seconds; more than 1 counts as 1, so that the caller's own clock is served.

        Raises:
            DataError: ``OFFSET_LOST``, ``UNKNOWN_TOPIC``, ``TOPIC_RECREATED``; the last two up to some seconds late.
            UnavailableError, RetryError: the broker or the group refuses; the message says what to do.
        """
        self._check_open()
        if not self._holds():
            self._consume(max_records, min(timeout, LONGEST_WAIT))
        self._raise_from_callback()
        self._watch_topics()
        return self._take(
            max_records
        )  # the last step, so that nothing that fails can lose what it has taken

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go on at these offsets; partitions that are not ours are refused with ``NOT_ASSIGNED``."""
        self._check_open()
        self._check_owned(offsets.keys())
        deadline = time.monotonic() + ANSWER_DEADLINE
        # A partition that was assigned a moment ago cannot be sought yet, so try again.
        left = offsets
        while refused := self._try_seek(left):
            if time.monotonic() > deadline:
                raise UnavailableError("SEEK_FAILED", f"{next(iter(refused.values()))}; try again")
            left = {at: offsets[at] for at in refused}
            time.sleep(0.01)
        self._drop_held(offsets.keys())
        for at, offset in offsets.items():
            self._positions.pop(at, None)
            if offset >= 0:
                self._positions[at] = offset

    def committed(self) -> dict[TopicPartition, int]:
        """The group's committed offset of each partition that we own and that has one."""
        self._check_open()
        found = self._ask_committed(self._owned, ANSWER_DEADLINE)
        return {at: offset for at, offset in found.items() if offset >= 0}

    def position(self) -> dict[TopicPartition, int]:
        """The offset after the last record that fetch() gave, or after the end of the log where that was met.

        A partition of which nothing is known yet is missing. Markers of transactions at the end of a partition
        are counted when the end is met, so a position can be compared with end_offsets().
        """
        return dict(self._positions)

    @abstractmethod
    def watermarks(self, at: TopicPartition, *, cached: bool = False) -> tuple[int, int]:
        """First offset and the one after the last; ``cached``: as of the last fetch, without asking (-1001 unknown)."""

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that this reader reads now."""
        return self._owned

    @abstractmethod
    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch nothing from these partitions until resume(); a rebalance resumes them too."""

    @abstractmethod
    def resume(self, partitions: Collection[TopicPartition]) -> None: ...

    @abstractmethod
    def group_metadata(self) -> object:
        """Who we are in the group right now, for Writer.commit; ask anew before each commit."""

    @abstractmethod
    def member_id(self) -> str:
        """The id that the group gave us when we joined; empty before."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group; a second call does nothing."""

    # What a client of Kafka brings

    @abstractmethod
    def _holds(self) -> bool:
        """Whether there are messages that fetch() has not handed out yet."""

    @abstractmethod
    def _consume(self, max_records: int, timeout: float) -> None:
        """Hold what is there already, else wait for the first to come."""

    @abstractmethod
    def _take(self, max_records: int) -> Records:
        """The messages that we hold, as columns; errors among them first."""

    @abstractmethod
    def _drop_held(self, partitions: Collection[TopicPartition]) -> None:
        """Forget messages of these partitions that were not handed out yet."""

    @abstractmethod
    def _try_seek(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Seek; the partitions that cannot be sought now, and why."""

    @abstractmethod
    def _try_committed(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], int, str]:
        """Committed offsets, negative where there is none; code and words of an error, 0 for none. Within a second."""

    @abstractmethod
    def _ask_topics(self) -> None:
        """Ask the cluster for the ids of the topics, without waiting for an answer."""

    @abstractmethod
    def _told_topics(self) -> dict[str, tuple[str, int]] | None:
        """Id and error code by topic, as far as they are known; None while no answer has come."""

    # What all of them share

    def _take_over(self, partitions: frozenset[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions that the group has just given us begin; none are taken while we are leaving it."""
        if self._closed:
            return {}
        return starts(self._ask_committed(partitions, JOIN_DEADLINE), self._start)

    def _ask_committed(
        self, partitions: Collection[TopicPartition], timeout: float
    ) -> dict[TopicPartition, int]:
        """Committed offsets, negative where there is none; asked in slices, so that Ctrl-C is answered."""
        deadline = time.monotonic() + timeout
        while partitions:
            found, code, text = self._try_committed(partitions)
            if not code:
                return found
            if understand(code, "", None) or time.monotonic() > deadline:
                raise UnavailableError(
                    "OFFSETS_UNKNOWN", f"no committed offsets of the group: {text}"
                )
            time.sleep(0.05)
        return {}

    def _begins(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Bookkeeping of a log's reader, whose partitions never change."""
        self._owned = frozenset(offsets)
        self._positions = {at: offset for at, offset in offsets.items() if offset >= 0}

    def _gained(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Bookkeeping after partitions came, each with the offset at which it starts."""
        self._owned |= offsets.keys()
        self._positions.update({at: offset for at, offset in offsets.items() if offset >= 0})
        self._changed("assigned", frozenset(offsets))

    def _gone(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """Bookkeeping while partitions go; they may still be committed for unless they are lost."""
        self._changed("lost" if lost else "revoked", frozenset(partitions))
        self._owned -= frozenset(partitions)
        for at in partitions:
            self._positions.pop(at, None)

    def _changed(self, change: Change, partitions: frozenset[TopicPartition]) -> None:
        self.rebalances += 1
        self.lost = change == "lost"
        if self._on_rebalance:
            self._on_rebalance(change, partitions)

    def _reached(self, at: TopicPartition, offset: int) -> None:
        """Positions move forward, except by seek(): an end that was met may lie beyond records still to be told."""
        if at in self._owned:
            self._positions[at] = max(offset, self._positions.get(at, 0))

    def _watch_topics(self) -> None:
        """In each fetch: are the topics still those that reading began with? Never waits for the answer."""
        now = time.monotonic()
        if now < self._answer_by:
            if (told := self._told_topics()) is not None:
                self._answer_by = 0.0
                self._check_topics(told)
        elif now >= self._next_look:
            self._next_look, self._answer_by = now + LOOK_EVERY, now + ANSWER_DEADLINE
            self._ask_topics()

    def _hear_out(self) -> None:
        """Before the client ends: librdkafka 2.16 reads a null pointer (rd_kafka_DescribeTopicsResponse_parse) where the
        answer about the topics comes in while its client is being ended.
        """
        until = min(self._answer_by, time.monotonic() + FAREWELL)
        while time.monotonic() < until and self._told_topics() is None:
            time.sleep(0.002)
        self._answer_by = 0.0

    def _check_topics(self, told: Mapping[str, tuple[str, int]]) -> None:
        missing = frozenset(topic for topic, (_, code) in told.items() if code in _NOT_THERE)
        for topic in (
            missing & self._missing
        ):  # twice, since one broker may know of a new topic after the others
            raise unknown_topic(topic)
        self._missing = missing
        for topic, (id_, code) in told.items():
            if not code and self.topic_ids.setdefault(topic, id_) != id_:
                raise DataError(
                    "TOPIC_RECREATED",
                    f"topic {topic!r} was deleted and created again while it was read (id "
                    f"{self.topic_ids[topic]}, now {id_}), so its offsets mean nothing now; "
                    "begin anew with another group",
                )

    def _topic_index(self, name: str) -> int:
        if name not in self._topics:
            self._topics.append(name)
        return self._topics.index(name)

    def _note_statistics(self, text: str | bytes) -> None:
        """From a callback of the client."""
        try:
            self.statistics = Statistics.from_json(text)
        except BaseException as error:  # noqa: BLE001  fetch() raises it
            self._raised = self._raised or error

    def _raise_from_callback(self) -> None:
        if self._raised:
            raised, self._raised = self._raised, None
            raise raised

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("READER_CLOSED", "this reader is closed; open another")

    def _check_owned(self, partitions: Collection[TopicPartition]) -> None:
        if foreign := sorted(set(partitions) - self._owned):
            topic, partition = foreign[0]
            raise RetryError(
                "NOT_ASSIGNED",
                f"partition {partition} of {topic!r} belongs to another member of the group now",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_NOT_THERE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)


def starts(committed: Mapping[TopicPartition, int], start: int) -> dict[TopicPartition, int]:
    """Where to begin: at the committed offset, or at ``start`` where there is none."""
    return {at: offset if offset >= 0 else start for at, offset in committed.items()}


def understand(code: int, text: str, at: TopicPartition | None) -> GradstreamError | None:
    """What an error of the consumer means for the user; None for one that the client recovers from."""
    place = f"partition {at[1]} of {at[0]!r}" if at else "the subscription"
    if code == KafkaError._MAX_POLL_EXCEEDED:
        log.warning(
            "MAX_POLL_EXCEEDED: too long between two fetches, so the group took our partitions away; "
            "make the chunks smaller or raise max.poll.interval.ms (%s)",
            text,
        )
        return None
    if code in _PASSING:
        return None
    if code in (
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError.OFFSET_OUT_OF_RANGE,
    ):
        return DataError(
            "OFFSET_LOST",
            f"{place}: the next record is no longer, or not yet, in the log ({text}); "
            "begin anew with another group, or restore the topic",
        )
    if at and code in _NOT_THERE:
        return unknown_topic(at[0])
    if code in (KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID):
        return RetryError("FENCED", f"another process reads under our name now ({text})")
    if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        return UnavailableError("NOT_AUTHORIZED", f"{place}: {text}; ask for the right to read it")
    return UnavailableError("READ_FAILED", f"{place}: {text} (Kafka error {code})")
