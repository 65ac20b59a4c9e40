"""The producer of librdkafka's C API under the names that confluent-kafka's Producer has, as far as Writer needs them.

It takes whole columns, in a third of the time, and hears only of records that failed. Its news come as events of one
queue, which poll(), flush() and the ends of transactions look at; nothing calls back from elsewhere. Errors are
confluent-kafka's own.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from gradstream.wire import hand_over, librdkafka
from gradstream.wire.kafka import Setting
from gradstream.wire.librdkafka import Message, PartitionList

_COPY = 0x2  # RD_KAFKA_MSG_F_COPY
_FAILED, _TROUBLE = 0x1, 0x8  # RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR
_QUEUED_AND_UNDER_WAY = 0x1 | 0x2
_TURN = (
    0.05  # seconds in a call that waits for records to end, between two looks at those that failed
)


class Undelivered:
    """What is told of a record that failed."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


class LibrdkafkaProducer:
    """See confluent_kafka.Producer.

    Args:
        on_error: called with what is wrong with the client.
        on_delivery: called with what is wrong with a record.

    Raises:
        UnavailableError: ``LIBRDKAFKA_MISSING``; ConfigError: ``BAD_SETTING``.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting],
        on_error: Callable[[KafkaError], None],
        on_delivery: Callable[[KafkaError, Undelivered], None],
    ) -> None:
        self._handle = 0
        self._lib = librdkafka.load()
        self._on_error, self._on_delivery = on_error, on_delivery
        self._produce = librdkafka.address(self._lib.produceva)
        self._topics: dict[str, int] = {}
        self._slots = np.zeros((len(hand_over.MEANINGS), hand_over.SLOT // 8), np.int64)
        self._slots[:, 0] = hand_over.MEANINGS
        self._slots[hand_over.FLAGS, 1] = _COPY
        self._handle = librdkafka.new_producer(settings, _FAILED | _TROUBLE)
        self._queue = self._lib.queue_get_main(self._handle)

    def __len__(self) -> int:
        return int(self._lib.outq_len(self._handle))

    def __del__(self) -> None:
        if not self._handle:
            return
        handle, self._handle = self._handle, 0
        for topic in self._topics.values():
            self._lib.topic_destroy(topic)
        self._lib.queue_destroy(self._queue)
        self._lib.destroy_flags(handle, 0)

    # Sending

    def send(
        self,
        topic: str,
        rows: slice,
        values: pa.BinaryArray,
        keys: pa.BinaryArray | None,
        timestamps: npt.NDArray[np.int64] | None,
        partitions: npt.NDArray[np.int32] | None,
        taken: npt.NDArray[np.int64],
    ) -> None:
        """Hand rows over in order, until one is refused.

        Args:
            taken: int64 (1,), what is counted up with each record that was taken.

        Raises:
            BufferError: the queue is full; KafkaException: anything else.
        """
        self._slots[hand_over.TOPIC, 1] = self._topic(topic)
        # Read by address, so they must lie there as the loop takes them to; held until it has ended.
        places = None if partitions is None else np.ascontiguousarray(partitions, np.int32)
        times = None if timestamps is None else np.ascontiguousarray(timestamps, np.int64)
        error = hand_over.hand_over(
            rows.start,
            min(rows.stop, len(values)),
            self._produce,
            self._handle,
            self._slots.ctypes.data,
            _places(values),
            _places(keys),
            0 if places is None else places.ctypes.data,
            0 if times is None else times.ctypes.data,
            taken,
        )
        if error:
            cause = self._taken(error)
            if cause.code() == KafkaError._QUEUE_FULL:
                raise BufferError(cause.str())
            raise KafkaException(cause)

    def _topic(self, name: str) -> int:
        if name not in self._topics:
            made = self._lib.topic_new(self._handle, name.encode(), None)
            if not made:
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, f"topic {name!r}"))
            self._topics[name] = made
        return self._topics[name]

    # News

    def poll(self, timeout: float) -> int:
        """Call back with all news; waits ``timeout`` seconds for the first. Returns their number."""
        count = 0
        while event := self._lib.queue_poll(self._queue, 0 if count else _ms(timeout)):
            count += 1
            try:
                self._tell(event)
            finally:
                self._lib.event_destroy(event)
        return count

    def _tell(self, event: int) -> None:
        kind = self._lib.event_type(event)
        if kind == _FAILED:
            while address := self._lib.event_message_next(event):
                failed = Message.from_address(address)
                topic = self._lib.topic_name(failed.rkt).decode()
                self._on_delivery(_error(failed.err), Undelivered(topic))
        elif kind == _TROUBLE:
            code = self._lib.event_error(event)
            if code != KafkaError._FATAL and not self._lib.event_error_is_fatal(event):
                text = self._lib.event_error_string(event) or b""
                self._on_error(_error(code, text.decode(errors="replace")))
                return
            why = ctypes.create_string_buffer(512)
            code = self._lib.fatal_error(self._handle, why, len(why)) or code
            text = why.value.decode(errors="replace")
            self._on_error(KafkaError(code, text, fatal=True))

    def flush(self, timeout: float) -> int:
        """Wait until no record is on its way; returns how many are after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self.poll(0)
            left = deadline - time.monotonic()
            if not self._lib.flush(self._handle, _ms(min(_TURN, left))) or left <= 0:
                self.poll(0)
                return len(self)

    def purge(self) -> None:
        """Give up all records that wait or are under way."""
        self._lib.purge(self._handle, _QUEUED_AND_UNDER_WAY)

    def list_topics(self, topic: str | None, timeout: float) -> None:
        """Ask a broker for its topics, which connects to it; what it says is not looked at.

        Raises:
            KafkaException: no broker answered.
        """
        found = ctypes.c_void_p()
        code = self._lib.metadata(self._handle, 0, topic, ctypes.byref(found), _ms(timeout))
        if code:
            raise KafkaException(_error(code))
        self._lib.metadata_destroy(found)

    # Transactions

    def init_transactions(self, timeout: float) -> None:
        self._check(self._lib.init_transactions(self._handle, _ms(timeout)))

    def begin_transaction(self) -> None:
        self._check(self._lib.begin_transaction(self._handle))

    def send_offsets_to_transaction(
        self, places: Iterable[Place], group_metadata: bytes, timeout: float
    ) -> None:
        group = ctypes.c_void_p()
        self._check(
            self._lib.consumer_group_metadata_read(
                ctypes.byref(group), group_metadata, len(group_metadata)
            )
        )
        try:
            with PartitionList({(of.topic, of.partition): of.offset for of in places}) as offsets:
                send = self._lib.send_offsets_to_transaction
                self._check(send(self._handle, offsets.pointer, group, _ms(timeout)))
        finally:
            self._lib.consumer_group_metadata_destroy(group)

    def commit_transaction(self, timeout: float) -> None:
        self._in_turns(self._lib.commit_transaction, timeout)

    def abort_transaction(self, timeout: float) -> None:
        self._in_turns(self._lib.abort_transaction, timeout)

    def _in_turns(self, call: Callable[[int, int], int | None], timeout: float) -> None:
        """Both wait for all records, and a failed one is on its way until its event has been looked at."""
        deadline = time.monotonic() + timeout
        while True:
            self.poll(0)
            left = deadline - time.monotonic()
            error = call(self._handle, _ms(min(_TURN, left) if len(self) else left))
            if not error:
                return
            cause = self._taken(error)
            if cause.code() != KafkaError._TIMED_OUT or left <= _TURN:
                raise KafkaException(cause)

    def _check(self, error: int | None) -> None:
        if error:
            raise KafkaException(self._taken(error))

    def _taken(self, error: int) -> KafkaError:
        """An rd_kafka_error_t as confluent-kafka's; it is freed."""
        lib = self._lib
        try:
            return KafkaError(
                lib.error_code(error),
                (lib.error_string(error) or b"").decode(errors="replace"),
                fatal=bool(lib.error_is_fatal(error)),
                retriable=bool(lib.error_is_retriable(error)),
                txn_requires_abort=bool(lib.error_txn_requires_abort(error)),
            )
        finally:
            lib.error_destroy(error)


def _error(code: int, text: str = "") -> KafkaError:
    return KafkaError(code, text or librdkafka.error_text(code))


def _ms(seconds: float) -> int:
    """Whole milliseconds, and 0 for nothing only."""
    return max(0, -int(-seconds * 1000 // 1))


def _places(values: pa.BinaryArray | None) -> npt.NDArray[Any]:
    """What hand_over() needs to know of a column."""
    found = np.zeros(4, np.int64)
    if values is None or len(values) == values.null_count:
        return found
    bits, ends, data = values.buffers()
    found[0] = ends.address + 4 * values.offset
    found[1] = (
        data.address if data and data.address else found.ctypes.data
    )  # not 0 for empty values
    found[2] = bits.address if values.null_count else 0
    found[3] = values.offset
    return found
