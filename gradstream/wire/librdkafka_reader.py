"""A Reader on librdkafka's C API: batches of messages become columns without a Python object for a record."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError

from gradstream.errors import GradstreamError, UnavailableError
from gradstream.wire import gather, librdkafka
from gradstream.wire.held import Held, LentRecords, Loan
from gradstream.wire.kafka import Setting
from gradstream.wire.librdkafka import Message, PartitionList, error_text, read_entries, take_error
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

_CLOSE_DEADLINE = 5.0  # seconds to leave the group; without it the broker notices by itself


class LibrdkafkaReader(Reader):
    """See Reader. Make one with ``in_group`` or ``of_log``."""

    @staticmethod
    def check() -> None:
        """Raise UnavailableError where the library cannot be used."""
        librdkafka.load()
        gather.compile_all()

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
        with PartitionList({(topic, -1): librdkafka.OFFSET_UNKNOWN for topic in topics}) as wanted:
            made._check(made._lib.subscribe(made._handle, wanted.pointer), "subscribe")
        return made

    @classmethod
    def of_log(
        cls, settings: Mapping[str, Setting], offsets: Mapping[TopicPartition, int], headers: bool
    ) -> Self:
        topics = sorted({topic for topic, _ in offsets})
        made = cls(settings, topics, librdkafka.OFFSET_UNKNOWN, headers, None)
        for topic in topics:
            # So the leaders are known; without them librdkafka would wait half a second.
            made.watermarks(next(at for at in offsets if at[0] == topic))
        made._assign(offsets)
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
        self._lib = librdkafka.load()
        self._held = Held()
        # ctypes frees a callback that nobody holds, so we do.
        self._callbacks = (
            librdkafka.RebalanceCallback(self._on_change),
            librdkafka.ErrorCallback(self._on_error),
            librdkafka.StatisticsCallback(self._on_statistics),
        )
        self._handle = librdkafka.new_consumer(settings, *self._callbacks)
        self._queue = self._lib.queue_get_consumer(self._handle)
        self._answers = self._lib.queue_new(self._handle)

    # Reading

    def _holds(self) -> bool:
        return len(self._held) > 0

    def _consume(self, max_records: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        changes = self.rebalances
        self._held.pull(self._queue, max_records, min(timeout, SLICE))
        while not self._held and not self._raised and changes == self.rebalances:
            if (left := deadline - time.monotonic()) <= 0:
                return
            self._held.pull(self._queue, max_records, min(left, SLICE))

    def _take(self, max_records: int) -> Records:
        found = self._held.sort_out(max_records, CHUNK_BYTES)
        if self._held.errors():
            self._interpret()
        headers = self._headers(self._held.next(found.n)) if self._with_headers else no_headers
        names = [self._lib.topic_name(handle).decode() for handle in found.slot_topic.tolist()]
        index = [self._topic_index(name) for name in names]
        loan = Loan(found)
        records = LentRecords(
            loan,
            topics=tuple(self._topics),
            topic=_topic_of_each(index, found.slot),
            partition=found.partition,
            offset=found.offset,
            timestamp=found.timestamp,
            key=self._held.keys(found),
            headers=headers,
        )
        self._held.lend(loan, found.n)
        places = zip(names, found.slot_partition.tolist(), found.slot_last.tolist(), strict=True)
        for name, partition, offset in places:
            self._reached((name, partition), offset + 1)
        if found.n:
            self.trouble = None
        return records

    def _headers(self, messages: list[int]) -> Callable[[int], Headers]:
        found = [list(self._headers_of(message)) for message in messages]
        return found.__getitem__

    def _headers_of(self, message: int) -> Iterator[tuple[str, bytes | None]]:
        headers, value = ctypes.c_void_p(), ctypes.c_void_p()
        name, size = ctypes.c_char_p(), ctypes.c_size_t()
        if self._lib.message_headers(message, ctypes.byref(headers)) != 0:
            return
        place = 0
        out = (ctypes.byref(name), ctypes.byref(value), ctypes.byref(size))
        while self._lib.header_get_all(headers, place, *out) == 0:
            text = (name.value or b"").decode(errors="replace")
            yield text, ctypes.string_at(value.value, size.value) if value.value else None
            place += 1

    def _interpret(self) -> None:
        """Act on messages that are events or errors, and give them back."""
        worst: GradstreamError | None = None
        try:
            for address in self._held.errors():
                worst = worst or self._interpret_one(Message.from_address(address))
        finally:
            self._held.drop_errors()
        if worst:
            raise worst

    def _interpret_one(self, message: Message) -> GradstreamError | None:
        at = None
        if message.rkt:
            at = self._lib.topic_name(message.rkt).decode(), message.partition
        if message.err == KafkaError._PARTITION_EOF and at:
            self._reached(at, message.offset)
            return None
        text = ctypes.string_at(message.payload, message.len).decode(errors="replace")
        self.trouble = text or error_text(message.err)
        if message.err == KafkaError._FATAL:
            return self._fatal()
        return understand(message.err, self.trouble, at)

    def _fatal(self) -> GradstreamError:
        text = ctypes.create_string_buffer(512)
        code = self._lib.fatal_error(self._handle, text, len(text))
        words = text.value.decode(errors="replace")
        return understand(code, words, None) or UnavailableError("READ_FAILED", words)

    # Callbacks: on our own thread, from inside librdkafka, which cannot carry an exception.

    def _on_change(self, handle: int, code: int, partitions: int, opaque: int) -> None:
        try:
            if code == librdkafka.ASSIGN_PARTITIONS:
                self._on_assigned(frozenset(read_entries(partitions)))
            else:
                self._on_revoked(frozenset(read_entries(partitions)))
        except BaseException as error:  # noqa: BLE001  fetch() raises it, Ctrl-C included
            self._raised = self._raised or error

    def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        offsets: Mapping[TopicPartition, int] = {}
        try:
            offsets = self._take_over(partitions)
        finally:
            self._assign(offsets)
        self._gained(offsets)

    def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        try:
            self._drop_held(partitions)
            self._gone(partitions, lost=bool(self._lib.assignment_lost(self._handle)))
        finally:
            self._owned -= partitions
            self._lib.assign(self._handle, None)

    def _on_error(self, handle: int, code: int, reason: bytes, opaque: int) -> None:
        try:
            self.trouble = reason.decode(errors="replace")
            if code == KafkaError._FATAL:
                self._raised = self._raised or self._fatal()
        except BaseException as error:  # noqa: BLE001  fetch() raises it
            self._raised = self._raised or error

    def _on_statistics(self, handle: int, text: int, size: int, opaque: int) -> int:
        self._note_statistics(ctypes.string_at(text, size))
        return 0  # librdkafka frees the text

    # Positions

    def _try_seek(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        with PartitionList(offsets) as wanted:
            failed, text = take_error(self._lib.seek_partitions(self._handle, wanted.pointer, 1000))
            errors = {at: err for at, (_, err) in wanted.entries().items() if err}
        refused = {at: text or error_text(code) for at, code in errors.items()}
        if failed:
            return {at: refused.get(at, text or error_text(failed)) for at in offsets}
        return refused

    def _try_committed(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], int, str]:
        with PartitionList(partitions) as wanted:
            code = self._lib.committed(self._handle, wanted.pointer, int(LONGEST_WAIT * 1000))
            found = wanted.entries()
        code = code or next((err for _, err in found.values() if err), 0)
        if code:
            return {}, code, error_text(code)
        return {at: offset for at, (offset, _) in found.items()}, 0, ""

    def _ask_topics(self) -> None:
        librdkafka.ask_topic_ids(self._handle, self._topics, self._answers)

    def _told_topics(self) -> dict[str, tuple[str, int]] | None:
        return librdkafka.take_topic_ids(self._answers)

    def watermarks(self, at: TopicPartition, *, cached: bool = False) -> tuple[int, int]:
        self._check_open()
        low, high = ctypes.c_int64(), ctypes.c_int64()
        place = (self._handle, at[0].encode(), at[1], ctypes.byref(low), ctypes.byref(high))
        if cached:
            code = self._lib.get_watermark_offsets(*place)
        else:
            code = self._lib.query_watermark_offsets(*place, int(ANSWER_DEADLINE * 1000))
        self._check(code, f"offsets of partition {at[1]} of {at[0]!r}")
        return low.value, high.value

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._check_open()
        self._check_owned(partitions)
        with PartitionList(partitions) as wanted:
            self._check(self._lib.pause_partitions(self._handle, wanted.pointer), "pause")

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self._check_open()
        self._check_owned(partitions)
        with PartitionList(partitions) as wanted:
            self._check(self._lib.resume_partitions(self._handle, wanted.pointer), "resume")

    def group_metadata(self) -> object:
        self._check_open()
        metadata = self._lib.consumer_group_metadata(self._handle)
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        try:
            code, why = take_error(
                self._lib.consumer_group_metadata_write(
                    metadata, ctypes.byref(text), ctypes.byref(size)
                )
            )
        finally:
            self._lib.consumer_group_metadata_destroy(metadata)
        if code or not text.value:
            raise UnavailableError("NO_GROUP", f"no metadata of the group: {why}")
        try:
            return ctypes.string_at(text.value, size.value)
        finally:
            self._lib.mem_free(None, text)

    def member_id(self) -> str:
        self._check_open()
        text = self._lib.memberid(self._handle)
        if not text:
            return ""
        try:
            return ctypes.string_at(text).decode()
        finally:
            self._lib.mem_free(None, text)

    # Housekeeping

    def close(self) -> None:
        if not self._handle:
            return
        self._closed = True
        try:
            self._held.give_back()
            take_error(self._lib.consumer_close_queue(self._handle, self._queue))
            deadline = time.monotonic() + _CLOSE_DEADLINE
            while not self._lib.consumer_closed(self._handle) and time.monotonic() < deadline:
                self._held.pull(self._queue, 1024, SLICE)
                self._held.give_back()
            self._hear_out()
        finally:
            self._let_go()
        self._raise_from_callback()

    def _let_go(self) -> None:
        self._owned = frozenset()
        self._held.give_back()  # librdkafka would wait for them for ever
        handle, self._handle = self._handle, 0
        self._lib.queue_destroy(self._queue)
        self._lib.queue_destroy(self._answers)
        self._lib.destroy_flags(handle, librdkafka.DESTROY_WITHOUT_CLOSE)

    def _assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        with PartitionList(offsets) as wanted:
            self._check(self._lib.assign(self._handle, wanted.pointer), "assign")

    def _drop_held(self, partitions: Collection[TopicPartition]) -> None:
        if self._held:
            self._held.drop([self._place(m) not in partitions for m in self._held.all()])

    def _place(self, address: int) -> TopicPartition:
        message = Message.from_address(address)
        name = self._lib.topic_name(message.rkt).decode() if message.rkt else ""
        return name, message.partition

    def _check(self, code: int, what: str) -> None:
        if code:
            text = error_text(code)
            raise understand(code, text, None) or UnavailableError("READ_FAILED", f"{what}: {text}")


def _topic_of_each(index: list[int], slot: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Index of the topic of each record, from that of each slot."""
    if len(set(index)) == 1:
        return np.full(len(slot), index[0], np.int32)
    return np.array(index, np.int32)[slot]
