"""Queries that one client reads: pull queries to their end, push queries until LIMIT or the client ends them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gradstream.engine import types
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.language.query import Evaluated
from gradstream.engine.rows.merging import taken
from gradstream.engine.rows.pipeline import Input
from gradstream.engine.rows.processing_log import Logger
from gradstream.engine.server import entities
from gradstream.engine.server.queries import IDLE_SECONDS, Surroundings
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Records, TopicPartition


class Tombstone(list[Any]):
    """A row that says that its key is in the table no more; all but the key is null."""


@dataclass(slots=True)
class TransientQuery:
    """SELECT, read by one client; ``next()`` and ``close()`` belong to one thread.

    Attributes:
        offsets: where each partition begins.
        ends: for a pull query, where each partition ends.
        scalable: rows without key or value are passed over, as by what ksqlDB calls a scalable push query.
        ended: why there are no more rows: ``Limit Reached`` or ``Query Completed``; None while there may be.
    """

    action: StartQuery
    around: Surroundings
    offsets: dict[TopicPartition, int]
    ends: dict[TopicPartition, int] | None
    properties: dict[str, object] = field(default_factory=dict)
    scalable: bool = False
    ended: str | None = None
    _reader: Reader | None = None
    _inputs: dict[str, Input] = field(default_factory=dict)
    _given: int = 0
    _stopped: bool = False

    @property
    def id(self) -> str:
        return self.action.query.query_id

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
        reader = self._reader or self._open()
        if self.ends is not None:
            records = self._before_ends(reader.fetch(max_records, 0.05))
        elif len(records := reader.fetch(1, IDLE_SECONDS)):
            rows = self._rows(records)
            return self._limited(rows + self._rows(reader.fetch(max_records, 0.005)))
        rows = self._limited(self._rows(records))
        self._finished()
        return rows

    def close(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None

    def _open(self) -> Reader:
        plan, registry = self.action.query, self.around.registry
        logger = Logger(self.id, self.around.include_rows)
        inputs = [Input(plan.part(number), registry, logger) for number in range(len(plan.sources))]
        if plan.start is not None:
            started = plan.start()
            for number, input_ in enumerate(inputs):
                input_.plan_of_rows = started.of_source(number)
        self._inputs = {
            source.topic: input_ for source, input_ in zip(plan.sources, inputs, strict=True)
        }
        needs_headers = any(input_.needs_headers for input_ in inputs)
        reader = open_log_reader(self.around.services, self.offsets, headers=needs_headers)
        self._reader = reader
        return reader

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

    def _before_ends(self, records: Records) -> Records:
        """Without the records that came in after the query was asked."""
        assert self.ends is not None
        if not len(records):
            return records
        count = 1 + max(partition for _, partition in self.ends)
        limits = np.zeros(count, np.int64)
        for (_, partition), end in self.ends.items():
            limits[partition] = end
        keep = np.flatnonzero(records.offset < limits[records.partition])
        return records if len(keep) == len(records) else taken(records, keep)

    def _rows(self, records: Records) -> list[list[Any]]:
        """What becomes of records of any of the sources."""
        if not len(records):
            return []
        cuts = np.flatnonzero(np.diff(records.topic)) + 1
        found: list[list[Any]] = []
        for rows in np.split(np.arange(len(records), dtype=np.int64), cuts):
            some = records if len(rows) == len(records) else taken(records, rows)
            input_ = self._inputs[some.topics[some.topic[0]]]
            answer, places, _ = input_.evaluate(some)
            found += self._shown(some, answer, places)
        return found

    def _shown(
        self, records: Records, answer: Evaluated, places: npt.NDArray[np.int64]
    ) -> list[list[Any]]:
        columns = []
        for column in self.action.query.output:
            part = answer.keys if column.name in answer.keys.schema.names else answer.values
            values = types.to_python(part.column(column.name), column.type)
            how = entities.shown(column.type)
            columns.append([how(value) for value in values] if how else values)
        rows: list[list[Any]] = [list(row) for row in zip(*columns, strict=True)]
        if self.scalable:
            lost = answer.null_values.copy()
            if self.action.query.source.key_columns:
                lost |= np.asarray(records.key.is_null())[places[answer.rows]]
            return [row for row, gone in zip(rows, lost.tolist(), strict=True) if not gone]
        if answer.null_values.any() and self._makes_table():
            for at in np.flatnonzero(answer.null_values).tolist():
                rows[at] = Tombstone(rows[at])
        return rows

    def _makes_table(self) -> bool:
        """Whether the rows are changes of a table."""
        plan = self.action.query
        return plan.start is not None and (
            plan.source.kind == "table" or not any(of.kind == "table" for of in plan.sources)
        )

    def _limited(self, rows: list[list[Any]]) -> list[list[Any]]:
        limit = self.action.query.limit
        if limit is not None and self._given + len(rows) >= limit:
            rows = rows[: limit - self._given]
            self.ended = "Limit Reached"
        self._given += len(rows)
        return rows
