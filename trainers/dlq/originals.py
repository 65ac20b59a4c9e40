"""The records that dead letters are about, fetched from where they were, if they are still there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Self

import numpy as np

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire.kafka import begin_offsets, end_offsets
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Headers, TopicPartition
from trainers.checkpoint import between
from trainers.dlq.letters import Place

FAR = 2000  # offsets: from here on it pays to seek rather than to read on


@dataclass(frozen=True, slots=True)
class Original:
    """A record as it is in its topic.

    Attributes:
        timestamp: milliseconds since 1970.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers

    @property
    def sha256(self) -> str | None:
        return None if self.value is None else hashlib.sha256(self.value).hexdigest()


@dataclass(frozen=True, slots=True)
class Gone:
    """Why a record is not there.

    Attributes:
        nowhere: its topic or its partition is not there either.
    """

    why: str
    nowhere: bool = False


class Originals:
    """Fetches records by their places; asked in order of places, it reads each partition once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._at: TopicPartition | None = None
        self._reader: Reader | None = None
        self._gone: Gone | None = None
        self._low = self._end = 0

    def fetch(self, places: Iterable[Place]) -> dict[Place, Original | Gone]:
        """Each record, or why it is not there.

        Raises:
            UnavailableError: WAITING_ON_TRANSACTION, or the broker is away.
        """
        found: dict[Place, Original | Gone] = {}
        for (topic, partition), group in groupby(sorted(set(places)), key=lambda at: at[:2]):
            self._open((topic, partition))
            offsets = [place.offset for place in group]
            inside = [offset for offset in offsets if self._low <= offset < self._end]
            records = {at: one for run in _runs(inside) for at, one in self._run(run)}
            for offset in offsets:
                place = Place(topic, partition, offset)
                found[place] = records.get(offset) or self._why_not(offset)
        return found

    def _open(self, at: TopicPartition) -> None:
        if self._at == at:
            return
        self.close()
        self._at, self._low, self._end = at, 0, 0
        try:
            lows, ends = (ask(self._services, at[0]) for ask in (begin_offsets, end_offsets))
        except DataError as error:
            if error.code != "UNKNOWN_TOPIC":
                raise
            self._gone = Gone(f"topic {at[0]!r} is gone", nowhere=True)
            return
        if at not in ends:
            self._gone = Gone(f"topic {at[0]!r} has no partition {at[1]} now", nowhere=True)
            return
        self._low, self._end, self._gone = lows[at], ends[at], None
        if self._end > self._low:
            self._reader = open_log_reader(self._services, {at: self._low}, headers=True)

    def _run(self, wanted: list[int]) -> Iterator[tuple[int, Original]]:
        """Records whose offsets are near each other."""
        assert self._reader is not None
        assert self._at is not None
        if not 0 <= wanted[0] - self._reader.position().get(self._at, 0) < FAR:
            self._reader.seek({self._at: wanted[0]})
        for records in between(self._reader, self._at, wanted[-1] + 1):
            for row in np.flatnonzero(np.isin(records.offset, wanted)).tolist():
                yield (
                    int(records.offset[row]),
                    Original(
                        records.key[row].as_py(),
                        records.value[row].as_py(),
                        int(records.timestamp[row]),
                        records.headers(row),
                    ),
                )

    def _why_not(self, offset: int) -> Gone:
        if self._gone:
            return self._gone
        if offset < self._low:
            return Gone(f"the log begins at offset {self._low} now")
        if offset >= self._end:
            return Gone(f"the log ends at offset {self._end}; the topic was made anew")
        return Gone("no record is at its place; it was compacted away, or the topic was made anew")

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._at = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _runs(offsets: list[int]) -> Iterator[list[int]]:
    """Ascending offsets, parted where it is far to the next.

    >>> list(_runs([1, 5, 9000]))
    [[1, 5], [9000]]
    """
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] >= FAR:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
