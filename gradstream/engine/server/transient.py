"""Queries that one client reads: pull queries to their end, push queries until LIMIT or the client ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gradstream.engine import types
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.language.query import Evaluated, QueryPlan
from gradstream.engine.rows.merging import taken
from gradstream.engine.rows.pipeline import Inputs
from gradstream.engine.rows.processing_log import Logger
from gradstream.engine.server import entities
from gradstream.engine.server.interleaved import Interleaved
from gradstream.engine.server.queries import IDLE_SECONDS, Surroundings
from gradstream.engine.server.weighing import Scales
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Records, TopicPartition

LookUp: TypeAlias = Callable[[Iterable[tuple[Any, ...]] | None, Callable[[], bool]], list[Records]]


class Tombstone(list[Any]):
    """A row that says that its key is in the table no more; all but the key is null."""


class Shown:
    """Records of a query's sources to what its client sees.

    Args:
        scalable: rows without key or value are passed over, as by what ksqlDB calls a scalable push query.
        partitions: of the left-most source.
        limit: bytes that what it keeps may take, None for any.
    """

    def __init__(
        self,
        plan: QueryPlan,
        around: Surroundings,
        scalable: bool = False,
        partitions: int = 1,
        limit: int | None = None,
    ) -> None:
        self.plan, self.scalable = plan, scalable
        logger = Logger(plan.query_id, around.include_rows)
        self.inputs = Inputs(plan, around.registry, logger, partitions)
        self.needs_headers = self.inputs.needs_headers
        self.scales = None if limit is None else Scales(self.inputs.keepers, limit)
        # A table's rows, and those of groups, come as changes; those of a stream and a table joined do not.
        kinds = [source.kind for source in plan.sources]
        self.makes_table = plan.start is not None and (kinds[0] == "table" or "table" not in kinds)

    def rows(self, records: Records) -> list[list[Any]]:
        """The rows as JSON values.

        Raises:
            DataError: STATE_TOO_LARGE.
        """
        if not len(records):
            return []
        found: list[list[Any]] = []
        for _, some, input_ in self.inputs.runs(records):
            answer, places, _ = input_.evaluate(some)
            found += self._shown(some, answer, places)
        if self.scales:
            self.scales.check()
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
        ends: for a pull query over a stream, where each partition ends.
        kept: bytes that what a push query keeps may take.
        look_up: for a pull query over a table, finds the records of keys, or of all: see tables.Table.records().
        ended: why there are no more rows: ``Limit Reached`` or ``Query Completed``; None while there may be.
    """

    action: StartQuery
    around: Surroundings
    offsets: dict[TopicPartition, int]
    ends: dict[TopicPartition, int] | None
    properties: dict[str, object] = field(default_factory=dict)
    scalable: bool = False
    kept: int | None = None
    look_up: LookUp | None = None
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
        return self.look_up is not None

    @property
    def pulls(self) -> bool:
        return self.looks_up or self.ends is not None

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
            partitions = sum(topic == left_most for topic, _ in self.offsets) or 1
            self._shown = Shown(
                self.action.query, self.around, self.scalable, partitions, self.kept
            )
        if self.look_up is not None:
            rows = self._limited(self._table(self.look_up, self._shown))
            self.ended = self.ended or "Query Completed"
            return rows
        if self._log is None:
            self._log = open_log_reader(
                self.around.services, self.offsets, headers=self._shown.needs_headers
            )
            self._reader = self._ordered(self._log)
        assert self._reader is not None
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

    def _table(self, look_up: LookUp, shown: Shown) -> list[list[Any]]:
        """The rows of the keys that are asked for, as of when they are."""
        found = look_up(self.action.query.keys, lambda: self._stopped)
        rows = [row for records in found for row in shown.rows(records)]
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


def before(ends: Mapping[TopicPartition, int], records: Records) -> Records:
    """The records before the ends of their partitions."""
    if not len(records):
        return records
    limits = np.zeros(1 + max(partition for _, partition in ends), np.int64)
    for (_, partition), end in ends.items():
        limits[partition] = end
    keep = np.flatnonzero(records.offset < limits[records.partition])
    return records if len(keep) == len(records) else taken(records, keep)
