"""Tables as pull queries see them: the newest record of each key of a topic, kept from one question to the next.

A table is read in full when it is first asked for; from then on only what has come meanwhile is read, and nothing at all
where the query that writes it has committed nothing since. A question is answered with all that was committed when it was
asked, and questions that wait for the same records share the reading. Tables that together take more memory than they
may are forgotten, the one that was asked last least, and read in full again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.engine.catalog import Source
from gradstream.engine.language.functions.aggregates import frozen
from gradstream.engine.rows import serdes
from gradstream.engine.rows.pipeline import unwindowed
from gradstream.engine.server.queries import PersistentQuery
from gradstream.engine.types import to_python
from gradstream.errors import DataError, UnavailableError
from gradstream.wire.kafka import begin_offsets, end_offsets
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Headers, Records, TopicPartition
from gradstream.wire.registry import Registry

Key: TypeAlias = tuple[Any, ...]
CHUNK = 16384  # records that are read, or keys that are shown, at once
MOST = 64  # tables that are kept, each with a reader of its own
OVERHEAD = 600  # bytes of Python's objects around a record
PATIENCE = 5.0  # seconds that an open transaction is waited for
GIVE_UP = 60.0  # seconds without a record, where there are some
# A query that computes its next transaction has committed the one before: only what tells readers so can be on its way.
BUSY_PATIENCE = 0.05
# Milliseconds. The end of a transaction is passed when a fetch has found nothing after it, and a question waits for that.
FETCH_WAIT = 20


class Newest(NamedTuple):
    """The newest record of a key."""

    partition: int
    offset: int
    timestamp: int
    value: bytes
    headers: Headers


class Table:
    """The newest record of each key of a table's topic; its methods may be called from any thread.

    Attributes:
        size: bytes that it takes, roughly.
    """

    def __init__(self, services: Services, source: Source, registry: Registry | None) -> None:
        self.services, self.source = services, source
        self.size = 0
        self._lock = threading.Lock()
        self._keys = serdes.key_decoder(source, registry)
        self._with_headers = any(column.role == "header" for column in source.columns)
        self._reader: Reader | None = None
        self._position: dict[TopicPartition, int] = {}
        # By key, then, since a key may have several windows, by the key's bytes. What cannot be read is under ().
        self._records: dict[Key, dict[bytes, Newest]] = {}
        self._stands: object = None  # what the writer had committed when it was last read
        self._asked = 0.0  # when it was then asked for what there is

    def records(
        self,
        keys: Iterable[Key] | None,
        writer: PersistentQuery | None,
        stopped: Callable[[], bool],
    ) -> list[Records]:
        """The newest records of some keys, or of all, by partition and key as ksqlDB's stores have them.

        Args:
            writer: the query that writes the table, None where something else does.
            stopped: whether nobody waits for the answer any more.
        """
        asked = time.monotonic()
        with self._lock:
            if asked >= self._asked and not self._is_as_committed(writer):
                self._update(writer, stopped)
            return self._chunks(keys)

    def distrust(self) -> None:
        """Somebody else than its writer has written into its topic."""
        with self._lock:
            self._stands = None

    def close(self) -> None:
        """Forgets everything; a later question finds it as if it were new."""
        with self._lock:
            self._forget()

    def _is_as_committed(self, writer: PersistentQuery | None) -> bool:
        return writer is not None and self._stands is not None and self._stands == _stands(writer)

    def _forget(self) -> None:
        if self._reader:
            self._reader.close()
        self._reader = None
        self._records.clear()
        self._position.clear()
        self.size, self._stands, self._asked = 0, None, 0.0

    def _update(self, writer: PersistentQuery | None, stopped: Callable[[], bool]) -> None:
        """Reads what has come."""
        asked, stands = time.monotonic(), None if writer is None else _stands(writer)
        computing = writer is not None and writer.phase == "computing"
        ends = end_offsets(self.services, self.source.topic)
        patience = BUSY_PATIENCE if computing else PATIENCE
        try:
            if any(end < self._position.get(at, 0) for at, end in ends.items()):
                self._forget()  # the topic was deleted and made again
            whole = self._read(ends, patience, stopped)
        except DataError as error:
            if error.code not in ("OFFSET_LOST", "TOPIC_RECREATED"):
                raise
            self._forget()
            whole = self._read(ends, patience, stopped)
        self._stands = stands if whole else None
        self._asked = asked if whole or computing else 0.0

    def _read(
        self, ends: dict[TopicPartition, int], patience: float, stopped: Callable[[], bool]
    ) -> bool:
        """Whether it has come to the ends, and not only to that of what is committed, before ``patience`` was over."""
        if self._missing(ends):
            self._open(ends)
        deadline = time.monotonic() + patience
        while self._missing(ends):
            if stopped():
                return False
            if not self._fetch() and time.monotonic() > deadline:
                self._read_committed(stopped)
                return False
        return True

    def _read_committed(self, stopped: Callable[[], bool]) -> None:
        """
        Raises:
            UnavailableError: TABLE_UNREAD.
        """
        topic = self.source.topic
        ends = end_offsets(self.services, topic, isolation="read_committed")
        deadline = time.monotonic() + GIVE_UP
        while self._missing(ends) and not stopped():
            if self._fetch():
                deadline = time.monotonic() + GIVE_UP
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    "TABLE_UNREAD",
                    f"{topic}: nothing more came in {GIVE_UP:.0f} s, at {self._position} of {ends}; "
                    "ask again when the broker answers",
                )

    def _fetch(self) -> int:
        """How many records have come."""
        assert self._reader is not None
        records = self._reader.fetch(CHUNK, 0.02)
        self._add(records)
        self._position |= self._reader.position()
        return len(records)

    def _missing(self, ends: dict[TopicPartition, int]) -> bool:
        return any(self._position.get(at, 0) < end for at, end in ends.items())

    def _open(self, ends: dict[TopicPartition, int]) -> None:
        """A reader of all partitions; the table may have more of them now."""
        if self._reader and self._position.keys() >= ends.keys():
            return
        if self._reader:
            self._reader.close()
        first = begin_offsets(self.services, self.source.topic)
        self._position = {at: max(self._position.get(at, 0), first[at]) for at in ends}
        self._reader = open_log_reader(
            self.services,
            self._position,
            headers=self._with_headers,
            fetch_wait_max_ms=FETCH_WAIT,
        )

    def _add(self, records: Records) -> None:
        """Records after all that were given before; one without a value takes its key away."""
        columns = zip(
            self._read_keys(records.key),
            records.key.to_pylist(),
            records.partition.tolist(),
            records.offset.tolist(),
            records.timestamp.tolist(),
            records.value.to_pylist(),
            strict=True,
        )
        for row, (key, raw, partition, offset, timestamp, value) in enumerate(columns):
            if raw is None:
                continue
            of_key = self._records.setdefault(key, {})
            if (old := of_key.pop(raw, None)) is not None:
                self.size -= OVERHEAD + len(raw) + len(old.value)
            if value is not None:
                headers = records.headers(row) if self._with_headers else []
                of_key[raw] = Newest(partition, offset, timestamp, value, headers)
                self.size += OVERHEAD + len(raw) + len(value)
            elif not of_key:
                del self._records[key]

    def _read_keys(self, raw: pa.BinaryArray) -> list[Key]:
        if self.source.window is not None:
            raw, _ = unwindowed(raw, self.source.window)
        keys: list[Key] = [()] * len(raw)
        decoded = self._keys.decode(raw)
        columns = [
            to_python(decoded.batch.column(column.name), column.type)
            for column in self.source.key_columns
        ]
        for row, key in zip(decoded.rows.tolist(), zip(*columns, strict=True), strict=True):
            keys[row] = frozen(key)
        return keys

    def _chunks(self, keys: Iterable[Key] | None) -> list[Records]:
        if keys is None:
            chosen = [of for of_key in self._records.values() for of in of_key.items()]
        else:
            known = dict.fromkeys(map(frozen, keys))
            chosen = [of for key in known for of in self._records.get(key, {}).items()]
        chosen.sort(key=lambda of: (of[1].partition, of[0]))
        return [self._chunk(chosen[at : at + CHUNK]) for at in range(0, len(chosen), CHUNK)]

    def _chunk(self, chosen: list[tuple[bytes, Newest]]) -> Records:
        raw, newest = zip(*chosen, strict=True)
        partition, offset, timestamp, values, headers = zip(*newest, strict=True)
        return Records(
            (self.source.topic,),
            np.zeros(len(chosen), np.int32),
            np.array(partition, np.int32),
            np.array(offset, np.int64),
            np.array(timestamp, np.int64),
            pa.array(raw, pa.binary()),
            pa.array(values, pa.binary()),
            headers.__getitem__,
        )


def _stands(writer: PersistentQuery) -> object:
    """Tells what a query has committed, None while a transaction is open."""
    settled = writer.settled
    return (writer, settled) if writer.phase == "idle" else None


class Tables:
    """The tables that are kept.

    Args:
        limit: bytes that they may take together. One that takes more by itself is read in full for each question.
    """

    def __init__(self, services: Services, registry: Registry | None, limit: int) -> None:
        self.services, self.registry, self.limit = services, registry, limit
        self._lock = threading.Lock()
        self._tables: OrderedDict[str, Table] = (
            OrderedDict()
        )  # by topic; the last one asked is last

    def records(
        self,
        source: Source,
        writer: PersistentQuery | None,
        keys: Iterable[Key] | None,
        stopped: Callable[[], bool],
    ) -> list[Records]:
        """See Table.records()."""
        table = self._of(source)
        try:
            return table.records(keys, writer, stopped)
        finally:
            self._trim(table)

    def forget(self, topic: str) -> None:
        """The topic is deleted or written by another query from now on."""
        with self._lock:
            table = self._tables.pop(topic, None)
        if table:
            table.close()

    def distrust(self, topic: str) -> None:
        with self._lock:
            table = self._tables.get(topic)
        if table:
            table.distrust()

    def close(self) -> None:
        for topic in list(self._tables):
            self.forget(topic)

    def _of(self, source: Source) -> Table:
        with self._lock:
            table = self._tables.pop(source.topic, None)
            if table is None or table.source != source:
                old, table = table, Table(self.services, source, self.registry)
            else:
                old = None
            self._tables[source.topic] = table
        if old:
            old.close()
        return table

    def _trim(self, used: Table) -> None:
        """Forgets what is too much, and what was forgotten while it was used."""
        dropped = []
        with self._lock:
            while self._tables and (
                len(self._tables) > MOST
                or sum(table.size for table in self._tables.values()) > self.limit
            ):
                dropped.append(self._tables.popitem(last=False)[1])
            if used not in self._tables.values() and used not in dropped:
                dropped.append(used)
        for table in dropped:
            table.close()
