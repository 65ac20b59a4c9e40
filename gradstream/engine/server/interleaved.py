"""A reader whose records come in the order of their times, whatever partitions they are of."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from gradstream.engine.catalog import Source
from gradstream.engine.rows.merging import Merging, taken
from gradstream.wire.reader import Reader
from gradstream.wire.records import Records, TopicPartition

PATIENCE = 5.0  # seconds that records wait for older ones of a partition that has more and does not give them, as where the
# transaction of somebody else is open
MOST = 1 << 17  # records that wait
LOOK = 0.02  # seconds


class Interleaved:
    """Has of a Reader what a query uses; its position is that of the records that it has given.

    Args:
        sources: what the reader's topics are; of records with equal times, a table's come before a stream's.
    """

    def __init__(self, reader: Reader, sources: Iterable[Source]) -> None:
        self._reader = reader
        self._merging = Merging({source.topic: source.kind == "stream" for source in sources})
        self._since = 0.0  # when the records that wait began to

    @property
    def rebalances(self) -> int:
        return self._reader.rebalances

    def fetch(self, max_records: int, timeout: float) -> Records:
        """As Reader.fetch(), but those that have waited come on top of ``max_records``."""
        before = self.rebalances
        records = self._reader.fetch(max_records, min(timeout, LOOK) if self._merging else timeout)
        if not self._merging:
            self._since = time.monotonic()
        self._merging.add(records)
        # Whoever sees a rebalance goes back to what is committed, else to the first record that it was given.
        changed = self.rebalances != before
        late = time.monotonic() - self._since > PATIENCE or len(self._merging) > MOST
        found = self._merging.take(() if late or changed else self._awaited())
        if found is None:
            return taken(records, np.zeros(0, np.int64))
        self._since = time.monotonic()
        return found

    def _awaited(self) -> set[TopicPartition]:
        """Partitions that have more than has come here."""
        position = self._reader.position()
        found = set()
        for at in self._reader.assignment():
            high = self._reader.watermarks(at, cached=True)[1]
            if high < 0 or position.get(at, 0) < high:
                found.add(at)
        return found

    def position(self) -> dict[TopicPartition, int]:
        return self._reader.position() | self._merging.first()

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Records that wait are read again, also those of other partitions."""
        owned = self._reader.assignment()
        waiting = {at: offset for at, offset in self._merging.first().items() if at in owned}
        self._merging.clear()
        self._reader.seek(waiting | dict(offsets))

    def committed(self) -> dict[TopicPartition, int]:
        return self._reader.committed()

    def assignment(self) -> frozenset[TopicPartition]:
        return self._reader.assignment()

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._reader.pause(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self._reader.resume(partitions)

    def group_metadata(self) -> object:
        return self._reader.group_metadata()
