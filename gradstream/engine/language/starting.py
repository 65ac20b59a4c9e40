"""From a resolved query to what runs it, where it keeps something of the rows it has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.catalog import Format, Source, WindowedKey
from gradstream.engine.language.analyze import WINDOW_BOUNDS, Typed
from gradstream.engine.language.evaluation import Output, Timed
from gradstream.engine.language.grouped_columns import GroupedColumns
from gradstream.engine.language.grouping import Grouped
from gradstream.engine.language.joining import Joined, Joint
from gradstream.engine.language.joins import (
    ForeignKey,
    JoinedRows,
    Keyed,
    Side,
    StreamStream,
    StreamTable,
    TableTable,
    stream_store,
)
from gradstream.engine.language.joins import Step as JoinStep
from gradstream.engine.language.projection import Projected, readable
from gradstream.engine.language.query import Evaluate, Evaluated, RowError, Start, Started
from gradstream.engine.language.state import Keeper
from gradstream.engine.language.stateful import (
    GROUPS,
    GroupQuery,
    Groups,
    Projection,
    Sessions,
    TableQuery,
    TableRows,
    Windows,
)
from gradstream.engine.language.tasks import KeyPartitions, Moved, Tasks
from gradstream.engine.types import SqlType

DAY = 86_400_000  # milliseconds; how late rows may come where the query does not tell


def windowed_key(projected: Projected | Grouped) -> WindowedKey | None:
    """The windows that the keys of a query's result carry: its own, else those of its source's keys, where it keeps them."""
    window = projected.query.window
    if window is None:
        return None if projected.repartitioned else projected.source.window
    size = None if window.kind == "SESSION" else window.size.milliseconds
    return WindowedKey(window.kind, size)


def columns_read(
    projected: Projected | Grouped, keys: Sequence[Output], values: Sequence[Output]
) -> set[str]:
    """Names of the source's columns that a query reads, pseudo columns included."""
    read: set[str] = set() if projected.where is None else projected.where.columns()
    if isinstance(projected, Grouped):
        for item in (*projected.by, *(of for one in projected.aggregates for of in one.arguments)):
            read |= item.columns()
        return read
    for output in (*keys, *values):
        read |= output.item.columns()
    for call in projected.tables.values():
        read |= call.columns()
    return read - projected.tables.keys()


def clocked(projected: Projected | Grouped) -> str | None:
    """The name of a store of what goes by the times of tasks; None where nothing does."""
    if isinstance(projected, Grouped) and projected.query.window is not None:
        return GROUPS
    joints = projected.joined.joints if projected.joined else ()
    of_streams = (n for n, joint in enumerate(joints) if joint.kinds == ("stream", "stream"))
    return next((stream_store(n) for n in of_streams), None)


def not_started(
    batch: pa.RecordBatch,
    timestamps: npt.NDArray[np.int64],
    null_values: npt.NDArray[np.bool_] | None = None,
) -> Evaluated:
    """In the place of ``evaluate`` where only what ``start`` makes can answer."""
    raise AssertionError("a query that keeps state must be started")


def starter(
    projected: Projected | Grouped,
    read: set[str],
    keys: Sequence[Output],
    values: Sequence[Output],
    time: Timed | None,
) -> Start:
    """Makes the query with nothing kept yet."""
    source = projected.source

    def tasks_of(partitions: int, of_keys: KeyPartitions) -> Tasks | None:
        beside = clocked(projected)
        return None if beside is None else Tasks(beside, partitions, of_keys)

    def following(table: TableRows | None, tasks: Tasks | None) -> TableQuery | GroupQuery:
        if not isinstance(projected, Grouped):
            last = Projection(projected.columns, keys, values, time)
            return TableQuery(projected.columns, table, projected.where, last)
        return GroupedColumns(
            projected.columns,
            table,
            projected.where,
            projected.by,
            projected.aggregates,
            groups(projected),
            projected.having,
            projected.shown,
            Projection(projected.shown, keys, values, time),
            moved_to_groups(projected, tasks),
        )

    if (joined := projected.joined) is not None:
        key_name = next((column.name for column in source.key_columns), None)

        def start_join(partitions: int, of_keys: KeyPartitions) -> Started:
            tasks = tasks_of(partitions, of_keys)
            return started_join(joined, read, following(None, tasks), key_name, tasks)

        return start_join
    key = [column.name for column in source.key_columns]
    key += WINDOW_BOUNDS if source.window is not None else ()
    held = {
        name: type_
        for name, type_ in readable(source).items()
        if name in key or (name in read and name != "ROWTIME")
    }

    def start(partitions: int, of_keys: KeyPartitions) -> Started:
        table = TableRows(held, key) if source.kind == "table" else None
        tasks = tasks_of(partitions, of_keys)
        rows = following(table, tasks)
        keepers: list[Keeper] = [] if table is None else [table]
        return Started(lambda number: rows, (*keepers, *kept_by(rows, tasks)))

    return start


def moved_to_groups(grouped: Grouped, tasks: Tasks | None) -> Moved | None:
    """Where rows go by their groups; None where they stay, or where that does not matter."""
    if tasks is None or not grouped.moves:
        return None
    key_format = (grouped.joined or grouped.source).key_format
    columns = {
        f"{n}" if not key.name else key.name: item.type
        for n, (key, item) in enumerate(zip(grouped.keys, grouped.by, strict=True))
        if item.type is not None
    }
    return Moved(tasks, key_format, columns)


def moved_to_join(format_: Format | None, key: Typed, tasks: Tasks | None) -> Moved | None:
    """Where a side's rows go by what they are joined by; None where they stay, or where that does not matter."""
    if tasks is None or format_ is None or key.type is None:
        return None
    return Moved(tasks, format_, {"ROWKEY": key.type})


def joined_reads(joined: Joined, read: set[str]) -> list[dict[str, str]]:
    """The columns that a query reads of each source: names in the joined row with their own names."""
    wanted = {*read, *joined.viable}
    for joint in joined.joints:
        wanted |= joint.keys[0].columns() | joint.keys[1].columns()
    for typed in joined.computed.values():
        wanted |= typed.columns()
    found = []
    for source, alias in joined.sources:
        keys = {column.name for column in source.key_columns} if source.kind == "table" else set()
        keys |= set(WINDOW_BOUNDS) if source.window is not None else set()
        found.append(
            {
                f"{alias}_{name}": name
                for name in readable(source)
                if f"{alias}_{name}" in wanted or name in keys
            }
        )
    return found


def started_join(
    joined: Joined,
    read: set[str],
    rows: TableQuery | GroupQuery,
    key: str | None,
    tasks: Tasks | None,
) -> Started:
    """The sources' rows, joined, into what follows.

    Args:
        key: the column that is the joined rows' key. It holds the key also where its own source has no row.
        tasks: None where they do not matter.
    """
    sides = []
    for (source, alias), names in zip(joined.sources, joined_reads(joined, read), strict=True):
        types = {name: readable(source)[own] for name, own in names.items()}
        is_table = source.kind == "table"
        own = source.key_columns if is_table else ()
        places = tuple(list(names).index(f"{alias}_{column.name}") for column in own)
        sides.append(Side(names, types, is_table, places))
    steps: list[JoinStep] = []
    left: dict[str, SqlType] = dict(sides[0].types)
    bounds = [window_places(*of, side) for of, side in zip(joined.sources, sides, strict=True)]
    left_bounds = list(bounds[0])
    for joint, side in zip(joined.joints, sides[1:], strict=True):
        moved = [moved_to_join(*of, tasks) for of in zip(joint.moved, joint.keys, strict=True)]
        of_side = [] if joint.foreign else bounds[len(steps) + 1]
        keyed = (
            Keyed(left, joint.keys[0], moved[0], [] if joint.foreign else left_bounds),
            Keyed(side.types, joint.keys[1], moved[1], of_side),
        )
        left_bounds += [(len(left) + start, len(left) + end) for start, end in of_side]
        steps.append(_step(joint, (len(left), len(side.types)), keyed, sides[0], len(steps)))
        left = {**left, **side.types}
    windowed = joined.source.window is not None and not joined.foreign
    joined_rows = JoinedRows(sides, steps, joined_key(joined, left, key), windowed)

    def of_source(number: int) -> Evaluate:
        def evaluate(
            batch: pa.RecordBatch,
            timestamps: npt.NDArray[np.int64],
            null_values: npt.NDArray[np.bool_] | None = None,
        ) -> Evaluated:
            errors: list[RowError] = []
            changes = joined_rows.changes(number, batch, timestamps, null_values, errors)
            return rows.follow(changes, errors)

        return evaluate

    return Started(of_source, (*steps, *kept_by(rows, tasks)))


def kept_by(rows: TableQuery | GroupQuery, tasks: Tasks | None) -> tuple[Keeper, ...]:
    groups_ = (rows.groups,) if isinstance(rows, GroupQuery) else ()
    return groups_ if tasks is None else (*groups_, tasks)


def window_places(source: Source, alias: str, side: Side) -> list[tuple[int, int]]:
    """Where a windowed source's rows have their windows' start and end; nothing for another."""
    if source.window is None:
        return []
    start, end = (list(side.names).index(f"{alias}_{name}") for name in WINDOW_BOUNDS)
    return [(start, end)]


def joined_key(
    joined: Joined, types: Mapping[str, SqlType], key: str | None
) -> tuple[str, SqlType] | None:
    """Name and type of the column that is to show what rows have been joined by; None where it does.

    Args:
        types: of the joined rows' columns.
        key: see started_join.
    """
    for name, typed in joined.computed.items():
        if typed.type is not None:
            return name, typed.type
    if key is None or joined.foreign or key not in joined.viable:
        return None
    if all(joint.node.kind == "INNER" for joint in joined.joints):
        return None
    return key, types[key]


def _step(
    joint: Joint,
    widths: tuple[int, int],
    keyed: tuple[Keyed, Keyed],
    first: Side,
    number: int,
) -> JoinStep:
    node = joint.node
    if joint.kinds == ("stream", "stream"):
        assert node.before is not None
        after = node.after or node.before
        return StreamStream(
            node.kind,
            widths,
            keyed,
            number,
            before=node.before.milliseconds,
            after=after.milliseconds,
            grace=None if node.grace is None else node.grace.milliseconds,
        )
    if joint.kinds == ("stream", "table"):
        return StreamTable(node.kind, widths, keyed, number)
    if joint.foreign:
        return ForeignKey(node.kind, widths, keyed, number, primary=first.key)
    return TableTable(node.kind, widths, keyed, number)


def groups(grouped: Grouped) -> Groups:
    """What keeps the groups of a query."""
    window, final = grouped.query.window, grouped.query.emit == "FINAL"
    if window is None:
        return Groups(grouped.aggregates)
    size = window.size.milliseconds
    grace = 0 if final else max(0, DAY - size)  # where the query does not tell
    if window.grace is not None:
        grace = window.grace.milliseconds
    if window.kind == "SESSION":
        return Sessions(grouped.aggregates, size, grace, final=final)
    advance = window.advance.milliseconds if window.advance else size
    return Windows(grouped.aggregates, size, advance, grace, final=final)
