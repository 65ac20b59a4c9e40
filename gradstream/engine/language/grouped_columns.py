"""GROUP BY over a stream, a batch at a time: where the key and all aggregates can be had by columns, no row becomes an object.

Each row changes its group, and every change is shown, so that the answer has a line for each row all the same. What is kept
is read and written once for each group of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gradstream.engine.language.evaluation import Indices, Rows
from gradstream.engine.language.functions.running import Groups as Sorted
from gradstream.engine.language.functions.running import Made
from gradstream.engine.language.query import RowError
from gradstream.engine.language.stateful import (
    NEW,
    Changes,
    GroupQuery,
    Groups,
    Kept,
    Values,
    Window,
    Windows,
)
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    arrow_type,
    to_python,
)

KEYS = (BOOLEAN, INTEGER, BIGINT, STRING, BYTES, DATE, TIME, TIMESTAMP)
"""Types whose values are equal as keys where Arrow says so; of doubles, NaN and zeros are not."""
FEW = 64  # rows for which it is not worth it


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows with the groups into which they go.

    Attributes:
        rows: int64 (k,), positions in the batch, ascending; a row is there once for each of its windows.
        code: int64 (k,), the group of each, from 0.
        keys: of each group.
        places: what each group is kept by.
        starts: int64 (k,), of the windows; None without windows.
        clocks: how far the tasks' clocks have come, in the order in which they did.
    """

    rows: Indices
    code: Indices
    keys: list[Values]
    places: list[Any]
    starts: Indices | None = None
    clocks: dict[int, int] = field(default_factory=dict)


class GroupedColumns(GroupQuery):
    """As a GroupQuery; batches that it cannot do go row by row."""

    def can(self) -> bool:
        """Whether the query is of the kind at all."""
        groups = self.groups
        return (
            self.table is None
            and self.having is None
            and (type(groups) is Groups or (isinstance(groups, Windows) and not groups.final))
            and all(item.item.type in KEYS for item in self.by)
            and all(function.running is not None for function in groups.functions)
        )

    def _made(
        self, changes: Changes, errors: list[RowError]
    ) -> tuple[Changes, list[Window] | None]:
        if len(changes.at) >= FEW and self.can() and (changes.signs == NEW).all():
            found: list[RowError] = []
            made = self._by_columns(changes, found)
            if made is not None:
                errors += [(int(changes.at[n]), label, text) for n, label, text in found]
                return made
        return super()._made(changes, errors)

    def _by_columns(
        self, changes: Changes, errors: list[RowError]
    ) -> tuple[Changes, list[Window] | None] | None:
        rows = Rows(changes.batch, changes.timestamps, None, self.types)
        keys = [item.array(rows, errors) for item in self.by]
        arguments = [[of.array(rows, errors) for of in items] for items in self.arguments]
        placed = self._placed(changes, keys)
        if not len(placed.rows):
            return None
        order = np.argsort(placed.code, kind="stable")
        group = placed.code[order]
        begin = np.flatnonzero(np.diff(group, prepend=-1))
        groups = Sorted(group, begin, np.diff(begin, append=len(group)))
        before = [self.groups.kept.get(place) for place in placed.places]
        in_order = placed.rows[order]
        made = self._run(groups, before, arguments, pa.array(in_order))
        times = _newest(groups, before, changes.timestamps[in_order])
        if made is None or times is None:
            return None
        self._keep(placed, made, times[groups.last], order[groups.last])
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        shown = {f"GROUP_{n}": key.take(pa.array(placed.rows)) for n, key in enumerate(keys)}
        for n, one in enumerate(made):
            shown[f"AGGREGATE_{n}"] = one.results.take(pa.array(back))
        return self._told(changes, placed, shown, times[back])

    def _placed(self, changes: Changes, keys: list[pa.Array]) -> Placed:
        """The rows whose key is whole, with their groups."""
        good = np.flatnonzero(np.logical_and.reduce([np.asarray(key.is_valid()) for key in keys]))
        code = np.zeros(len(good), np.int64)
        whole = [key.take(pa.array(good)) for key in keys]
        for key in whole:
            encoded = key.dictionary_encode()
            code = _joint(code, np.asarray(encoded.indices), len(encoded.dictionary))
        first = pa.array(np.unique(code, return_index=True)[1])
        columns = [
            to_python(key.take(first), item.item.type)
            for key, item in zip(whole, self.by, strict=True)
            if item.item.type is not None
        ]
        values = list(zip(*columns, strict=True))
        if isinstance(self.groups, Windows):
            return self._in_windows(self.groups, changes, good, code, values)
        return Placed(good, code, values, values)

    def _in_windows(
        self,
        groups: Windows,
        changes: Changes,
        good: Indices,
        code: Indices,
        values: list[Values],
    ) -> Placed:
        """Each row once for each window that has not been closed by the clock of its task."""
        times = changes.timestamps[good]
        if self.moved is not None:
            tasks = np.array(self.moved.places(values), np.int64)[code]
        else:
            tasks = np.zeros_like(code) if changes.tasks is None else changes.tasks[good]
        clock, clocks = _clock(groups, tasks, times)
        first = np.maximum(0, times - groups.size + groups.every) // groups.every * groups.every
        count = np.maximum(0, (times - first) // groups.every + 1)
        row = np.repeat(np.arange(len(good)), count)
        turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        starts = first[row] + turn * groups.every
        open_ = np.flatnonzero(starts + groups.size > clock[row] - groups.grace)
        row, starts = row[open_], starts[open_]
        known, number = np.unique(starts, return_inverse=True)
        joint = _joint(code[row], number.reshape(-1), len(known))
        known, number = np.unique(tasks[row], return_inverse=True)
        joint = _joint(joint, number.reshape(-1), len(known))
        at = np.unique(joint, return_index=True)[1]
        keys = [values[n] for n in code[row[at]].tolist()]
        whole = zip(tasks[row[at]].tolist(), keys, strict=True)
        places = list(zip(starts[at].tolist(), whole, strict=True))
        return Placed(good[row], joint, keys, places, starts, clocks)

    def _run(
        self,
        groups: Sorted,
        before: list[Kept | None],
        arguments: list[list[pa.Array]],
        rows: pa.Array,
    ) -> list[Made] | None:
        """What the rows make of each aggregate; None where one has to go row by row."""
        made = []
        for n, (function, columns) in enumerate(zip(self.groups.functions, arguments, strict=True)):
            assert function.running is not None
            starts = [function.empty if of is None else of.states[n] for of in before]
            one = function.running(groups, starts, [column.take(rows) for column in columns])
            if one is None:
                return None
            made.append(one)
        return made

    def _keep(self, placed: Placed, made: list[Made], times: Indices, last: Indices) -> None:
        """In the order of the groups' last rows, as one row after the other would."""
        states = list(zip(*(one.kept for one in made), strict=True))
        newest, kept, groups = times.tolist(), self.groups.kept, self.groups
        for n in np.argsort(last).tolist():
            kept[placed.places[n]] = Kept(placed.keys[n], states[n], newest[n])
        if isinstance(groups, Windows):
            for task, clock in placed.clocks.items():
                groups.advance(task, clock)
            if len(kept) >= groups.next_look:
                groups.forget()

    def _told(
        self, changes: Changes, placed: Placed, shown: dict[str, pa.Array], times: Indices
    ) -> tuple[Changes, list[Window] | None]:
        windows = None
        if placed.starts is not None and isinstance(self.groups, Windows):
            ends = placed.starts + self.groups.size
            shown |= {"WINDOWSTART": pa.array(placed.starts), "WINDOWEND": pa.array(ends)}
            windows = list(zip(placed.starts.tolist(), ends.tolist(), strict=True))
        columns = [array.cast(arrow_type(self.shown[name])) for name, array in shown.items()]
        batch = pa.RecordBatch.from_arrays(columns, list(shown))
        signs = np.full(len(placed.rows), NEW, np.int8)
        return Changes(batch, times, changes.at[placed.rows], signs), windows


def _joint(code: Indices, other: Indices, count: int) -> Indices:
    """Numbers from 0 for pairs of numbers, the second one of ``count``."""
    made: Indices = np.unique(code * count + other, return_inverse=True)[1].reshape(-1)
    return made


def _clock(groups: Windows, tasks: Indices, times: Indices) -> tuple[Indices, dict[int, int]]:
    """The clock of each row's task when it has come, and the clocks that have been moved, in the order in which they were."""
    clock = np.empty(len(times), np.int64)
    moved = []
    for task in np.unique(tasks).tolist():
        rows = np.flatnonzero(tasks == task)
        before = groups.clock(task)
        clock[rows] = np.maximum.accumulate(np.maximum(times[rows], before))
        steps = np.flatnonzero(np.diff(clock[rows], prepend=before))
        if len(steps):
            moved.append((int(rows[steps[-1]]), task, int(clock[rows[-1]])))
    return clock, {task: newest for _, task, newest in sorted(moved)}


def _newest(groups: Sorted, before: list[Kept | None], times: Indices) -> Indices | None:
    """The newest time that each row's group has had until then; None for times too far apart to tell at once."""
    known = np.array([-1 if of is None else of.time for of in before], np.int64)
    new = np.array([of is None for of in before], np.bool_)
    first = np.where(new, times[groups.begin], known)
    times = times.copy()
    times[groups.begin] = np.maximum(times[groups.begin], first)
    low = int(times.min())
    span = int(times.max()) - low + 1
    if span * len(before) >= 1 << 62:
        return None
    shift = groups.group * span - low
    newest: Indices = np.maximum.accumulate(times + shift) - shift
    return newest
