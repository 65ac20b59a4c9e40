"""Messages that librdkafka has given us and that we have not given back: each is given back once, whatever happens."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire import gather, librdkafka
from gradstream.wire.gather import BAD, FROM, GIVEN, GOT, TO

SLOTS = 1024  # partitions in one chunk; more than that makes a second chunk


class Sorted(NamedTuple):
    """The next messages, all of them records.

    Attributes:
        n: how many.
        null_values, null_keys: how many of their values and keys are null.
        value_bytes, key_bytes: what their values and keys need.
        slot: int32 (n,), which of the slots each belongs to; a slot is a partition of a topic.
        partition: int32 (n,).
        slot_topic, slot_partition, slot_last: of each slot the topic's handle, the partition, the last offset.
    """

    n: int
    null_values: int
    null_keys: int
    value_bytes: int
    key_bytes: int
    slot: npt.NDArray[np.int32]
    partition: npt.NDArray[np.int32]
    slot_topic: npt.NDArray[np.int64]
    slot_partition: npt.NDArray[np.int32]
    slot_last: npt.NDArray[np.int64]


class Columns(NamedTuple):
    """Of n records; empty until Held.gather() has filled them."""

    key: pa.BinaryArray
    value: pa.BinaryArray
    offset: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    parts: tuple[npt.NDArray[Any], ...]  # of value and key: bytes, ends, validity


class Held:
    """See the module. Every step that changes what is ours is one call of compiled code (gather.py)."""

    def __init__(self) -> None:
        lib = librdkafka.load()
        self._consume = librdkafka.address(lib.consume_batch_queue)
        self._timestamp = librdkafka.address(lib.message_timestamp)
        self._destroy = librdkafka.address(lib.message_destroy)
        self._state = np.zeros(5, np.int64)
        self._messages = self._errors = np.zeros(0, np.int64)
        self._slots = (
            np.empty(SLOTS, np.int64),
            np.empty(SLOTS, np.int32),
            np.empty(SLOTS, np.int64),
        )

    def __len__(self) -> int:
        """How many messages were pulled and are not sorted out yet, or not gathered."""
        return int(self._state[TO] - self._state[FROM])

    @property
    def got(self) -> int:
        """How many messages librdkafka has given us."""
        return int(self._state[GOT])

    @property
    def given_back(self) -> int:
        """How many of them have been given back."""
        return int(self._state[GIVEN])

    def pull(self, queue: int, most: int, timeout: float) -> None:
        """Take what lies in a queue, at most ``most``, else the first to come within ``timeout`` seconds.

        Serves rebalances, whose callbacks may call drop() meanwhile. For when all that was held is gathered.
        """
        if len(self._messages) < most and not len(self):
            self.drop_errors()
            self._errors = np.zeros(most, np.int64)  # first, since it must be as long
            self._messages = np.zeros(most, np.int64)
        most = min(most, len(self._messages) - int(self._state[TO]))
        milliseconds = int(timeout * 1000)
        gather.pull(self._consume, queue, milliseconds, most, self._messages, self._state)

    def sort_out(self, most: int, limit: int) -> Sorted:
        """The next messages, without errors, which errors() has afterwards.

        Args:
            limit: bytes of values, and of keys, at which to stop.
        """
        self.drop_errors()  # there are some only if Ctrl-C came before they were told
        most = min(most, len(self))
        slot, partition = np.empty(most, np.int32), np.empty(most, np.int32)
        n, null_values, null_keys, value_bytes, key_bytes, used = gather.sort_out(
            self._messages, self._errors, self._state, most, limit, slot, partition, *self._slots
        )
        topics, partitions, last = self._slots
        return Sorted(
            n, null_values, null_keys, value_bytes, key_bytes, slot[:n], partition[:n],
            topics[:used], partitions[:used], last[:used],
        )  # fmt: skip

    def next(self, n: int) -> list[int]:
        """Addresses of the next n messages."""
        begin = self._state[FROM]
        found: list[int] = self._messages[begin : begin + n].tolist()
        return found

    def all(self) -> list[int]:
        return self.next(len(self))

    def errors(self) -> list[int]:
        """Addresses of the errors that sort_out() met."""
        found: list[int] = self._errors[: self._state[BAD]].tolist()
        return found

    def gather(self, n: int, columns: Columns) -> None:
        """Copy the next n messages, which sort_out() has found, and give them back."""
        gather.gather(
            self._messages, self._state, n, self._timestamp, self._destroy, *columns.parts,
            columns.offset, columns.timestamp,
        )  # fmt: skip

    def drop(self, keep: list[bool]) -> None:
        """Give back those of all() that are not to be kept."""
        gather.drop(self._messages, self._state, np.array(keep, np.bool_), self._destroy)

    def drop_errors(self) -> None:
        if self._state[BAD]:
            gather.drop_errors(self._errors, self._state, self._destroy)

    def give_back(self) -> None:
        """All of them."""
        self.drop([False] * len(self))
        self.drop_errors()


def columns(found: Sorted) -> Columns:
    """Room for records; made before they are gathered, so that nothing can fail afterwards."""
    value, *value_parts = _binary(found.n, found.value_bytes, found.null_values)
    key, *key_parts = _binary(found.n, found.key_bytes, found.null_keys)
    offset, timestamp = np.empty(found.n, np.int64), np.empty(found.n, np.int64)
    return Columns(key, value, offset, timestamp, (*value_parts, *key_parts))


_NO_BYTES, _NO_ENDS = np.empty(0, np.uint8), np.empty(0, np.int32)
_NULLS = pa.nulls(16_384, pa.binary())


def _binary(n: int, size: int, nulls: int) -> tuple[Any, ...]:
    """An array of n values, and its buffers to be filled: bytes, ends, validity."""
    if nulls == n:
        whole = _NULLS.slice(0, n) if n <= len(_NULLS) else pa.nulls(n, pa.binary())
        return whole, _NO_BYTES, _NO_ENDS, _NO_BYTES
    data, ends = np.empty(size, np.uint8), np.empty(n + 1, np.int32)
    ends[0], ends[n] = 0, size  # Arrow looks at these two now
    valid = np.zeros(n // 8 + 1, np.uint8) if nulls else _NO_BYTES
    buffers = [pa.py_buffer(valid) if nulls else None, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.BinaryArray.from_buffers(pa.binary(), n, buffers, nulls), data, ends, valid
