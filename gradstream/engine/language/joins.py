"""Rows of several sources, joined: what is kept of each side, and which pairs a row makes.

Rows are tuples over the columns of a side; a joined row is the left one's values, then the right one's. The rules are
those of Kafka Streams' joins, one class for each kind.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from gradstream.engine.language.analyze import Typed
from gradstream.engine.language.evaluation import Indices, Item, Rows
from gradstream.engine.language.functions.aggregates import frozen, thawed
from gradstream.engine.language.query import RowError
from gradstream.engine.language.state import FEW, Store, next_look
from gradstream.engine.language.stateful import (
    GONE,
    NEW,
    OLD,
    Changes,
    Values,
    batch_of,
)
from gradstream.engine.language.tasks import PARTITION, Moved
from gradstream.engine.types import SqlType, from_python, to_python

How: TypeAlias = Literal["INNER", "LEFT", "RIGHT", "OUTER"]
Row: TypeAlias = "Values | None"


@dataclass(slots=True)
class Events:
    """Changes of one side in order, as tuples.

    Attributes:
        keys: what they are joined by, as it can be looked up, None for none; of joined rows, what they have been joined by.
        tasks: see tasks.
    """

    rows: list[Values] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def add(
        self, row: Values, time: int, at: int, sign: int = NEW, key: Any = None, task: int = 0
    ) -> None:
        self.rows.append(row)
        self.times.append(time)
        self.at.append(at)
        self.signs.append(sign)
        self.keys.append(key)
        self.tasks.append(task)

    def __len__(self) -> int:
        return len(self.rows)


class Keyed:
    """Computes what the rows of a side are joined by.

    Args:
        types: of the side's columns, in the order of its tuples.
        moved: where rows go by it; None where they stay in their tasks.
        bounds: of each windowed source of the side, the positions of its windows' start and end.
    """

    def __init__(
        self,
        types: dict[str, SqlType],
        key: Typed,
        moved: Moved | None = None,
        bounds: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.types = types
        self.bounds = tuple(bounds)
        self.item = Item(key, "JOIN")
        self.moved = moved
        self.plain = list(types).index(key.detail) if key.kind == "column" else None

    def fill(self, events: Events, errors: list[RowError]) -> None:
        keys = self.values(events, errors)
        events.keys = [frozen(key) for key in keys]
        if self.bounds:
            events.keys = list(map(self.windowed, events.keys, events.rows))
        if self.moved is not None:
            events.tasks = self.moved.places([(key,) for key in keys])

    def windowed(self, key: Any, row: Values) -> Any:
        """The key with the row's window, (key, (start, end)): as in Kafka Streams only equal windows meet."""
        if key is None:
            return None
        found = ((row[start], row[end]) for start, end in self.bounds)
        return key, next((window for window in found if window[0] is not None), None)

    def values(self, events: Events, errors: list[RowError]) -> list[Any]:
        if self.plain is not None:
            return [row[self.plain] for row in events.rows]
        columns = list(zip(*events.rows, strict=True)) or [()] * len(self.types)
        batch = batch_of(self.types, self.types, columns, len(events))
        rows = Rows(batch, np.array(events.times, np.int64), None, self.types)
        found: list[RowError] = []
        values = self.item.values(rows, found)
        errors += [(events.at[n], label, text) for n, label, text in found]
        return values


@dataclass(slots=True)
class Step:
    """One join of a query: what has been joined so far with one more source.

    Attributes:
        widths: how many columns a row of each side has.
        number: of the join in its query, from 0.
    """

    how: How
    widths: tuple[int, int]
    keyed: tuple[Keyed, Keyed]
    number: int = 0

    def stores(self) -> Sequence[Store[Any, Any]]:
        raise NotImplementedError

    def restored(self) -> None:
        pass

    def table(self, side: Literal["Left", "Right"]) -> Store[Any, Any]:
        """For a table's rows, named as ksqlDB's first join names them."""
        more = f"_{self.number}" if self.number else ""
        return Store(f"KafkaTopic_{side}{more}-Reduce")

    def take(self, events: Events, side: int, errors: list[RowError]) -> Events:
        """What changes of one side (0 left, 1 right) make of the joined rows."""
        out = Events()
        self.keyed[side].fill(events, errors)
        for row, time, at, sign, key, task in zip(
            events.rows,
            events.times,
            events.at,
            events.signs,
            events.keys,
            events.tasks,
            strict=True,
        ):
            self.one(side, key, row, time, at, sign, out, task)
        return out

    def one(
        self,
        side: int,
        key: Any,
        row: Values,
        time: int,
        at: int,
        sign: int,
        out: Events,
        task: int = 0,
    ) -> None:
        raise NotImplementedError

    def pair(self, left: Row, right: Row) -> Values:
        return (left or (None,) * self.widths[0]) + (right or (None,) * self.widths[1])

    def keeps(self, side: int) -> bool:
        """Whether a row of this side is shown also where it has no partner."""
        return self.how == "OUTER" or self.how == ("LEFT", "RIGHT")[side]


def stream_store(number: int, side: Literal["THIS", "OTHER"] = "THIS") -> str:
    """The name of what a join of streams keeps of a side."""
    return f"KSTREAM-JOIN{side}-{number:010d}-store"


@dataclass(slots=True)
class StreamStream(Step):
    """Rows whose times are close to each other.

    Attributes:
        before, after: milliseconds by which a right row may be older or newer than the left one.
        grace: milliseconds that a row may come late; None: rows without a partner are shown at once, as ksqlDB does
            where the query does not tell.
        rows: of each side, by ((task, key), time, number of the row), with whether it waits to be shown without a
            partner. Rows of different tasks do not meet.
        clocks: of each task, the newest row's time.
        order: of each side, time and number of the rows of each (task, key), in order.
        waiting: of each task, a heap of (time after which no partner can come, number, side, place in ``rows``); some
            wait no more.
    """

    before: int = 0
    after: int = 0
    grace: int | None = None
    last: int = 0
    rows: tuple[Store[Any, tuple[Values, bool]], ...] = ()
    clocks: Store[int, int] = field(default_factory=lambda: Store(""))
    marks: Store[str, int] = field(default_factory=lambda: Store(""))
    order: tuple[dict[Any, list[tuple[int, int]]], ...] = field(default_factory=lambda: ({}, {}))
    waiting: dict[int, list[tuple[int, int, int, Any]]] = field(default_factory=dict)
    next_look: int = FEW

    def __post_init__(self) -> None:
        mine, other = (stream_store(self.number, of) for of in ("THIS", "OTHER"))
        self.rows = (Store(mine), Store(other))
        self.clocks = Store(f"{mine}/clocks")
        self.marks = Store(f"{mine}/marks")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return *self.rows, self.clocks, self.marks

    def restored(self) -> None:
        self.last = self.marks.get("last", 0)
        self.order, self.waiting = ({}, {}), {}
        for side, rows in enumerate(self.rows):
            for place in sorted(rows, key=lambda place: place[1:]):
                self.enter(side, place, waits=rows[place][1])
        self.next_look = next_look(sum(map(len, self.rows)))

    def span(self, side: int, time: int) -> tuple[int, int]:
        """The times that a partner of a row may have."""
        if side == 0:
            return time - self.before, time + self.after
        return time - self.after, time + self.before

    def oldest(self, task: int) -> int:
        """The time that a row must have at least to find a partner still."""
        late = 86_400_000 if self.grace is None else self.grace
        clock: int = self.clocks.get(task, -1)
        return clock - self.before - self.after - late

    def one(
        self,
        side: int,
        key: Any,
        row: Values,
        time: int,
        at: int,
        sign: int,
        out: Events,
        task: int = 0,
    ) -> None:
        if key is None:
            return
        clock = max(time, self.clocks.get(task, -1))
        if time == clock:
            self.clocks[task] = time
            self.show_closed(task, at, out)
        whole, oldest = (task, key), self.oldest(task)
        low, high = self.span(side, time)
        order = self.order[1 - side].get(whole, [])
        near = order[bisect_left(order, (low, 0)) : bisect_right(order, (high, self.last))]
        partners = [(whole, *of) for of in near if of[0] >= oldest]
        for place in partners:
            other, waits = self.rows[1 - side][place]
            if waits:
                self.rows[1 - side][place] = other, False
            left, right = (row, other) if side == 0 else (other, row)
            out.add(self.pair(left, right), max(time, place[1]), at, NEW, key, task)
        alone = not partners and self.keeps(side)
        waits = alone and self.grace is not None and high + self.grace >= clock
        if alone and not waits:
            out.add(self.alone(side, row), time, at, NEW, key, task)
        if time >= oldest:
            self.keep(side, whole, row, time, waits=waits)

    def keep(self, side: int, key: Any, row: Values, time: int, *, waits: bool) -> None:
        self.last = self.marks["last"] = self.last + 1
        place = key, time, self.last
        self.rows[side][place] = row, waits
        self.enter(side, place, waits=waits)
        if sum(map(len, self.rows)) >= self.next_look:
            self.forget()

    def enter(self, side: int, place: Any, *, waits: bool) -> None:
        """What can be computed from the rows."""
        key, time, number = place
        insort(self.order[side].setdefault(key, []), (time, number))
        if waits and self.grace is not None:
            until = self.span(side, time)[1] + self.grace
            heappush(self.waiting.setdefault(key[0], []), (until, number, side, place))

    def alone(self, side: int, row: Values) -> Values:
        return self.pair(row, None) if side == 0 else self.pair(None, row)

    def show_closed(self, task: int, at: int, out: Events) -> None:
        """Rows of a task whose partner can no longer come, oldest first."""
        done = []
        waiting, clock = self.waiting.get(task, []), self.clocks[task]
        while waiting and waiting[0][0] < clock:
            _, number, side, place = heappop(waiting)
            row, waits = self.rows[side].get(place, (None, False))
            if waits:
                self.rows[side][place] = row, False
                done.append((place[1], number, side, row, place[0][1]))
        for time, _, side, row, key in sorted(done, key=lambda of: of[:2]):
            out.add(self.alone(side, row), time, at, NEW, key, task)

    def forget(self) -> None:
        """Rows that find no partner any more."""
        oldest = {task: self.oldest(task) for task in self.clocks}
        for side, rows in enumerate(self.rows):
            for place in [of for of in rows if of[1] < oldest[of[0][0]]]:
                del rows[place]
                order = self.order[side][place[0]]
                order.remove(place[1:])
                if not order:
                    del self.order[side][place[0]]
        self.next_look = next_look(sum(map(len, self.rows)))


@dataclass(slots=True)
class StreamTable(Step):
    """Each row of a stream with the row that the table has for it at that moment."""

    rows: Store[Any, Values] = field(default_factory=lambda: Store(""))

    def __post_init__(self) -> None:
        self.rows = self.table("Right")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return (self.rows,)

    def one(
        self,
        side: int,
        key: Any,
        row: Values,
        time: int,
        at: int,
        sign: int,
        out: Events,
        task: int = 0,
    ) -> None:
        if key is None:
            return
        if side == 1:
            if sign == NEW:
                self.rows[key] = row
            elif sign == GONE:
                self.rows.pop(key, None)
            return
        found = self.rows.get(key)
        if found is not None or self.how == "LEFT":
            out.add(self.pair(row, found), time, at, NEW, key, task)


@dataclass(slots=True)
class TableTable(Step):
    """Two tables by their primary keys."""

    kept: tuple[Store[Any, tuple[Values, int]], ...] = ()

    def __post_init__(self) -> None:
        self.kept = self.table("Left"), self.table("Right")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return self.kept

    def one(
        self,
        side: int,
        key: Any,
        row: Values,
        time: int,
        at: int,
        sign: int,
        out: Events,
        task: int = 0,
    ) -> None:
        if key is None or sign == OLD:
            return
        mine, theirs = self.kept[side], self.kept[1 - side]
        before, (other, other_time) = mine.get(key), theirs.get(key, (None, -1))
        if sign == NEW:
            mine[key] = row, time
        else:
            mine.pop(key, None)
        if other is None and not self.keeps(side):
            return
        newest = max(time, other_time)
        old = self.joined(side, None if before is None else before[0], other)
        new = self.joined(side, row if sign == NEW else None, other)
        if old is not None:
            out.add(old, newest, at, OLD, key)
        if new is not None:
            out.add(new, newest, at, NEW, key)
        elif old is not None or other is not None:
            gone = self.pair(row, None) if side == 0 else self.pair(None, row)
            out.add(old or gone, newest, at, GONE, key)

    def joined(self, side: int, row: Row, other: Row) -> Row:
        """The joined row, None where there is none."""
        left, right = (row, other) if side == 0 else (other, row)
        if left is None and (right is None or not self.keeps(1)):
            return None
        if right is None and not self.keeps(0):
            return None
        return self.pair(left, right)


@dataclass(slots=True)
class ForeignKey(Step):
    """A table whose rows name a row of another table by its primary key.

    Attributes:
        primary: positions of the left table's own key in its rows.
        naming: the left rows that name each right one, by their keys, in the order in which they came to do so.
    """

    primary: tuple[int, ...] = ()
    left: Store[Any, tuple[Values, Any, int]] = field(default_factory=lambda: Store(""))
    right: Store[Any, tuple[Values, int]] = field(default_factory=lambda: Store(""))
    naming: dict[Any, dict[Any, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left, self.right = self.table("Left"), self.table("Right")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return self.left, self.right

    def restored(self) -> None:
        self.naming = {}
        for mine, (_, key, _) in self.left.items():
            self.naming.setdefault(key, {})[mine] = None

    def one(
        self,
        side: int,
        key: Any,
        row: Values,
        time: int,
        at: int,
        sign: int,
        out: Events,
        task: int = 0,
    ) -> None:
        if sign == OLD:
            return
        if side == 0:
            self.from_left(key, row, time, at, sign, out)
        elif key is not None:
            self.from_right(key, row, time, at, sign, out)

    def from_left(self, key: Any, row: Values, time: int, at: int, sign: int, out: Events) -> None:
        mine = tuple(frozen(row[n]) for n in self.primary)
        before = self.left.pop(mine, None)
        if before is not None:
            self.naming.get(before[1], {}).pop(mine, None)
        was = None if before is None else self.shown(before[0], before[1])
        now = None
        if sign == NEW:
            self.left[mine] = row, key, time
            self.naming.setdefault(key, {})[mine] = None
            now = self.shown(row, key)
        newest = max(time, self.right[key][1]) if key in self.right and sign == NEW else time
        if was is not None:
            out.add(was, newest, at, OLD)
        if now is not None:
            out.add(now, newest, at, NEW)
        elif before is not None and (sign == GONE or was is not None or before[1] != key):
            out.add(was or self.pair(row, None), newest, at, GONE)

    def shown(self, row: Values, key: Any) -> Row:
        found = self.right.get(key) if key is not None else None
        if found is None:
            return self.pair(row, None) if self.how == "LEFT" else None
        return self.pair(row, found[0])

    def from_right(self, key: Any, row: Values, time: int, at: int, sign: int, out: Events) -> None:
        naming = list(self.naming.get(key, {}))
        before = [self.shown(self.left[mine][0], key) for mine in naming]
        if sign == NEW:
            self.right[key] = row, time
        else:
            self.right.pop(key, None)
        for mine, was in zip(naming, before, strict=True):
            left, _, left_time = self.left[mine]
            now, newest = self.shown(left, key), max(time, left_time)
            if was is not None:
                out.add(was, newest, at, OLD)
            if now is not None:
                out.add(now, newest, at, NEW)
            elif was is not None:
                out.add(was, newest, at, GONE)


@dataclass(slots=True)
class Side:
    """A source of a join.

    Attributes:
        names: its columns by their names in the joined row, with their own names.
        types: by the names in the joined row.
        key: positions of its key; only of a table.
    """

    names: dict[str, str]
    types: dict[str, SqlType]
    is_table: bool
    key: tuple[int, ...]

    def events(self, batch: pa.RecordBatch, timestamps: Indices, nulls: Any) -> Events:
        columns = []
        for name, own in self.names.items():
            array = pa.array(timestamps, pa.int64()) if own == "ROWTIME" else batch.column(own)
            columns.append(to_python(array, self.types[name]))
        out = Events()
        times = timestamps.tolist()
        tasks = [0] * len(times)
        if PARTITION in batch.schema.names:
            tasks = batch.column(PARTITION).to_pylist()
        for n, row in enumerate(zip(*columns, strict=True)):
            gone = nulls is not None and bool(nulls[n])
            if not self.is_table:
                if not gone:
                    out.add(row, times[n], n, NEW, None, tasks[n])
                continue
            place = tuple(frozen(row[k]) for k in self.key)
            if all(part is None for part in place):
                continue
            out.add(row, times[n], n, GONE if gone else NEW)
        return out


class JoinedRows:
    """The rows of a query's sources, joined step by step from the left.

    Args:
        sides: left-most first; ``steps[n]`` joins what ``sides[: n + 1]`` make with ``sides[n + 1]``.
        key: name and type of the column that shows what the last step has joined by, in place of a side's column or beside
            them; None for none.
        windowed: whether the sources' keys have windows.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        steps: Sequence[Step],
        key: tuple[str, SqlType] | None = None,
        windowed: bool = False,
    ) -> None:
        self.sides, self.steps = sides, steps
        self.key, self.windowed = key, windowed
        self.types = {name: type_ for side in sides for name, type_ in side.types.items()}

    def changes(
        self,
        source: int,
        batch: pa.RecordBatch,
        timestamps: Indices,
        nulls: Any,
        errors: list[RowError],
    ) -> Changes:
        events = self.sides[source].events(batch, timestamps, nulls)
        for n in range(max(0, source - 1), len(self.steps)):
            side = 1 if n == source - 1 else 0
            events = self.steps[n].take(events, side, errors)
        windows = None
        if self.windowed:
            windows = [window for _, window in events.keys]
            events.keys = [key for key, _ in events.keys]
        columns = list(zip(*events.rows, strict=True)) or [()] * len(self.types)
        return Changes(
            self.with_key(batch_of(self.types, self.types, columns, len(events)), events),
            np.array(events.times, np.int64),
            np.array(events.at, np.int64),
            np.array(events.signs, np.int8),
            np.array(events.tasks, np.int64),
            windows,
        )

    def with_key(self, batch: pa.RecordBatch, events: Events) -> pa.RecordBatch:
        """With the key also where the row has no partner on the side whose column shows it."""
        if self.key is None:
            return batch
        name, type_ = self.key
        made = from_python([thawed(key, type_) for key in events.keys], type_)
        if name not in batch.schema.names:
            return batch.append_column(name, made)
        return batch.set_column(batch.schema.get_field_index(name), name, made)
