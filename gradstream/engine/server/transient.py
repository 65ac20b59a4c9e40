"""Queries that one client reads: pull queries to their end, push queries until LIMIT or the client ends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine import types
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.language.query import Evaluated, QueryPlan
from gradstream.engine.rows.merging import taken
from gradstream.engine.rows.pipeline import Inputs
from gradstream.engine.rows.processing_log import Logger
from gradstream.engine.server import entities
from gradstream.engine.server.interleaved import Interleaved
from gradstream.engine.server.queries import IDLE_SECONDS, Surroundings
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Headers, Records, TopicPartition

CHUNK = 16384  # records that are read, or keys that are shown, at once


class Tombstone(list[Any]):
    """A row that says that its key is in the table no more; all but the key is null."""


class Shown:
    """Records of a query's sources to what its client sees.

    Args:
        scalable: rows without key or value are passed over, as by what ksqlDB calls a scalable push query.
        partitions: of the left-most source.
    """

    def __init__(
        self, plan: QueryPlan, around: Surroundings, scalable: bool = False, partitions: int = 1
    ) -> None:
        self.plan, self.scalable = plan, scalable
        logger = Logger(plan.query_id, around.include_rows)
        self.inputs = Inputs(plan, around.registry, logger, partitions)
        self.needs_headers = self.inputs.needs_headers
        # A table's rows, and those of groups, come as changes; those of a stream and a table joined do not.
        kinds = [source.kind for source in plan.sources]
        self.makes_table = plan.start is not None and (kinds[0] == "table" or "table" not in kinds)

    def rows(self, records: Records) -> list[list[Any]]:
        """The rows as JSON values."""
        if not len(records):
            return []
        found: list[list[Any]] = []
        for _, some, input_ in self.inputs.runs(records):
            answer, places, _ = input_.evaluate(some)
            found += self._shown(some, answer, places)
        return found

    def _shown(
        self, records: Records, answer: Evaluated, places: npt.NDArray[np.int64]
    ) -> list[list[Any]]:
        columns = []
        for column in self.plan.output:
            part = answer.keys if column.name in answer.keys.schema.names else answer.values
            values = types.to_python(part.column(column.name), column.type)
            how = entities.shown(column.type)
            columns.append([how(value) for value in values] if how else values)
        rows: list[list[Any]] = [list(row) for row in zip(*columns, strict=True)]
        gone = answer.null_values
        if self.makes_table and gone.any():
            for at in np.flatnonzero(gone).tolist():
                rows[at] = Tombstone(rows[at])
        elif self.scalable:
            if self.plan.source.key_columns:
                gone = gone | np.asarray(records.key.is_null())[places[answer.rows]]
            rows = [rows[at] for at in np.flatnonzero(~gone).tolist()]
        return rows


@dataclass(slots=True)
class TransientQuery:
    """SELECT, read by one client; ``next()`` and ``close()`` belong to one thread.

    Attributes:
        offsets: where each partition begins.
        ends: for a pull query, where each partition ends.
        ended: why there are no more rows: ``Limit Reached`` or ``Query Completed``; None while there may be.
    """

    action: StartQuery
    around: Surroundings
    offsets: dict[TopicPartition, int]
    ends: dict[TopicPartition, int] | None
    properties: dict[str, object] = field(default_factory=dict)
    scalable: bool = False
    ended: str | None = None
    _log: Reader | None = None
    _reader: Reader | Interleaved | None = None
    _shown: Shown | None = None
    _given: int = 0
    _stopped: bool = False

    @property
    def id(self) -> str:
        return self.action.query.query_id

    @property
    def looks_up(self) -> bool:
        """Whether it is a pull query over a table."""
        return self.ends is not None and self.action.query.source.kind == "table"

    def stop(self) -> None:
        """Asks it to end, from any thread."""
        self._stopped = True

    def next(self, max_records: int = 1024) -> list[list[Any]]:
        """The next rows, as JSON values; none where nothing came within half a second, or at the end.

        Raises:
            GradstreamError: the query cannot go on.
        """
        if self.ended or self._finished():
            return []
        if self._shown is None:
            left_most = self.action.query.source.topic
            partitions = sum(topic == left_most for topic, _ in self.offsets)
            self._shown = Shown(self.action.query, self.around, self.scalable, partitions)
            self._log = open_log_reader(
                self.around.services, self.offsets, headers=self._shown.needs_headers
            )
            self._reader = self._ordered(self._log)
        assert self._reader is not None
        if self.looks_up:
            return self._limited(self._table(self._reader, self._shown))
        if self.ends is not None:
            records = before(self.ends, self._reader.fetch(max_records, 0.05))
        elif len(records := self._reader.fetch(1, IDLE_SECONDS)):
            rows = self._shown.rows(records)
            more = self._reader.fetch(max_records, 0.005)
            return self._limited(rows + self._shown.rows(more))
        rows = self._limited(self._shown.rows(records))
        self._finished()
        return rows

    def close(self) -> None:
        if self._log:
            self._log.close()
            self._log = self._reader = None

    def _ordered(self, reader: Reader) -> Reader | Interleaved:
        """Of what is joined or goes by the times of rows, their order matters."""
        query = self.action.query
        alone = len(query.sources) == 1 and (query.source.kind == "table" or query.start is None)
        return reader if alone else Interleaved(reader, query.sources)

    def _table(self, reader: Reader | Interleaved, shown: Shown) -> list[list[Any]]:
        """The rows of all keys that a table has, as of when the query was asked."""
        assert self.ends is not None
        newest = Newest(shown.needs_headers)
        while not self._finished():
            newest.add(before(self.ends, reader.fetch(CHUNK, 0.05)))
        rows = [row for records in newest.chunks() for row in shown.rows(records)]
        return [row for row in rows if not isinstance(row, Tombstone)]

    def _finished(self) -> bool:
        if self._stopped or self.action.query.limit == 0:
            self.ended = "Query Completed" if self._stopped else "Limit Reached"
        elif self.ends is not None and not self.ended:
            position = self._reader.position() if self._reader else {}
            if all(
                position.get(at, self.offsets[at]) >= end or self.offsets[at] >= end
                for at, end in self.ends.items()
            ):
                self.ended = "Query Completed"
        return self.ended is not None

    def _limited(self, rows: list[list[Any]]) -> list[list[Any]]:
        limit = self.action.query.limit
        if limit is not None and self._given + len(rows) >= limit:
            rows = rows[: limit - self._given]
            self.ended = "Limit Reached"
        self._given += len(rows)
        return rows


class Newest:
    """The newest record of each key of a table's topic."""

    def __init__(self, headers: bool) -> None:
        self._headers = headers
        self._records: dict[bytes, tuple[int, int, int, bytes, Headers]] = {}
        self._topic = ""

    def add(self, records: Records) -> None:
        """Records after all that were given before; one without a value takes its key away."""
        columns = zip(records.key.to_pylist(), records.value.to_pylist(), strict=True)
        for row, (key, value) in enumerate(columns):
            if key is None:
                continue
            self._records.pop(key, None)
            if value is not None:
                headers = records.headers(row) if self._headers else []
                self._topic = records.topics[records.topic[row]]
                self._records[key] = (
                    int(records.partition[row]),
                    int(records.offset[row]),
                    int(records.timestamp[row]),
                    value,
                    headers,
                )

    def chunks(self) -> list[Records]:
        """By partition and key, as ksqlDB's stores have them: LIMIT takes the first."""
        keys = sorted(self._records, key=lambda key: (self._records[key][0], key))
        return [self._chunk(keys[begin : begin + CHUNK]) for begin in range(0, len(keys), CHUNK)]

    def _chunk(self, keys: list[bytes]) -> Records:
        partition, offset, timestamp, values, headers = zip(
            *(self._records[key] for key in keys), strict=True
        )
        return Records(
            (self._topic,),
            np.zeros(len(keys), np.int32),
            np.array(partition, np.int32),
            np.array(offset, np.int64),
            np.array(timestamp, np.int64),
            pa.array(keys, pa.binary()),
            pa.array(values, pa.binary()),
            headers.__getitem__,
        )


def before(ends: Mapping[TopicPartition, int], records: Records) -> Records:
    """The records before the ends of their partitions."""
    if not len(records):
        return records
    limits = np.zeros(1 + max(partition for _, partition in ends), np.int64)
    for (_, partition), end in ends.items():
        limits[partition] = end
    keep = np.flatnonzero(records.offset < limits[records.partition])
    return records if len(keep) == len(records) else taken(records, keep)
