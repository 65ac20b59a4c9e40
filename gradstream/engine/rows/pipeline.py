"""What happens to the records of a source on their way to a sink: decode, evaluate, encode, in batches.

No Kafka here: a query thread gives it what it fetched and sends what comes out, the test runner the same in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine import types
from gradstream.engine.catalog import Column, Source, WindowedKey
from gradstream.engine.language.actions import InsertValues
from gradstream.engine.language.analyze import WINDOW_BOUNDS
from gradstream.engine.language.query import Evaluated, QueryPlan, Step
from gradstream.engine.language.state import Keeper
from gradstream.engine.rows import serdes
from gradstream.engine.rows.event_time import EventTime
from gradstream.engine.rows.merging import taken
from gradstream.engine.rows.partitioner import key_partitions
from gradstream.engine.rows.processing_log import Logger
from gradstream.errors import DataError
from gradstream.wire.faults import CODES
from gradstream.wire.records import Records
from gradstream.wire.registry import Registry

Spans: TypeAlias = list[tuple[int, int]]
"""Windows, (start, end) in milliseconds, one for each record."""


@dataclass(frozen=True, slots=True)
class Output:
    """Records for the sink and entries for the processing log.

    Attributes:
        rows: int64, shape (m,): the position among the records read of the one that each output came from.
        timestamps: int64, shape (m,), milliseconds.
        log: entries as bytes, to be written with the records.
    """

    keys: pa.BinaryArray
    values: pa.BinaryArray
    timestamps: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    log: list[bytes]


class Input:
    """Records of a source as the columns that a plan reads.

    Args:
        plan: tells which columns, and which of the record's own properties.
    """

    def __init__(
        self,
        plan: QueryPlan,
        registry: Registry | None,
        logger: Logger,
    ) -> None:
        self.plan = plan
        self.plan_of_rows = plan.evaluate
        self.logger = logger
        source = plan.source
        self.has_key = bool(source.key_columns)
        self.keys = serdes.key_decoder(source, registry)
        self.time = EventTime(source) if source.timestamp else None
        needed = {*plan.columns, *([self.time.name] if self.time else [])}
        self.values = serdes.value_decoder(source, registry, needed)
        self.from_headers = [
            column
            for column in source.columns
            if column.role == "header" and column.name in (*plan.pseudo, *plan.columns)
        ]
        self.needs_headers = bool(self.from_headers)

    def evaluate(self, records: Records) -> tuple[Evaluated, npt.NDArray[np.int64], list[bytes]]:
        """What the plan makes of the records.

        Returns:
            The plan's answer, the position among the records of each row of the batch that the answer's
            ``rows`` count in, and entries for the processing log.
        """
        log: list[bytes] = []
        batch, rows, windows = self._decode(records, log)
        timestamps = records.timestamp if len(rows) == len(records) else records.timestamp[rows]
        if self.time:
            timestamps, batch, rows = self._event_time(records, batch, rows, timestamps, log)
        batch = self._with_own_columns(records, batch, rows, windows)
        nulls = np.asarray(records.value.is_null())[rows] if records.value.null_count else None
        answer = self.plan_of_rows(batch, timestamps, nulls)
        if windows is not None and answer.windows is None:
            answer.windows = [windows[row] for row in rows[answer.rows].tolist()]
        for row, step, message in answer.errors:
            log.append(self.logger.failed(records, int(rows[row]), step, message))
        return answer, rows, log

    def _decode(
        self, records: Records, log: list[bytes]
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], Spans | None]:
        """Key and value columns of the rows where both could be read, and the windows of all the records' keys."""
        windows = None
        values = self.values.decode(records.value)
        self._log_unreadable(records, "value", values.codes, values.reason, log)
        if not self.has_key:
            return values.batch, values.rows, None
        raw = records.key
        if self.plan.source.window is not None:
            raw, windows = unwindowed(raw, self.plan.source.window)
        keys = self.keys.decode(raw)
        self._log_unreadable(records, "key", keys.codes, keys.reason, log)
        batches, rows = [keys.batch, values.batch], values.rows
        if len(keys.rows) < len(records) or len(values.rows) < len(records):
            rows, of_keys, of_values = np.intersect1d(
                keys.rows, values.rows, assume_unique=True, return_indices=True
            )
            batches = [
                batch.take(pa.array(of))
                for batch, of in zip(batches, (of_keys, of_values), strict=True)
            ]
        columns = [column for batch in batches for column in batch.columns]
        names = [name for batch in batches for name in batch.schema.names]
        return pa.RecordBatch.from_arrays(columns, names), rows, windows

    def _log_unreadable(
        self,
        records: Records,
        part: str,
        codes: npt.NDArray[np.uint8],
        reason: Any,
        log: list[bytes],
    ) -> None:
        log.extend(
            self.logger.unreadable(records, row, part, CODES[codes[row]], reason(row))
            for row in np.flatnonzero(codes).tolist()
        )

    def _event_time(
        self,
        records: Records,
        batch: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        timestamps: npt.NDArray[np.int64],
        log: list[bytes],
    ) -> tuple[npt.NDArray[np.int64], pa.RecordBatch, npt.NDArray[np.int64]]:
        """The time that the source's TIMESTAMP column tells; rows where it cannot be read are dropped."""
        assert self.time is not None
        made, bad = self.time.read(batch, timestamps)
        for row, reason in bad:
            log.append(self.logger.failed(records, int(rows[row]), "Source.timestamp", reason))
        good = made >= 0
        if good.all():
            return made, batch, rows
        keep = np.flatnonzero(good)
        return made[keep], batch.take(pa.array(keep)), rows[keep]

    def _with_own_columns(
        self,
        records: Records,
        batch: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        windows: Spans | None,
    ) -> pa.RecordBatch:
        """The batch with ROWPARTITION, ROWOFFSET, window bounds and header columns where the plan reads them."""
        if "ROWPARTITION" in self.plan.pseudo:
            batch = batch.append_column("ROWPARTITION", pa.array(records.partition[rows]))
        if "ROWOFFSET" in self.plan.pseudo:
            batch = batch.append_column("ROWOFFSET", pa.array(records.offset[rows]))
        if windows is not None:
            for n, name in enumerate(WINDOW_BOUNDS):
                bounds = [windows[row][n] for row in rows.tolist()]
                batch = batch.append_column(name, pa.array(bounds, pa.int64()))
        for column in self.from_headers:
            values = [_header(column, records.headers(row)) for row in rows.tolist()]
            batch = batch.append_column(column.name, types.from_python(values, column.type))
        return batch


def _header(column: Column, headers: list[tuple[str, bytes | None]]) -> Any:
    """All headers as structs, or the value of the last one of the column's name."""
    if column.header is None:
        return [{"KEY": name, "VALUE": value} for name, value in headers]
    found = [value for name, value in headers if name == column.header]
    return found[-1] if found else None


class Inputs:
    """All sources of a query, started.

    Attributes:
        partitions: how many the left-most source has; start() takes notice.
        keepers: what keeps something of the rows seen; others after each start().
    """

    def __init__(
        self, plan: QueryPlan, registry: Registry | None, logger: Logger, partitions: int = 1
    ) -> None:
        self.plan = plan
        self.partitions = partitions
        self.each = [
            Input(plan.part(number), registry, logger) for number in range(len(plan.sources))
        ]
        self.keepers: tuple[Keeper, ...] = ()
        self.needs_headers = any(of.needs_headers for of in self.each)
        self._of_topic: dict[str, list[Input]] = {}
        for source, input_ in zip(plan.sources, self.each, strict=True):
            self._of_topic.setdefault(source.topic, []).append(input_)
        self.start()

    def start(self) -> None:
        """With nothing kept of any row."""
        if self.plan.start is None:
            return
        started = self.plan.start(self.partitions, key_partitions)
        self.keepers = started.keepers
        for number, input_ in enumerate(self.each):
            input_.plan_of_rows = started.of_source(number)

    def runs(
        self, records: Records
    ) -> Iterator[tuple[npt.NDArray[np.int64] | None, Records, Input]]:
        """The records in pieces of one topic each, in order, with their rows, None for all of them, and whose they are.

        Of streams over one topic each record goes to all of them, in the order of FROM, before the next one does.
        """
        if len(self.each) == 1 or not len(records):
            yield None, records, self.each[0]
            return
        shared = [n for n, name in enumerate(records.topics) if len(self._of_topic[name]) > 1]
        cuts = (np.diff(records.topic) != 0) | np.isin(records.topic[1:], shared)
        for rows in np.split(np.arange(len(records), dtype=np.int64), np.flatnonzero(cuts) + 1):
            some = taken(records, rows) if cuts.any() else records
            for input_ in self._of_topic[records.topics[records.topic[rows[0]]]]:
                yield rows, some, input_


# What an encoder raises for a value that its format cannot hold.
_UNWRITABLE = (ValueError, TypeError, ArithmeticError, DataError, pa.ArrowException)


def windowed(keys: pa.BinaryArray, windows: Spans, kind: WindowedKey) -> pa.BinaryArray:
    """Keys with their windows behind them, as Kafka Streams writes them: a session's end, then the start, 8 bytes each."""
    session = kind.kind == "SESSION"
    made = [
        None
        if key is None
        else key + (struct.pack(">qq", end, start) if session else struct.pack(">q", start))
        for key, (start, end) in zip(keys.to_pylist(), windows, strict=True)
    ]
    return pa.array(made, pa.binary())


def unwindowed(keys: pa.BinaryArray, kind: WindowedKey) -> tuple[pa.BinaryArray, Spans]:
    """The reverse; a key too short to hold a window stays as it is, and its window is (0, 0)."""
    session, size = kind.kind == "SESSION", kind.size or 0
    behind = 16 if session else 8
    plain: list[bytes | None] = []
    windows = []
    for key in keys.to_pylist():
        if key is None or len(key) < behind:
            plain.append(key)
            windows.append((0, 0))
            continue
        plain.append(key[:-behind])
        start = struct.unpack(">q", key[-8:])[0]
        windows.append((start, struct.unpack(">q", key[-16:-8])[0] if session else start + size))
    return pa.array(plain, pa.binary()), windows


def _has_step(step: Step, name: str) -> bool:
    return step.name == name or any(_has_step(inner, name) for inner in step.inputs)


class Pipeline:
    """A persistent query's way from its sources' records to its sink's."""

    def __init__(
        self, plan: QueryPlan, sink: Source, registry: Registry | None, logger: Logger
    ) -> None:
        self.plan = plan
        self.inputs = Inputs(plan, registry, logger)
        self.logger = logger
        self.sink = sink
        self.rekeyed = _has_step(plan.steps, "REKEY")
        self.keys = serdes.key_encoder(sink, registry)
        self.values = serdes.value_encoder(sink, registry)

    def run(self, records: Records) -> Output:
        """Records of the sources, one after the other."""
        outputs = []
        for rows, some, input_ in self.inputs.runs(records):
            made = self._run(some, input_)
            if rows is None:
                return made
            outputs.append(replace(made, rows=rows[made.rows]))
        return Output(
            pa.concat_arrays([of.keys for of in outputs]),
            pa.concat_arrays([of.values for of in outputs]),
            np.concatenate([of.timestamps for of in outputs]),
            np.concatenate([of.rows for of in outputs]),
            [entry for of in outputs for entry in of.log],
        )

    def _run(self, records: Records, input_: Input) -> Output:
        answer, rows, log = input_.evaluate(records)
        rows = rows[answer.rows]
        no_key = self._without_key(records, rows)
        try:
            keys, values = self._encode(answer, no_key, 0, len(rows))
        except _UNWRITABLE:
            return self._one_by_one(records, answer, no_key, rows, log)
        return Output(keys, values, answer.timestamps, rows, log)

    def _encode(
        self, answer: Evaluated, no_key: npt.NDArray[np.bool_] | None, start: int, count: int
    ) -> tuple[pa.BinaryArray, pa.BinaryArray]:
        """Keys and values of some rows."""
        chosen = slice(start, start + count)
        nulls = answer.null_values[chosen]
        keys = self.keys.encode(
            answer.keys.slice(start, count), None if no_key is None else no_key[chosen]
        )
        if answer.windows is not None and self.sink.window is not None:
            keys = windowed(keys, answer.windows[chosen], self.sink.window)
        values = self.values.encode(
            answer.values.slice(start, count), nulls if nulls.any() else None
        )
        return keys, values

    def _one_by_one(
        self,
        records: Records,
        answer: Evaluated,
        no_key: npt.NDArray[np.bool_] | None,
        rows: npt.NDArray[np.int64],
        log: list[bytes],
    ) -> Output:
        """As run() after a row could not be written: that row goes to the log, the others are written."""
        keys, values, good = [], [], []
        for row in range(len(rows)):
            try:
                key, value = self._encode(answer, no_key, row, 1)
            except _UNWRITABLE as error:
                why = f"{type(error).__name__} while writing the row"
                log.append(
                    self.logger.unwritable(records, int(rows[row]), "value", self.sink.topic, why)
                )
            else:
                keys.append(key)
                values.append(value)
                good.append(row)
        return Output(
            pa.chunked_array(keys, pa.binary()).combine_chunks(),
            pa.chunked_array(values, pa.binary()).combine_chunks(),
            answer.timestamps[good],
            rows[good],
            log,
        )

    def _without_key(
        self, records: Records, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_] | None:
        """A record without key stays so; PARTITION BY makes a key of every row, if of nulls."""
        if self.rekeyed or self.plan.start or not records.key.null_count:
            return None
        null: npt.NDArray[np.bool_] = np.asarray(records.key.is_null())[rows]
        return null


@dataclass(slots=True)
class Inserter:
    """Writes rows of INSERT INTO … VALUES and of /inserts-stream as records of a source."""

    source: Source
    registry: Registry | None
    _keys: Any = field(init=False)
    _values: Any = field(init=False)

    def __post_init__(self) -> None:
        self._keys = serdes.key_encoder(self.source, self.registry)
        self._values = serdes.value_encoder(self.source, self.registry)

    def record(self, values: tuple[Any, ...]) -> tuple[bytes | None, bytes | None]:
        """(key, value) of one row, its values in the order of the source's columns."""
        by_name = dict(zip((column.name for column in self.source.columns), values, strict=True))
        key_columns, value_columns = self.source.key_columns, self.source.value_columns
        no_key = np.array([all(by_name[column.name] is None for column in key_columns)])
        no_value = np.array(
            [
                self.source.kind == "table"
                and all(by_name[column.name] is None for column in value_columns)
            ]
        )
        key = self._keys.encode(_row(key_columns, by_name), no_key)
        value = self._values.encode(_row(value_columns, by_name), no_value)
        return key[0].as_py(), value[0].as_py()


def insert(action: InsertValues, registry: Registry | None) -> tuple[bytes | None, bytes | None]:
    """(key, value) of the record that INSERT INTO … VALUES writes."""
    return Inserter(action.source, registry).record(action.values)


def _row(columns: tuple[Column, ...], values: dict[str, Any]) -> pa.RecordBatch:
    """One row; with no columns, a batch that still has its row."""
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))
    arrays = [types.from_python([values[column.name]], column.type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])
