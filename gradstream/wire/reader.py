"""Topics to columns: one way to read, behind which two Kafka clients can stand.

with open_reader(services, ["training"], group="run-1") as reader:
    records = reader.fetch(8192, timeout=0.5)
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from gradstream.config import Services
from gradstream.errors import UsageError
from gradstream.wire.kafka import Setting
from gradstream.wire.records import Records, TopicPartition

Isolation = Literal["read_committed", "read_uncommitted"]
Change = Literal["assigned", "revoked", "lost"]
OnRebalance = Callable[[Change, frozenset[TopicPartition]], None]

EARLIEST = -2  # as an offset: the first one that the partition still has
LATEST = -1  # as an offset: after the last one


class Reader(ABC):
    """Reads records of topics into columns. Belongs to the thread that uses it, and does not survive a fork.

    Attributes:
        rebalances: grows each time that the group gives or takes partitions; watch it between fetches.
        lost: whether the last change took partitions without asking, so that others may own them already.
        trouble: what the client last reported about its connections, None since records came in again.
    """

    rebalances: int = 0
    lost: bool = False
    trouble: str | None = None

    @abstractmethod
    def fetch(self, max_records: int, timeout: float) -> Records:
        """The next records, at most ``max_records``; returns when there are that many or ``timeout`` is over.

        Args:
            timeout: seconds; more than 1 counts as 1, so that Ctrl-C is answered.

        Raises:
            DataError: ``OFFSET_LOST``, ``UNKNOWN_TOPIC``.
            UnavailableError, RetryError: the broker or the group refuses; the message says what to do.
        """

    @abstractmethod
    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go on at these offsets; partitions that are not ours are refused with ``NOT_ASSIGNED``."""

    @abstractmethod
    def committed(self) -> dict[TopicPartition, int]:
        """The group's committed offset of each partition that we own and that has one."""

    @abstractmethod
    def position(self) -> dict[TopicPartition, int]:
        """The offset after the last record that fetch() gave, or after the end of the log where that was met.

        A partition of which nothing is known yet is missing. Markers of transactions at the end of a partition
        are counted when the end is met, so a position can be compared with end_offsets().
        """

    @abstractmethod
    def watermarks(self, at: TopicPartition, *, cached: bool = False) -> tuple[int, int]:
        """First offset and the one after the last; ``cached``: as of the last fetch, without asking (-1001 unknown)."""

    @abstractmethod
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that this reader reads now."""

    @abstractmethod
    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch nothing from these partitions until resume(); a rebalance resumes them too."""

    @abstractmethod
    def resume(self, partitions: Collection[TopicPartition]) -> None: ...

    @abstractmethod
    def group_metadata(self) -> object:
        """Who we are in the group right now, for Writer.commit; ask anew before each commit."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_reader(
    services: Services,
    topics: Sequence[str],
    group: str,
    *,
    start: Literal["earliest", "latest"] = "earliest",
    client: Literal["librdkafka", "confluent"] | None = None,
    headers: bool = False,
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
        on_rebalance: called inside fetch() and close() with what changed; what it raises, fetch() raises.
        tuning: settings of the Kafka client with underscores for dots, such as ``session_timeout_ms=6000``.

    Raises:
        UnavailableError: ``BROKER_UNREACHABLE``.
        DataError: ``UNKNOWN_TOPIC``.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def _client(asked: str | None) -> str:
    name = asked or os.environ.get("GRADSTREAM_CLIENT") or "librdkafka"
    if name not in ("librdkafka", "confluent"):
        raise UsageError(
            "UNKNOWN_CLIENT", f"there is no Kafka client {name!r}; use librdkafka or confluent"
        )
    return name
