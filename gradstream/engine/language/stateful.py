"""Batches of columns through a query that keeps something of the rows it has seen.

What can be computed of a row alone, the condition, the group, the arguments of aggregates, is computed on columns, and
so is what is shown of a group. In between goes one row after another, since each row changes what is kept, and every
change is shown.

Rows of a table come as changes: the row that a key had, to be taken back, and the one that it has now. Signs tell which:
NEW, OLD, and GONE for a key that has no row any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.language.analyze import Typed
from gradstream.engine.language.evaluation import (
    Indices,
    Item,
    Output,
    Rows,
    Timed,
    assembled,
    schema_of,
    timed,
    without_columns,
)
from gradstream.engine.language.functions.aggregates import frozen, number_after
from gradstream.engine.language.grouping import Aggregated
from gradstream.engine.language.query import Evaluated, RowError
from gradstream.engine.language.state import FEW, Store, next_look
from gradstream.engine.language.tasks import PARTITION, Moved
from gradstream.engine.types import SqlType, arrow_type, from_python, to_python

NEW, GONE, OLD = 1, 0, -1
Values: TypeAlias = tuple[Any, ...]
Window: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Changes:
    """Rows of a batch as changes, in order; what a row was (OLD) comes right before what it is (NEW or GONE).

    Attributes:
        batch: one row each, that of a GONE being of nulls but for its key.
        at: int64 (n,), the position of each in the batch that was given.
        signs: int8 (n,).
        tasks: int64 (n,), None where nobody asks.
        windows: of the rows' keys, None where they have none, or those of the records that they come from.
    """

    batch: pa.RecordBatch
    timestamps: Indices
    at: Indices
    signs: npt.NDArray[np.int8]
    tasks: Indices | None = None
    windows: list[Window] | None = None

    def some(self, which: Indices, signs: npt.NDArray[np.int8]) -> Changes:
        """Those at some positions, with signs of their own."""
        return Changes(
            self.batch.take(pa.array(which)),
            self.timestamps[which],
            self.at[which],
            signs,
            None if self.tasks is None else self.tasks[which],
            None if self.windows is None else [self.windows[n] for n in which.tolist()],
        )


class TableRows:
    """The newest row of every key of a table.

    Args:
        types: of the columns that are read.
        keys: names of those that are the key.
    """

    def __init__(self, types: dict[str, SqlType], keys: Sequence[str]) -> None:
        self.types, self.keys = types, tuple(keys)
        self.rows: Store[Any, Values] = Store("KsqlTopic-Reduce")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return (self.rows,)

    def restored(self) -> None:
        pass

    def changes(
        self, batch: pa.RecordBatch, timestamps: Indices, nulls: npt.NDArray[np.bool_] | None
    ) -> Changes:
        """What the batch's records change; those without a key are passed over."""
        names = list(self.types)
        columns = [to_python(batch.column(name), self.types[name]) for name in names]
        key_at = [names.index(name) for name in self.keys]
        rows: list[Values] = []
        at: list[int] = []
        signs: list[int] = []
        for n, values in enumerate(zip(*columns, strict=True)):
            key = tuple(frozen(values[k]) for k in key_at)
            if all(part is None for part in key):
                continue
            gone = nulls is not None and bool(nulls[n])
            if (old := self.rows.get(key)) is not None:
                rows.append(old)
                at.append(n)
                signs.append(OLD)
            if gone:
                self.rows.pop(key, None)
            else:
                self.rows[key] = values
            rows.append(values)
            at.append(n)
            signs.append(GONE if gone else NEW)
        made = batch_of(names, self.types, list(zip(*rows, strict=True)), len(rows))
        where = np.array(at, np.int64)
        return Changes(made, timestamps[where], where, np.array(signs, np.int8))


def stream_changes(
    batch: pa.RecordBatch, timestamps: Indices, nulls: npt.NDArray[np.bool_] | None
) -> Changes:
    """Rows of a stream are all new; a record without a value is no row."""
    at = np.arange(batch.num_rows, dtype=np.int64)
    if nulls is not None and nulls.any():
        at = np.flatnonzero(~nulls)
        batch, timestamps = batch.take(pa.array(at)), timestamps[at]
    tasks = None
    if PARTITION in batch.schema.names:
        tasks = np.asarray(batch.column(PARTITION)).astype(np.int64)
    return Changes(batch, timestamps, at, np.full(len(at), NEW, np.int8), tasks)


def batch_of(
    names: Iterable[str], types: dict[str, SqlType], columns: Sequence[Sequence[Any]], size: int
) -> pa.RecordBatch:
    """Columns of Python values as a batch; without columns it still has its rows."""
    names = list(names)
    if not names:
        return without_columns(size)
    if not size:
        return pa.RecordBatch.from_arrays(
            [pa.nulls(0, arrow_type(types[name])) for name in names], names
        )
    arrays = [
        from_python(list(column), types[name]) for name, column in zip(names, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names)


def passing(
    where: Item, types: dict[str, SqlType], changes: Changes, errors: list[RowError]
) -> tuple[Indices, npt.NDArray[np.int8]]:
    """Which changes a condition lets through, and their signs: what no longer passes it is gone, what never has is not.

    Returns:
        int64 (m,), positions among the changes, ascending, and int8 (m,).
    """
    rows = Rows(changes.batch, changes.timestamps, None, types)
    found: list[RowError] = []
    passes = where.mask(rows, found) & (changes.signs != GONE)
    errors += [(int(changes.at[n]), label, text) for n, label, text in found]
    was = np.zeros(len(passes), np.bool_)  # whether its OLD one did, which comes right before it
    was[1:] = passes[:-1] & (changes.signs[:-1] == OLD)
    signs = np.where(passes, changes.signs, GONE).astype(np.int8)
    kept = np.flatnonzero(passes | (was & (changes.signs != OLD)))
    return kept, signs[kept]


class Projection:
    """The last stage: changes to records of the sink."""

    def __init__(
        self,
        types: dict[str, SqlType],
        keys: Sequence[Output],
        values: Sequence[Output],
        time: Timed | None,
    ) -> None:
        self.types = types
        self.keys = [(of, Item(of.item, of.name)) for of in keys]
        self.values = [(of, Item(of.item, of.name)) for of in values]
        self.time = time

    def __call__(
        self, changes: Changes, errors: list[RowError], windows: list[Window] | None = None
    ) -> Evaluated:
        shown = np.flatnonzero(changes.signs != OLD)
        batch = changes.batch.take(pa.array(shown))
        times, at = changes.timestamps[shown], changes.at[shown]
        gone = changes.signs[shown] == GONE
        rows = Rows(batch, times, None, self.types)
        there = Rows(batch, times, np.flatnonzero(~gone), self.types)
        found: list[RowError] = []
        keys = self._columns(self.keys, rows, None, found)
        values = self._columns(self.values, there, gone, found)
        errors += [(int(at[n]), label, text) for n, label, text in found]
        kept = None if windows is None else [windows[n] for n in shown.tolist()]
        answer = Evaluated(keys, values, at, times, gone, errors, kept)
        return answer if self.time is None else timed(answer, self.time, gone)

    def _columns(
        self,
        items: list[tuple[Output, Item]],
        rows: Rows,
        gone: npt.NDArray[np.bool_] | None,
        errors: list[RowError],
    ) -> pa.RecordBatch:
        arrays = [item.array(rows, errors) for _, item in items]
        size = rows.size if gone is None else len(gone)
        if gone is not None and gone.any():
            back = np.cumsum(~gone) - 1
            spread = pa.array(back, pa.int64(), mask=gone)
            arrays = [array.take(spread) for array in arrays]
        return assembled(arrays, schema_of([of for of, _ in items]), size)


class TableQuery:
    """A table's rows, filtered and projected, as another table."""

    def __init__(
        self,
        types: dict[str, SqlType],
        source: TableRows | None,
        where: Typed | None,
        projection: Projection,
    ) -> None:
        self.types = types
        self.source = source
        self.where = None if where is None else Item(where, "WHERE")
        self.projection = projection

    def __call__(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        null_values: npt.NDArray[np.bool_] | None = None,
    ) -> Evaluated:
        assert self.source is not None
        return self.follow(self.source.changes(batch, timestamps, null_values), [])

    def follow(self, changes: Changes, errors: list[RowError]) -> Evaluated:
        """What changes of the source make of the result."""
        if self.where is not None:
            changes = changes.some(*passing(self.where, self.types, changes, errors))
        return self.projection(changes, errors, changes.windows)


@dataclass(slots=True)
class Grown:
    """What a row has made of its group, or of one window of it: a line for each OLD, NEW or GONE."""

    groups: list[Values]
    results: list[Values]
    windows: list[Window]
    times: list[int]
    at: list[int]
    signs: list[int]

    def add(
        self, key: Values, result: Values, window: Window, time: int, at: int, sign: int
    ) -> None:
        self.groups.append(key)
        self.results.append(result)
        self.windows.append(window)
        self.times.append(time)
        self.at.append(at)
        self.signs.append(sign)


NO_WINDOW = (0, 0)
GROUPS = "Aggregate-Aggregate-Materialize"  # as ksqlDB calls their store


class GroupQuery:
    """GROUP BY over a stream or a table.

    Args:
        types: of what can be read of a row.
        table: the table's rows, None for a stream.
        by, aggregates, where, having: see grouping.Grouped.
        groups: keeps the groups; one of the classes below.
        shown: types of what a group has.
        moved: where rows go by their groups; None where they stay in their partitions.
    """

    def __init__(
        self,
        types: dict[str, SqlType],
        table: TableRows | None,
        where: Typed | None,
        by: Sequence[Typed],
        aggregates: Sequence[Aggregated],
        groups: Groups,
        having: Typed | None,
        shown: dict[str, SqlType],
        projection: Projection,
        moved: Moved | None = None,
    ) -> None:
        self.types, self.table = types, table
        self.where = None if where is None else Item(where, "WHERE")
        self.by = [Item(item, "GROUP BY") for item in by]
        self.arguments = [[Item(of, one.name) for of in one.arguments] for one in aggregates]
        self.groups = groups
        self.groups.shows_old = having is not None
        self.having = None if having is None else Item(having, "HAVING")
        self.shown = shown
        self.projection = projection
        self.moved = moved

    def __call__(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        null_values: npt.NDArray[np.bool_] | None = None,
    ) -> Evaluated:
        if self.table is None:
            changes = stream_changes(batch, timestamps, null_values)
        else:
            changes = self.table.changes(batch, timestamps, null_values)
        return self.follow(changes, [])

    def follow(self, changes: Changes, errors: list[RowError]) -> Evaluated:
        """What changes of the source make of the groups."""
        if self.where is not None:
            changes = changes.some(*passing(self.where, self.types, changes, errors))
        made, windows = self._made(changes, errors)
        if self.having is not None:
            which, signs = passing(self.having, self.shown, made, errors)
            made = made.some(which, signs)
            windows = None if windows is None else [windows[n] for n in which.tolist()]
        return self.projection(made, errors, windows)

    def _made(
        self, changes: Changes, errors: list[RowError]
    ) -> tuple[Changes, list[Window] | None]:
        """Changes of the groups, and their windows if they have some."""
        grown = self._grown(changes, errors)
        return self._shown(grown), grown.windows if self.groups.windowed else None

    def _grown(self, changes: Changes, errors: list[RowError]) -> Grown:
        rows = Rows(changes.batch, changes.timestamps, None, self.types)
        found: list[RowError] = []
        keys = list(zip(*(self._python(item, rows, found) for item in self.by), strict=True))
        given = [
            list(zip(*(self._python(item, rows, found) for item in items), strict=True))
            if items
            else [()] * rows.size
            for items in self.arguments
        ]
        errors += [
            (int(changes.at[n]), label, text)
            for n, label, text in found
            if changes.signs[n] != GONE
        ]
        grown = Grown([], [], [], [], [], [])
        signs, times, at = changes.signs.tolist(), changes.timestamps.tolist(), changes.at.tolist()
        tasks = self._tasks(changes, keys)
        for n, key in enumerate(keys):
            if signs[n] == GONE or any(part is None for part in key):
                continue
            row = tuple(values[n] for values in given)
            try:
                self.groups.take(key, row, times[n], signs[n], at[n], grown, tasks[n])
            except (ArithmeticError, ValueError, TypeError) as error:
                errors.append((at[n], "Aggregate", str(error)))
        return grown

    def _tasks(self, changes: Changes, keys: list[Values]) -> list[int]:
        """The task of each change's group."""
        if self.moved is not None:
            return self.moved.places(keys)
        return [0] * len(keys) if changes.tasks is None else changes.tasks.tolist()

    def _python(self, item: Item, rows: Rows, errors: list[RowError]) -> list[Any]:
        assert item.item.type is not None
        if item.passed_on is not None:
            return rows.python(item.passed_on)
        return item.values(rows, errors)

    def _shown(self, grown: Grown) -> Changes:
        columns: dict[str, Sequence[Any]] = {}
        for n in range(len(self.by)):
            columns[f"GROUP_{n}"] = [key[n] for key in grown.groups]
        for n in range(len(self.arguments)):
            columns[f"AGGREGATE_{n}"] = [result[n] for result in grown.results]
        if self.groups.windowed:
            columns["WINDOWSTART"] = [start for start, _ in grown.windows]
            columns["WINDOWEND"] = [end for _, end in grown.windows]
        batch = batch_of(columns, self.shown, list(columns.values()), len(grown.groups))
        return Changes(
            batch,
            np.array(grown.times, np.int64),
            np.array(grown.at, np.int64),
            np.array(grown.signs, np.int8),
        )


class Kept(NamedTuple):
    """What is kept of a group, or of one window of it: its key, the states of its aggregates, its newest row's time."""

    group: Values
    states: Values
    time: int


class Groups:
    """Groups without windows.

    Attributes:
        windowed: whether its lines have windows.
        shows_old: whether anybody looks at what a group was before a row came.
        kept: by the group, as something that can be looked up.
    """

    windowed = False
    shows_old = False

    def __init__(self, aggregates: Sequence[Aggregated]) -> None:
        self.functions = [one.function for one in aggregates]
        self.empty = tuple(function.empty for function in self.functions)
        self.kept: Store[Any, Kept] = Store(GROUPS, made=Kept._make)

    def stores(self) -> Sequence[Store[Any, Any]]:
        return (self.kept,)

    def restored(self) -> None:
        """The rows to come are numbered on after those that have been."""
        for n, function in enumerate(self.functions):
            if function.newest is not None:
                of_groups = (function.newest(kept.states[n]) for kept in self.kept.values())
                number_after(max(of_groups, default=-1))

    def take(
        self,
        key: Values,
        row: Values,
        time: int,
        sign: int,
        at: int,
        grown: Grown,
        task: int = 0,
    ) -> None:
        """One row into its group, or back out of it (OLD); what that makes of the group goes to ``grown``."""
        self.change(key, frozen(key), NO_WINDOW, row, time, sign, at, grown)

    def change(
        self,
        key: Values,
        place: Any,
        window: Window,
        row: Values,
        time: int,
        sign: int,
        at: int,
        grown: Grown,
    ) -> None:
        before = self.kept.get(place)
        if before is None and sign == OLD:
            return
        states = self.empty if before is None else before.states
        newest = time if before is None else max(before.time, time)
        after = Kept(key, self.changed(states, row, sign), newest)
        self.kept[place] = after
        if before is not None and self.shows_old:
            grown.add(key, self.results(before.states), window, after.time, at, OLD)
        grown.add(key, self.results(after.states), window, after.time, at, NEW)

    def changed(self, states: Values, row: Values, sign: int) -> Values:
        if sign == NEW:
            return tuple(
                function.add(state, *values)
                for function, state, values in zip(self.functions, states, row, strict=True)
            )
        return tuple(
            state if function.undo is None else function.undo(state, *values)
            for function, state, values in zip(self.functions, states, row, strict=True)
        )

    def results(self, states: Values) -> Values:
        return tuple(
            function.result(state) for function, state in zip(self.functions, states, strict=True)
        )


class Clocked(Groups):
    """Groups in windows, whose ends are told by the clock of the newest row of their task.

    A group is kept as (task, what can be looked up of it): rows of one key that are in several partitions, where nobody
    who writes by key puts them, are as many groups, as in Kafka Streams.

    Args:
        grace: milliseconds that a row may come late.
        final: show a window once, when no row can come into it any more.

    Attributes:
        clocks: of each task, milliseconds.
    """

    windowed = True

    def __init__(self, aggregates: Sequence[Aggregated], grace: int, final: bool) -> None:
        super().__init__(aggregates)
        self.grace, self.final = grace, final
        self.clocks: Store[int, int] = Store(f"{GROUPS}/clocks")
        self.next_look = FEW

    def stores(self) -> Sequence[Store[Any, Any]]:
        return self.kept, self.clocks

    def restored(self) -> None:
        super().restored()
        self.next_look = next_look(len(self.kept))

    def clock(self, task: int) -> int:
        """The newest row's time, -1 before there is one."""
        newest: int = self.clocks.get(task, -1)
        return newest

    def advance(self, task: int, time: int) -> None:
        if time > self.clock(task):
            self.clocks[task] = time


class Windows(Clocked):
    """Groups in windows of a fixed size, one every ``every`` milliseconds, [start, end).

    A row that comes later than ``grace`` milliseconds after the end of a window, by its task's clock, is not counted in
    that window any more.

    Attributes:
        kept: by the window's start and the group.
        waiting: of EMIT FINAL, each task's windows that have not been shown yet: a heap of (start, group as text, place).
    """

    def __init__(
        self,
        aggregates: Sequence[Aggregated],
        size: int,
        every: int,
        grace: int,
        *,
        final: bool = False,
    ) -> None:
        super().__init__(aggregates, grace, final)
        self.size, self.every = size, every
        self.waiting: dict[int, list[tuple[int, str, Any]]] = {}

    def closed(self, task: int) -> int:
        """A window that ends then, or before, takes no row any more."""
        return self.clock(task) - self.grace

    def restored(self) -> None:
        super().restored()
        self.waiting = {}
        for place in self.kept if self.final else ():
            if place[0] + self.size > self.closed(place[1][0]):
                self.wait(place)

    def wait(self, place: Any) -> None:
        start, whole = place
        heappush(self.waiting.setdefault(whole[0], []), (start, str(whole), place))

    def take(
        self,
        key: Values,
        row: Values,
        time: int,
        sign: int,
        at: int,
        grown: Grown,
        task: int = 0,
    ) -> None:
        self.advance(task, time)
        closed = self.closed(task)
        first = max(0, time - self.size + self.every) // self.every * self.every
        whole = task, frozen(key)
        into = Grown([], [], [], [], [], []) if self.final else grown
        for start in range(first, time + 1, self.every):
            window = (start, start + self.size)
            if window[1] <= closed:
                continue
            place = start, whole
            new = place not in self.kept
            self.change(key, place, window, row, time, sign, at, into)
            if self.final and new:
                self.wait(place)
        if self.final:
            self.show_closed(task, at, grown)
        if len(self.kept) >= self.next_look:
            self.forget()

    def show_closed(self, task: int, at: int, grown: Grown) -> None:
        """The windows that have ended for good, in the order of their starts."""
        waiting, closed = self.waiting.get(task, []), self.closed(task)
        while waiting and waiting[0][0] + self.size <= closed:
            start, _, place = heappop(waiting)
            kept = self.kept[place]
            if start < closed - self.size:
                continue  # as in Kafka Streams, whose store forgets a window once it has been closed for a moment
            window = (start, start + self.size)
            grown.add(kept.group, self.results(kept.states), window, kept.time, at, NEW)

    def forget(self) -> None:
        """What no row can change any more, and what has been shown, need not be kept."""
        closed = {task: self.closed(task) for task in self.clocks}
        for place in [of for of in self.kept if of[0] + self.size <= closed[of[1][0]]]:
            del self.kept[place]
        self.next_look = next_look(len(self.kept))


class Sessions(Clocked):
    """Groups in windows that end when no row has come for ``gap`` milliseconds; rows in between join two of them.

    Attributes:
        kept: by the window and the group.
        of_group: the windows of each group, in order.
        waiting: of EMIT FINAL, the sessions that have not been shown yet.
        by_end: of each task, a heap of (end, group as text, number, place) with all of ``waiting``, and some that have
            grown meanwhile.
    """

    def __init__(
        self, aggregates: Sequence[Aggregated], gap: int, grace: int, *, final: bool = False
    ) -> None:
        super().__init__(aggregates, grace, final)
        self.gap = gap
        self.of_group: dict[Any, list[Window]] = {}
        self.waiting: set[Any] = set()
        self.by_end: dict[int, list[tuple[int, str, int, Any]]] = {}
        self.pushed = 0  # so that places are never compared

    def closed(self, task: int) -> int:
        """A session that ends before can grow no more."""
        return self.clock(task) - self.grace - self.gap

    def restored(self) -> None:
        super().restored()
        self.of_group, self.waiting, self.by_end = {}, set(), {}
        for place, kept in sorted(self.kept.items(), key=lambda item: item[0][0]):
            window, whole = place
            self.of_group.setdefault(whole, []).append(window)
            if self.final and window[1] >= self.closed(whole[0]):
                self.wait(place, kept.group)

    def take(
        self,
        key: Values,
        row: Values,
        time: int,
        sign: int,
        at: int,
        grown: Grown,
        task: int = 0,
    ) -> None:
        self.advance(task, time)
        closed = self.closed(task)
        whole = task, frozen(key)
        known = self.of_group.get(whole, [])
        joined = [
            of for of in known if of[1] >= max(closed, time - self.gap) and of[0] <= time + self.gap
        ]
        window = min([time, *(of[0] for of in joined)]), max([time, *(of[1] for of in joined)])
        if window[1] < closed:
            return
        states = self.empty
        for of in joined:
            states = self.merged(states, self.kept[of, whole].states)
        states = self.changed(states, row, sign)
        for of in joined:
            if not self.final:
                self.withdrawn(key, of, self.kept[of, whole], window == (time, time), at, grown)
            self.waiting.discard((of, whole))
            del self.kept[of, whole]
        self.of_group[whole] = sorted([*(of for of in known if of not in joined), window])
        self.kept[window, whole] = Kept(key, states, window[1])
        if self.final:
            self.wait((window, whole), key)
            self.show_closed(task, at, grown)
        else:
            grown.add(key, self.results(states), window, window[1], at, NEW)
        if len(self.kept) >= self.next_look:
            self.forget()

    def merged(self, states: Values, later: Values) -> Values:
        return tuple(
            function.merge(a, b)
            for function, a, b in zip(self.functions, states, later, strict=True)
        )

    def withdrawn(
        self, key: Values, window: Window, kept: Kept, stays: bool, at: int, grown: Grown
    ) -> None:
        """A session that a row has changed is no more, unless all its rows have the time of this one."""
        result = self.results(kept.states)
        grown.add(key, result, window, window[1], at, OLD)
        if not stays:
            grown.add(key, result, window, window[1], at, GONE)

    def wait(self, place: Any, key: Values) -> None:
        if place not in self.waiting:
            self.waiting.add(place)
            self.pushed += 1
            by_end = self.by_end.setdefault(place[1][0], [])
            heappush(by_end, (place[0][1], str(key), self.pushed, place))

    def show_closed(self, task: int, at: int, grown: Grown) -> None:
        by_end, closed = self.by_end.get(task, []), self.closed(task)
        while by_end and by_end[0][0] < closed:
            place = heappop(by_end)[-1]
            if place in self.waiting:
                self.waiting.discard(place)
                kept = self.kept[place]
                grown.add(kept.group, self.results(kept.states), place[0], kept.time, at, NEW)

    def forget(self) -> None:
        closed = {task: self.closed(task) for task in self.clocks}
        for place in [of for of in self.kept if of[0][1] < closed[of[1][0]]]:
            del self.kept[place]
            window, whole = place
            self.of_group[whole].remove(window)
            if not self.of_group[whole]:
                del self.of_group[whole]
        self.next_look = next_look(len(self.kept))
