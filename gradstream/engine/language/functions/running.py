"""What rows make of their groups, many rows at once: the same as one row after the other, to the last bit.

Rows come ordered by group, and within a group as they came. For each row there is a result, since each change of a group
is shown, and for each group what is kept at the end. Whole numbers are added by running sums, which wrap as Java's do;
doubles one after the other within a group, but in all groups at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.types import BIGINT, DOUBLE, INTEGER, SqlType

Numbers: TypeAlias = npt.NDArray[Any]
Truths: TypeAlias = npt.NDArray[np.bool_]
EXACT = 1 << 53  # up to here a whole number is a double


@dataclass(frozen=True)
class Groups:
    """Rows of groups.

    Attributes:
        group: int64 (n,), ascending, the group of each row.
        begin: int64 (m,), the first row of each group.
        count: int64 (m,), rows of each group, at least one.
    """

    group: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]

    @cached_property
    def last(self) -> npt.NDArray[np.int64]:
        return self.begin + self.count - 1

    def sums(self, starts: Numbers, values: Numbers) -> Numbers:
        """Running sums of int64."""
        total = np.cumsum(values, dtype=np.int64)
        before = starts - (total[self.begin] - values[self.begin])
        return total + before[self.group]

    def folded(
        self,
        step: Callable[[Numbers, Numbers], Numbers],
        starts: Numbers,
        known: Truths,
        values: Numbers,
        valid: Truths,
    ) -> tuple[Numbers, Truths]:
        """What ``step`` makes of what has been and each valid value; a group that is not known begins with its first.

        Returns:
            (n,) each; whether anything has been until then.
        """
        order = np.argsort(-self.count, kind="stable")
        begin, kept, known = self.begin[order], starts[order], known[order]
        alive = np.searchsorted(-self.count[order], -np.arange(self.count.max()), "left")
        found, whether = np.empty(len(values), starts.dtype), np.empty(len(values), np.bool_)
        for turn, more in enumerate(
            alive.tolist()
        ):  # the turn-th row of each group that has so many
            rows = begin[:more] + turn
            here, value = valid[rows], values[rows]
            old, had = kept[:more], known[:more]
            with np.errstate(all="ignore"):  # infinities and NaN are results like any others
                stepped = step(old, value)
            kept[:more] = np.where(here, np.where(had, stepped, value), old)
            known[:more] = had | here
            found[rows], whether[rows] = kept[:more], known[:more]
        return found, whether


Running: TypeAlias = Callable[[Groups, list[Any], Sequence[pa.Array]], "Made | None"]
"""(groups, what is kept of each, columns of arguments) -> what comes of it, None where only row by row can tell."""


@dataclass(frozen=True, slots=True)
class Made:
    """Results of rows, n of them, and what is kept of groups, m of them."""

    results: pa.Array
    kept: list[Any]


def count(groups: Groups, starts: list[Any], columns: Sequence[pa.Array]) -> Made:
    some = _valid(columns[0]) if columns else np.ones(len(groups.group), np.bool_)
    found = groups.sums(np.array(starts, np.int64), some.astype(np.int64))
    return Made(pa.array(found), found[groups.last].tolist())


def total(type_: SqlType) -> Running | None:
    """Of SUM; of whole numbers and doubles."""
    if type_ == DOUBLE:
        return _total_of_doubles
    if type_ not in (INTEGER, BIGINT):
        return None
    width = np.int32 if type_ == INTEGER else np.int64

    def run(groups: Groups, starts: list[Any], columns: Sequence[pa.Array]) -> Made:
        found = groups.sums(np.array(starts, np.int64), _whole(columns[0])).astype(width)
        return Made(pa.array(found), found[groups.last].tolist())

    return run


def _total_of_doubles(groups: Groups, starts: list[Any], columns: Sequence[pa.Array]) -> Made:
    found = _added(groups, starts, columns[0])
    return Made(pa.array(found), found[groups.last].tolist())


def _added(groups: Groups, starts: list[float], column: pa.Array) -> Numbers:
    known = np.ones(len(starts), np.bool_)
    begin = np.array(starts, np.float64)
    return groups.folded(np.add, begin, known, _doubles(column), _valid(column))[0]


def greatest(old: Numbers, new: Numbers) -> Numbers:
    """As Python's max(old, new)."""
    return np.where(new > old, new, old)


def least(old: Numbers, new: Numbers) -> Numbers:
    return np.where(new < old, new, old)


def extreme(step: Callable[[Numbers, Numbers], Numbers], type_: SqlType) -> Running | None:
    if type_ not in (INTEGER, BIGINT, DOUBLE):
        return None
    read = _doubles if type_ == DOUBLE else _whole

    def run(groups: Groups, starts: list[Any], columns: Sequence[pa.Array]) -> Made:
        values = read(columns[0])
        known = np.array([of is not None for of in starts], np.bool_)
        begin = np.array([0 if of is None else of for of in starts], values.dtype)
        found, whether = groups.folded(step, begin, known, values, _valid(columns[0]))
        results = pa.array(found, mask=~whether)
        return Made(results.cast(columns[0].type), results.take(pa.array(groups.last)).to_pylist())

    return run


def average(type_: SqlType) -> Running | None:
    """What is kept is (sum, count)."""
    if type_ not in (INTEGER, BIGINT, DOUBLE):
        return None

    def run(groups: Groups, starts: list[Any], columns: Sequence[pa.Array]) -> Made | None:
        column = columns[0]
        some = _valid(column).astype(np.int64)
        counts = groups.sums(np.array([of[1] for of in starts], np.int64), some)
        sums = [of[0] for of in starts]
        if type_ == DOUBLE:
            found = _added(groups, sums, column)
        else:
            found = groups.sums(np.array(sums, np.int64), _whole(column))
            found = found.astype(np.int32).astype(np.int64) if type_ == INTEGER else found
            if ((found <= -EXACT) | (found >= EXACT)).any():
                return None
        results = np.divide(found, counts, out=np.zeros(len(found)), where=counts != 0)
        last = groups.last
        kept = list(zip(found[last].tolist(), counts[last].tolist(), strict=True))
        return Made(pa.array(results), kept)

    return run


def _valid(column: pa.Array) -> Truths:
    return np.asarray(column.is_valid())


def _whole(column: pa.Array) -> Numbers:
    return np.asarray(column.fill_null(0)).astype(np.int64)


def _doubles(column: pa.Array) -> Numbers:
    return np.asarray(column.fill_null(0.0))
