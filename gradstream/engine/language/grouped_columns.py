"""GROUP BY over a stream, a batch at a time: where the key and all aggregates can be had by columns, no row becomes an object.

Each row changes its group, and every change is shown, so that the answer has a line for each row all the same. What is kept
is read and written once for each group of a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gradstream.engine.language.evaluation import Indices, Rows
from gradstream.engine.language.functions.running import Groups as Sorted
from gradstream.engine.language.functions.running import Made
from gradstream.engine.language.query import RowError
from gradstream.engine.language.stateful import NEW, Changes, GroupQuery, Groups, Kept, Window
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


class GroupedColumns(GroupQuery):
    """As a GroupQuery; batches that it cannot do go row by row."""

    def can(self) -> bool:
        """Whether the query is of the kind at all."""
        return (
            self.table is None
            and self.having is None
            and type(self.groups) is Groups
            and all(item.item.type in KEYS for item in self.by)
            and all(function.running is not None for function in self.groups.functions)
        )

    def _made(
        self, changes: Changes, errors: list[RowError]
    ) -> tuple[Changes, list[Window] | None]:
        if len(changes.at) >= FEW and self.can() and (changes.signs == NEW).all():
            found: list[RowError] = []
            made = self._by_columns(changes, found)
            if made is not None:
                errors += [(int(changes.at[n]), label, text) for n, label, text in found]
                return made, None
        return super()._made(changes, errors)

    def _by_columns(self, changes: Changes, errors: list[RowError]) -> Changes | None:
        rows = Rows(changes.batch, changes.timestamps, None, self.types)
        keys = [item.array(rows, errors) for item in self.by]
        arguments = [[of.array(rows, errors) for of in items] for items in self.arguments]
        good = np.flatnonzero(np.logical_and.reduce([np.asarray(key.is_valid()) for key in keys]))
        if not len(good):
            return None
        if len(good) < len(changes.at):
            keys = [key.take(pa.array(good)) for key in keys]
        order, groups, values = self._sorted(keys)
        before = [self.groups.kept.get(place) for place in values]
        in_order = pa.array(good[order])
        made: list[Made] = []
        for n, (function, columns) in enumerate(zip(self.groups.functions, arguments, strict=True)):
            assert function.running is not None
            starts = [function.empty if of is None else of.states[n] for of in before]
            one = function.running(groups, starts, [column.take(in_order) for column in columns])
            if one is None:
                return None
            made.append(one)
        times = _newest(groups, before, changes.timestamps[good][order])
        if times is None:
            return None
        self._keep(values, made, times[groups.last], order[groups.last])
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        shown = [*keys, *(one.results.take(pa.array(back)) for one in made)]
        names = [f"GROUP_{n}" for n in range(len(keys))]
        names += [f"AGGREGATE_{n}" for n in range(len(made))]
        columns = [
            array.cast(arrow_type(self.shown[name]))
            for name, array in zip(names, shown, strict=True)
        ]
        return Changes(
            pa.RecordBatch.from_arrays(columns, names),
            times[back],
            changes.at[good],
            np.full(len(good), NEW, np.int8),
        )

    def _sorted(self, keys: list[pa.Array]) -> tuple[Indices, Sorted, list[tuple[Any, ...]]]:
        """The order of rows by group, the groups, and the key of each."""
        code = np.zeros(len(keys[0]), np.int64)
        for key in keys:
            encoded = key.dictionary_encode()
            joint = code * len(encoded.dictionary) + np.asarray(encoded.indices)
            code = np.unique(joint, return_inverse=True)[1].reshape(-1)
        order = np.argsort(code, kind="stable")
        group = code[order]
        begin = np.flatnonzero(np.diff(group, prepend=-1))
        counts = np.diff(begin, append=len(group))
        first = pa.array(order[begin])
        columns = [
            to_python(key.take(first), item.item.type)
            for key, item in zip(keys, self.by, strict=True)
            if item.item.type is not None
        ]
        return order, Sorted(group, begin, counts), list(zip(*columns, strict=True))

    def _keep(
        self, values: list[tuple[Any, ...]], made: list[Made], times: Indices, last: Indices
    ) -> None:
        """In the order of the groups' last rows, as one row after the other would."""
        states = list(zip(*(one.kept for one in made), strict=True))
        newest, kept = times.tolist(), self.groups.kept
        for n in np.argsort(last).tolist():
            kept[values[n]] = Kept(values[n], states[n], newest[n])


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
