"""Messages that librdkafka has given us and that we have not given back: each is given back once, whatever happens."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire import gather, librdkafka
from gradstream.wire.gather import BAD, FROM, GIVEN, GOT, LENT, TO
from gradstream.wire.records import Records, Spans

SLOTS = 1024  # partitions in one chunk; more than that makes a second chunk
_NULLS = pa.nulls(16_384, pa.binary())


class Sorted(NamedTuple):
    """The next messages, all of them records.

    Attributes:
        n: how many.
        null_values, null_keys: how many of their values and keys are null.
        value_bytes, key_bytes: what copies of their values and keys need.
        slot: int32 (n,), which of the slots each belongs to; a slot is a partition of a topic.
        partition: int32 (n,).
        spans: where their values lie.
        offset, timestamp: int64 (n,).
        slot_topic, slot_partition, slot_last: of each slot the topic's handle, the partition, the last offset.
    """

    n: int
    null_values: int
    null_keys: int
    value_bytes: int
    key_bytes: int
    slot: npt.NDArray[np.int32]
    partition: npt.NDArray[np.int32]
    spans: Spans
    offset: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    slot_topic: npt.NDArray[np.int64]
    slot_partition: npt.NDArray[np.int32]
    slot_last: npt.NDArray[np.int64]


class Loan:
    """Values that lie in messages of ours until the reader goes on. They are copied when they are asked for, or when the
    messages must go while somebody still has this loan.
    """

    __slots__ = ("__weakref__", "_lock", "_nulls", "_size", "_values", "spans")

    def __init__(self, found: Sorted) -> None:
        self.spans: Spans | None = found.spans
        self._size, self._nulls = found.value_bytes, found.null_values
        self._values: pa.BinaryArray | None = None
        self._lock = threading.Lock()

    @property
    def values(self) -> pa.BinaryArray:
        """May be asked for in another thread than the reader's."""
        with self._lock:
            if self._values is None:
                assert self.spans is not None
                self._values = copied(self.spans, self._size, self._nulls)
            self.spans = None
            return self._values


class LentRecords(Records):
    """Records whose values are a loan."""

    __slots__ = ("_loan",)
    _loan: Loan

    def __init__(self, loan: Loan, **columns: Any) -> None:
        object.__setattr__(self, "_loan", loan)
        for name, column in columns.items():
            object.__setattr__(self, name, column)

    @property
    def value(self) -> pa.BinaryArray:
        return self._loan.values

    @property
    def spans(self) -> Spans | None:
        return self._loan.spans


class Held:
    """See the module. Every step that changes what is ours is one call of compiled code (gather.py)."""

    def __init__(self) -> None:
        lib = librdkafka.load()
        self._consume = librdkafka.address(lib.consume_batch_queue)
        self._timestamp = librdkafka.address(lib.message_timestamp)
        self._destroy = librdkafka.address(lib.message_destroy)
        self._state = np.zeros(6, np.int64)
        self._messages = self._errors = self._begins = self._ends = np.zeros(0, np.int64)
        self._slot = np.zeros(0, np.int32)
        self._slots = (
            np.empty(SLOTS, np.int64),
            np.empty(SLOTS, np.int32),
            np.empty(SLOTS, np.int64),
        )
        self._loan: Callable[[], Loan | None] = lambda: None

    def __len__(self) -> int:
        """How many messages were pulled and not lent yet."""
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

        Serves rebalances, whose callbacks may call drop() meanwhile. For when nothing is held; ends a loan.
        """
        self.settle()
        if len(self._messages) < most and not len(self):
            self.drop_errors()
            # Kept from chunk to chunk: room that is freed and taken again costs more than what is written into it.
            self._begins, self._ends = np.empty(most, np.int64), np.empty(most, np.int64)
            self._slot = np.empty(most, np.int32)
            self._errors = np.zeros(most, np.int64)
            self._messages = np.zeros(most, np.int64)  # the last, since the others must be as long
        most = min(most, len(self._messages) - int(self._state[TO]))
        milliseconds = math.ceil(timeout * 1000)  # 0 would not wait, and the caller would ask again
        gather.pull(self._consume, queue, milliseconds, most, self._messages, self._state)

    def sort_out(self, most: int, limit: int) -> Sorted:
        """The next messages, to be lent; errors among them are in errors() afterwards. Ends a loan.

        Args:
            limit: bytes of values, and of keys, at which to stop.
        """
        self.settle()
        self.drop_errors()  # there are some only if Ctrl-C came before they were told
        most = min(most, len(self))
        partition = np.empty(most, np.int32)
        offset, timestamp = np.empty(most, np.int64), np.empty(most, np.int64)
        n, null_values, null_keys, value_bytes, key_bytes, used = gather.sort_out(
            self._messages, self._errors, self._state, most, limit, self._timestamp, self._slot, partition,
            self._begins, self._ends, offset, timestamp, *self._slots,
        )  # fmt: skip
        topics, partitions, last = self._slots
        return Sorted(
            n, null_values, null_keys, value_bytes, key_bytes, self._slot[:n], partition[:n],
            (self._begins[:n], self._ends[:n]), offset[:n], timestamp[:n],
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

    def keys(self, found: Sorted) -> pa.BinaryArray:
        """Copies of the keys of the next messages."""
        if found.null_keys == found.n:
            return nulls(found.n)
        begins, ends = np.empty(found.n, np.int64), np.empty(found.n, np.int64)
        gather.key_spans(self._messages, self._state, found.n, begins, ends)
        return copied((begins, ends), found.key_bytes, found.null_keys)

    def lend(self, loan: Loan, n: int) -> None:
        """The next n messages, which the loan was made of, until settle()."""
        self._loan = weakref.ref(loan)
        gather.lend(self._state, n)

    def lent(self) -> list[int]:
        """Addresses of the messages that are lent."""
        found: list[int] = self._messages[self._state[LENT] : self._state[FROM]].tolist()
        return found

    def settle(self) -> None:
        """Give back what is lent; who still has the loan gets a copy of the values first."""
        if (loan := self._loan()) is not None:
            _ = loan.values
        if self._state[LENT] < self._state[FROM]:
            gather.settle(self._messages, self._state, self._destroy)

    def drop(self, keep: list[bool]) -> None:
        """Give back those of all() that are not to be kept."""
        gather.drop(self._messages, self._state, np.array(keep, np.bool_), self._destroy)

    def drop_errors(self) -> None:
        if self._state[BAD]:
            gather.drop_errors(self._errors, self._state, self._destroy)

    def give_back(self) -> None:
        """All of them."""
        self.settle()
        self.drop([False] * len(self))
        self.drop_errors()


def nulls(n: int) -> pa.BinaryArray:
    """An array of n nulls."""
    return _NULLS.slice(0, n) if n <= len(_NULLS) else pa.nulls(n, pa.binary())


def copied(spans: Spans, size: int, null_count: int) -> pa.BinaryArray:
    """What lies at these addresses, of ``size`` bytes in all."""
    n = len(spans[0])
    if null_count == n:
        return nulls(n)
    data, places = np.empty(size, np.uint8), np.empty(n + 1, np.int32)
    valid = np.zeros(n // 8 + 1 if null_count else 0, np.uint8)
    gather.copy(*spans, data, places, valid)
    bits = pa.py_buffer(valid) if null_count else None
    buffers = [bits, pa.py_buffer(places), pa.py_buffer(data)]
    return pa.BinaryArray.from_buffers(pa.binary(), n, buffers, null_count)
