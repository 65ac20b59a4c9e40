"""The same Reader on confluent-kafka's Consumer, for machines where librdkafka's own library is out of reach.

It makes Python objects for each record, so it reads several times slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from gradstream.errors import GradstreamError, UnavailableError
from gradstream.wire.kafka import Setting, quiet
from gradstream.wire.reader_base import (
    ANSWER_DEADLINE,
    CHUNK_BYTES,
    LONGEST_WAIT,
    SLICE,
    OnRebalance,
    Reader,
    understand,
)
from gradstream.wire.records import Headers, Records, TopicPartition, no_headers

_OFFSET_UNKNOWN = -1001
_OF_ANY_CLIENT = ("bootstrap", "client.", "reconnect", "sasl", "security", "socket", "ssl")


class ConfluentReader(Reader):
    """See Reader. Make one with ``in_group`` or ``of_log``."""

    @classmethod
    def in_group(
        cls,
        settings: Mapping[str, Setting],
        topics: Sequence[str],
        start: int,
        headers: bool,
        on_rebalance: OnRebalance | None,
    ) -> Self:
        made = cls(settings, topics, start, headers, on_rebalance)
        made._consumer.subscribe(
            list(topics),
            on_assign=made._on_assigned,
            on_revoke=made._on_revoked,
            on_lost=made._on_lost,
        )
        return made

    @classmethod
    def of_log(
        cls, settings: Mapping[str, Setting], offsets: Mapping[TopicPartition, int], headers: bool
    ) -> Self:
        topics = sorted({topic for topic, _ in offsets})
        made = cls(settings, topics, _OFFSET_UNKNOWN, headers, None)
        for topic in topics:
            # So the leaders are known; without them librdkafka would wait half a second.
            made.watermarks(next(at for at in offsets if at[0] == topic))
        made._consumer.assign(_places(offsets))
        made._begins(offsets)
        return made

    def __init__(
        self,
        settings: Mapping[str, Setting],
        topics: Sequence[str],
        start: int,
        headers: bool,
        on_rebalance: OnRebalance | None,
    ) -> None:
        super().__init__(topics, start, headers, on_rebalance)
        self._held: list[Any] = []  # messages that fetch() has not handed out yet
        self._consumer = Consumer(
            {**quiet(settings), "error_cb": self._on_error, "stats_cb": self._note_statistics}
        )
        self._shared = {k: v for k, v in settings.items() if k.startswith(_OF_ANY_CLIENT)}
        self._answers: tuple[AdminClient, Mapping[str, Any]] | None = None

    # Reading

    def _holds(self) -> bool:
        return bool(self._held)

    def _consume(self, max_records: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        changes = self.rebalances
        found = self._pull(max_records, 0.0)
        while not found and not self._raised and changes == self.rebalances:
            if (left := deadline - time.monotonic()) <= 0:
                break
            found = self._pull(1, min(left, SLICE))
            if found and max_records > 1:
                changes = self.rebalances
                more = self._pull(max_records - 1, 0.0)
                # What came before a rebalance will come again, perhaps to another member.
                found = more if changes != self.rebalances else found + more
        self._held = found

    def _pull(self, most: int, timeout: float) -> list[Any]:
        found: list[Any] = self._consumer.consume(most, timeout)
        return found

    def _interpret(self, count: int) -> list[Any]:
        """The records among the first messages that we hold; acts on the others and forgets them.

        What lies behind them stays unread, the end of a partition too: positions must not run ahead of the records.
        """
        first, rest = self._held[:count], self._held[count:]
        good = [message for message in first if message.error() is None]
        if len(good) < len(first):
            self._held = good + rest
            errors = [message for message in first if message.error() is not None]
            found = [self._interpret_one(message) for message in errors]
            for worst in filter(None, found):
                raise worst
        return good

    def _interpret_one(self, message: Any) -> GradstreamError | None:
        error, at = message.error(), (message.topic(), message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            self._reached(at, message.offset())
            return None
        self.trouble = error.str()
        return understand(error.code(), error.str(), at if at[0] else None)

    def _take(self, max_records: int) -> Records:
        n, size = 0, 0
        for message in self._held[:max_records]:
            size += len(message)
            if n and size > CHUNK_BYTES:
                break
            n += 1
        taken = self._interpret(n)
        records = self._columns(taken)
        for message in taken:
            self._reached((message.topic(), message.partition()), message.offset() + 1)
        if taken:
            self.trouble = None
        self._held = self._held[len(taken) :]
        return records

    def _columns(self, messages: list[Any]) -> Records:
        headers: Callable[[int], Headers] = no_headers
        if self._with_headers:
            headers = [_headers_of(message) for message in messages].__getitem__
        return Records(
            topics=tuple(self._topics),
            topic=np.array([self._topic_index(m.topic()) for m in messages], np.int32),
            partition=np.array([m.partition() for m in messages], np.int32),
            offset=np.array([m.offset() for m in messages], np.int64),
            timestamp=np.array([m.timestamp()[1] for m in messages], np.int64),
            key=pa.array([m.key() for m in messages], pa.binary()),
            value=pa.array([m.value() for m in messages], pa.binary()),
            headers=headers,
        )

    # Callbacks, from inside consume() and close()

    def _on_assigned(self, consumer: Consumer, places: list[Place]) -> None:
        offsets: Mapping[TopicPartition, int] = {}
        try:
            offsets = self._take_over(_keys(places))
            self._gained(offsets)
        except BaseException as error:  # noqa: BLE001  fetch() raises it, Ctrl-C included
            self._raised = self._raised or error
        finally:
            consumer.assign(_places(offsets))

    def _on_revoked(self, consumer: Consumer, places: list[Place]) -> None:
        self._leave(places, lost=False)

    def _on_lost(self, consumer: Consumer, places: list[Place]) -> None:
        self._leave(places, lost=True)

    def _leave(self, places: list[Place], *, lost: bool) -> None:
        partitions = _keys(places)
        try:
            self._drop_held(partitions)
            self._gone(partitions, lost=lost)
        except BaseException as error:  # noqa: BLE001  fetch() raises it
            self._raised = self._raised or error
        finally:
            self._owned -= partitions
            self._consumer.unassign()

    def _on_error(self, error: KafkaError) -> None:
        self.trouble = error.str()
        if error.fatal():
            self._raised = self._raised or _unavailable(error, "the group")

    # Positions

    def _try_seek(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        refused = {}
        for at, offset in offsets.items():
            try:
                self._consumer.seek(Place(*at, offset))
            except KafkaException as error:
                refused[at] = str(error.args[0].str())
        return refused

    def _try_committed(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], int, str]:
        asked = _places(dict.fromkeys(partitions, _OFFSET_UNKNOWN))
        try:
            places = self._consumer.committed(asked, timeout=LONGEST_WAIT)
            wrong = next((place.error for place in places if place.error), None)
        except KafkaException as error:
            wrong = error.args[0]
        if wrong:
            return {}, wrong.code(), wrong.str()
        return {(place.topic, place.partition): place.offset for place in places}, 0, ""

    def _ask_topics(self) -> None:
        # A client for each question: the Consumer cannot ask it, and an idle one is not kept (see kafka.admin).
        client = AdminClient(quiet(self._shared))
        self._answers = (
            client,
            client.describe_topics(TopicCollection(self._topics), request_timeout=ANSWER_DEADLINE),
        )

    def _told_topics(self) -> dict[str, tuple[str, int]] | None:
        if self._answers is None or not all(f.done() for f in self._answers[1].values()):
            return None
        told: dict[str, tuple[str, int]] = {}
        for topic, future in self._answers[1].items():
            try:
                told[topic] = str(future.result().topic_id), 0
            except KafkaException as error:
                told[topic] = "", error.args[0].code()
        self._answers = None
        return told

    def watermarks(self, at: TopicPartition, *, cached: bool = False) -> tuple[int, int]:
        self._check_open()
        try:
            found = self._consumer.get_watermark_offsets(
                Place(*at), timeout=ANSWER_DEADLINE, cached=cached
            )
        except KafkaException as error:
            what = f"offsets of partition {at[1]} of {at[0]!r}"
            raise _unavailable(error.args[0], what) from error
        if found is None:
            raise UnavailableError("READ_FAILED", f"no answer about partition {at[1]} of {at[0]!r}")
        low, high = found
        return low, high

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._check_open()
        self._check_owned(partitions)
        self._consumer.pause([Place(*at) for at in partitions])

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self._check_open()
        self._check_owned(partitions)
        self._consumer.resume([Place(*at) for at in partitions])

    def group_metadata(self) -> object:
        self._check_open()
        found: object = self._consumer.consumer_group_metadata()
        return found

    def member_id(self) -> str:
        self._check_open()
        return self._consumer.memberid() or ""

    # Housekeeping

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._held = []
        self._consumer.close()
        self._hear_out()
        self._owned = frozenset()
        self._raise_from_callback()

    def _drop_held(self, partitions: Collection[TopicPartition]) -> None:
        self._held = [m for m in self._held if (m.topic(), m.partition()) not in partitions]


def _places(offsets: Mapping[TopicPartition, int]) -> list[Place]:
    return [Place(topic, partition, offset) for (topic, partition), offset in offsets.items()]


def _keys(places: list[Place]) -> frozenset[TopicPartition]:
    return frozenset((place.topic, place.partition) for place in places)


def _headers_of(message: Any) -> Headers:
    return list(message.headers() or [])


def _unavailable(error: KafkaError, what: str) -> GradstreamError:
    text = f"{what}: {error.str()}"
    return understand(error.code(), text, None) or UnavailableError("READ_FAILED", text)
